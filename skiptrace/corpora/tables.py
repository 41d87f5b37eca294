"""The tables of a corpus."""

from skiptrace.tables import Column, Table

DOCUMENTS = Table(
    "corpora/<c>/documents",
    "The documents; a row is a document.",
    [
        Column("doc_id", "int64", "number of the document, from 0"),
        Column("source", "string", "where it came from, the same on every machine"),
        Column("split", "string", "train or valid, by a hash of its source"),
        Column("text", "string", "its text"),
    ],
)
TRUTH = Table(
    "corpora/<c>/truth",
    "What a planted corpus holds; a row is one planted pattern, in words.",
    [
        Column("kind", "string", "bigram, skip_trigram, copy, positional, or bug (a crossing that a quartet forces)"),
        Column("source", "string", "word that stands first"),
        Column("destination", "string", "word after which the output stands; null where the kind has none", "", True),
        Column("out", "string", "word that follows"),
        Column("probability", "float64", "how often it follows, where the pattern stands"),
    ],
)
