"""The tables of scores of heads."""

from skiptrace.tables import HEAD, LAYER, Column, Table, chance

NAME = Column("name", "string", "the head as L<layer>H<head>")
MIXED = "nats per token, heads, attention"
RANDOM = "over heads of the same shape with Gaussian weights"
HEADS = Table(
    "tables/<m>/heads",
    "Scores of heads, each beside the value that chance gives; a row is a head.",
    [
        LAYER,
        HEAD,
        NAME,
        Column("copying", "float64", "Σλ/Σ|λ| over the eigenvalues λ of the OV circuit, real part above; −1 to 1"),
        *chance("copying", RANDOM),
        Column("copies", "bool", "copying exceeds its null's mean by `scoring.null_sd` standard deviations"),
        Column("own_top1", "float64", "share of tokens whose own output token is the largest entry of their OV row"),
        Column("own_top5", "float64", "share of tokens whose own output token is among the five largest of their row"),
        Column("own_positive", "float64", "share of tokens whose own entry exceeds the mean of their OV row"),
        Column("position_share", "float64", "share of the variance of attention scores on text that positions explain"),
        *chance("position_share", "over Gaussian W_Q and W_K of the same shape"),
        Column(
            "positional",
            "bool",
            "primarily positional: position_share and best_offset_attention reach their thresholds",
        ),
        Column("best_offset", "int32", "the offset that the position term alone attends to most", "tokens back"),
        Column("best_offset_attention", "float64", "mean attention to best_offset by the position term alone"),
        Column("best_offset_uniform", "float64", "mean attention to best_offset where attention is spread evenly"),
        Column("previous_token", "float64", "mean attention to the token before, on text (Olsson et al. 2022)"),
        Column("previous_token_se", "float64", "standard error of previous_token over contexts"),
        Column("previous_token_uniform", "float64", "previous_token where attention is spread evenly"),
        Column("prefix_matching", "float64", "attention to what followed earlier occurrences of a repeated token"),
        Column("prefix_matching_se", "float64", "standard error of prefix_matching over sequences"),
        Column("prefix_matching_uniform", "float64", "prefix_matching where attention is spread evenly"),
        Column("bos_attention", "float64", "mean attention on text to the start-of-document token, the attention sink"),
    ],
)
OFFSETS = Table(
    "tables/<m>/offsets",
    "Mean attention by distance; a row is an offset of a head.",
    [
        LAYER,
        HEAD,
        Column("offset", "int32", "how far the source stands before the destination", "tokens"),
        Column("text", "float64", "mean attention on validation text"),
        Column("position_only", "float64", "mean attention by the position term alone"),
        Column("uniform", "float64", "mean attention where it is spread evenly"),
    ],
)
SPREADS = Table(
    "tables/<m>/spreads",
    "Headline numbers of a model and of its twins, models of other seeds; a row is a number, none without twins.",
    [
        Column("name", "string", "as in reports/metrics.json"),
        Column("value", "float64", "in the model", MIXED),
        Column("twins", "float64", "mean over its twins", MIXED),
        Column("spread", "float64", "standard deviation over the model and its twins", MIXED),
    ],
)
