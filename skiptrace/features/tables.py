"""The tables of skip-trigrams between features."""

from skiptrace.evidence.tables import USED
from skiptrace.tables import HEAD, LAYER, RANK, Column, Table, token

PER_TOKEN, PER_THOUSAND = "nats per token", "nats per 1,000 tokens"
LEARNED, RANDOM, TOKENS = "features", "random features", "tokens"
ROUNDS, MINED = "rounds", "mined rows"
SELECTED = {LEARNED: "mined", RANDOM: "mined of random features"}  # kinds of rows
DRAWN = "random"
BASIS = Column(
    "basis",
    "string",
    "features; random features: random directions, as often active, with the best decoder; or tokens",
)
RUNGS = Table(
    "features/<m>/rungs",
    "The loss with features in place of what heads of the last layer read; a row is a basis and a rung.",
    [
        BASIS,
        Column(
            "rung",
            "string",
            "additive: no interactions; every entry; heads read x̂: additive parts too; whole model",
        ),
        Column("loss", "float64", "loss on held-out contexts", PER_TOKEN),
        Column("loss_se", "float64", "its standard error over contexts", PER_TOKEN),
        Column("recovered", "float64", "share of what the interactions of tokens add that is recovered"),
        Column("recovered_se", "float64", "its standard error over contexts"),
        Column("l0", "float64", "mean number of features active at once on held-out text"),
        Column("variance_explained", "float64", "share of the variance of what the heads read that is reconstructed"),
        Column("dead_fraction", "float64", "share of features never active on held-out text"),
    ],
)
CURVE = Table(
    "features/<m>/curve",
    "The share of attention's interactions that kept entries recover; a row is a basis, an order and a count.",
    [
        BASIS,
        Column(
            "order",
            "string",
            "rounds: those that save most beside those kept; mined rows: those that rows use",
        ),
        Column("entries", "int64", "entries of QK and of OV that are kept; of mined rows, the rows"),
        Column("loss", "float64", "loss on held-out contexts", PER_TOKEN),
        Column("recovered", "float64", "share of what the interactions of tokens add that is recovered"),
        Column("recovered_se", "float64", "its standard error over contexts"),
        Column("ahead", "float64", "that of features less this one, on the same contexts; null without features"),
        Column("ahead_se", "float64", "its standard error over contexts"),
    ],
)
FEATURE = Column("feature", "int32", "number of the feature, from 1; 0 is the constant")
FEATURES = Table(
    "features/<m>/features",
    "What each feature is of; a row is a feature of what the heads of the last layer read.",
    [
        FEATURE,
        Column("density", "float64", "share of the places of training text at which it is active"),
        Column("tokens", "list<string>", "texts of the tokens that most of its activation stands on, most first"),
        Column("first_share", "float64", "share of its activation that stands on the first of them"),
        Column("distinct", "int64", "distinct tokens among the tenth of its active places where it is most active"),
        Column("token_explained", "float64", "share of its variance on held-out text that the current token explains"),
        Column("position_explained", "float64", "share of it that the position in the context explains"),
    ],
)
KIND = Column(
    "kind",
    "string",
    "mined; mined of random features: by the same rules; random: as frequent features and output token",
)
ROWS = Table(
    "features/<m>/rows",
    "Skip-trigrams of features, those that save most on training text first; a row is a skip-trigram.",
    [
        KIND,
        RANK,
        LAYER,
        HEAD,
        Column("source_feature", "int32", "number of the feature of the source"),
        Column("destination_feature", "int32", "number of the feature of the destination"),
        *token("out", "the output token"),
        Column("qk", "float64", "attention score of the two at their mean activations, less the mean over sources"),
        Column("ov", "float64", "what the source's mean activation adds to the output token", "logits"),
        Column("chosen_nats", "float64", "what it saves on the training text that gives the order", PER_THOUSAND),
        Column("n", "int64", "places of held-out text with the destination active and the source before, or at, it"),
        Column("nats", "float64", "what it saves on held-out text: the loss without it less the loss", PER_THOUSAND),
        Column("nats_se", "float64", "its standard error over contexts", PER_THOUSAND),
        *USED,
        Column("before", "string", "text before the source, at the place where the row saves most; empty without one"),
        Column("source", "string", "text of the source there"),
        Column("between", "string", "text between source and destination"),
        Column("destination", "string", "text of the destination there"),
        Column("after", "string", "text of what follows"),
    ],
)
KINDS = Table(
    "features/<m>/kinds",
    "Mined skip-trigrams of features beside their nulls; a row is a kind of rows.",
    [
        KIND,
        Column("rows", "int64", "rows of the kind, those that save most on training text"),
        Column("edges", "int64", "distinct edges of theirs: a head, a source and a destination feature"),
        Column("chosen_nats", "float64", "mean over rows of what one saves where they were chosen", PER_THOUSAND),
        Column("nats", "float64", "mean over rows of what one saves on held-out text", PER_THOUSAND),
        Column("nats_se", "float64", "its standard error over contexts", PER_THOUSAND),
        Column(
            "ahead", "float64", "what a mined row saves more than one of this kind, on the same contexts", PER_THOUSAND
        ),
        Column("ahead_se", "float64", "its standard error over contexts", PER_THOUSAND),
        Column("used", "float64", "share of the edges that are used on held-out text"),
        Column("harmful", "float64", "share of the edges that are harmful there"),
        Column("used_nats", "float64", "mean over edges of the rise of the loss where they are cut", "nats"),
    ],
)
