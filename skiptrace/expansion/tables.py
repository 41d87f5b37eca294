"""The table that a circuit is expanded to."""

from skiptrace.tables import Column, Table

PART = Table(
    "circuits/<m>/circuit=<circuit>/layer=<l>/head=<h>/part-<n>",
    "The entries of a circuit as they are, not centred; a row is a token, in the order of the ids over all parts.",
    [
        Column("token_id", "int32", "id of the row's token: current, source or (of qk) destination"),
        Column("row_min", "float32", "smallest entry of the row", "logits; attention scores for qk", nulls=False),
        Column("row_max", "float32", "largest entry of the row", "logits; attention scores for qk", nulls=False),
        Column("values", "list<float16>", "its entries by the id of the column's token, in half precision"),
    ],
)
