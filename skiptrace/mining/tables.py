"""The mined tables."""

from skiptrace.tables import HEAD, LAYER, RANK, Column, Table, token

SOURCE, DESTINATION = token("source", "the source token"), token("destination", "the destination token")
OUT = token("out", "the output token")
QK = Column("qk", "float32", "entry of QK, centred per destination by the corpus-weighted mean", "attention score")
OV = Column("ov", "float32", "entry of OV, centred per source by the mean over output tokens", "logits")
PAIR = Column("name", "string", "the two heads, the earlier first, as L0H3 → L1H1")
WEIGHTED = Column("score", "float32", "ov · p(source)^power", "logits")
BIGRAMS = Table(
    "tables/<m>/bigrams",
    "The largest entries of the direct path; a row is a pair of tokens.",
    [
        RANK,
        Column("token_id", "int32", "id of the current token"),
        Column("token", "string", "text of the current token"),
        Column("next_id", "int32", "id of the next token"),
        Column("next", "string", "text of the next token"),
        Column(
            "value", "float32", "entry of W_E W_U less the mean of its row, rounded from double precision", "logits"
        ),
        Column("model_logprob", "float32", "log-probability of the next token by the direct path alone", "nats"),
        Column("corpus_count", "int64", "occurrences of the pair in the training text"),
        Column("corpus_logprob", "float32", "log of its share of what follows the token; −∞ if it never does", "nats"),
    ],
)
AGREEMENT = Table(
    "tables/<m>/agreement",
    "How well the direct path orders what follows; a row is one of the most frequent tokens.",
    [
        Column("token_id", "int32", "id of the token"),
        Column("token", "string", "text of the token"),
        Column("observed", "int32", "distinct tokens that follow it in the training text; 0 where fewer than three do"),
        Column("spearman", "float64", "rank correlation of the log-probabilities of these tokens with their counts"),
        Column("spearman_unigram", "float64", "rank correlation of the frequencies of these tokens with their counts"),
    ],
)
SKIP_TRIGRAMS = Table(
    "tables/<m>/skip_trigrams",
    "Skip-trigrams source … destination → output of all heads; a row is selected by a rule, over all distances or at "
    "one.",
    [
        RANK,
        LAYER,
        HEAD,
        *SOURCE,
        *DESTINATION,
        *OUT,
        QK,
        OV,
        Column("score", "float32", "qk·p(destination)^power · ov·p(source)^power, the published rule"),
        Column("expected", "float32", "expected gain of the output's logit times p(destination)^power", "logits"),
        Column("rank_published", "int32", "place by score in that rule's selection, null outside it", "", True),
        Column("rank_expected", "int32", "place by expected in that rule's selection, null outside it", "", True),
        Column(
            "offset",
            "int32",
            "of rotary positions, the distance among `expansion.offsets` at which most is expected of the row",
            "tokens",
            True,
        ),
        Column("qk_at_offset", "float32", "QK at that distance, centred likewise", "attention score", True),
        Column("expected_at_offset", "float32", "expected, of a source at that distance", "logits", True),
        Column(
            "rank_offset",
            "int32",
            "place by expected_at_offset among rows selected at a distance, null outside them",
            "",
            True,
        ),
    ],
)
POSITIONAL = Table(
    "tables/<m>/positional",
    "What primarily positional heads do with their sources; a row is a source and an output token.",
    [
        RANK,
        LAYER,
        HEAD,
        *SOURCE,
        Column("destination", "string", "Primarily Positional, as the papers' tables have it"),
        *OUT,
        OV,
        WEIGHTED,
    ],
)
COPIES = Table(
    "tables/<m>/copies",
    "The tokens that each head copies most; a row is a token of a head.",
    [
        RANK,
        LAYER,
        HEAD,
        *SOURCE,
        Column("ov", "float32", "the token's own entry of OV, centred per source", "logits"),
        Column("own_rank", "int32", "place of the token in its own row of OV, from 1"),
    ],
)
LARGEST = Table(
    "tables/<m>/largest",
    "The largest of all V³ products QK·OV of each head, without weights or rules; a row is a triple.",
    [
        RANK,
        LAYER,
        HEAD,
        *SOURCE,
        *DESTINATION,
        *OUT,
        QK,
        OV,
        Column("score", "float32", "qk · ov"),
    ],
)
VIRTUAL_OV = Table(
    "tables/<m>/virtual_ov",
    "What virtual heads do to output tokens, of the strongest pairs; a row is a source and an output token.",
    [RANK, PAIR, *SOURCE, *OUT, OV, WEIGHTED],
)
K_COMPOSITION = Table(
    "tables/<m>/k_composition",
    "Which sources later heads attend to through earlier ones, of the strongest pairs; a row is two tokens.",
    [
        RANK,
        PAIR,
        *DESTINATION,
        *SOURCE,
        QK._replace(meaning="entry of QK through the earlier head, centred as in skip_trigrams"),
        Column("score", "float32", "qk · p(destination)^power", "attention score"),
    ],
)
CIRCUITS = Table(
    "tables/<m>/circuits",
    "Statistics of all entries of a circuit; a row is a circuit.",
    [
        Column("circuit", "string", "direct, qk or ov"),
        Column("layer", "string", "the layer of its head, none for the direct path"),
        Column("head", "string", "its head in the layer, none for the direct path"),
        Column("mean", "float64", "mean of its entries", "logits; attention scores for qk"),
        Column("variance", "float64", "variance of its entries"),
        Column("min", "float64", "the smallest entry"),
        Column("max", "float64", "the largest entry"),
        Column("low", "float64", "lower end of the histogram"),
        Column("high", "float64", "upper end of the histogram"),
        Column("counts", "list<int64>", "entries in each of its bins, which are of equal width"),
    ],
)
