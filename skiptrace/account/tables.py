"""The tables of the account of attention."""

from skiptrace.evidence.tables import USED
from skiptrace.tables import HEAD, LAYER, RANK, Column, Table, token

PER_TOKEN = "nats per token"
PER_THOUSAND = "nats per 1,000 tokens"

LADDER = Table(
    "account/<m>/ladder",
    "The loss on held-out text with parts of attention replaced; a row is a rung.",
    [
        Column("part", "string", "what is replaced: QK, OV, both, attention as a whole, none, or the model (text)"),
        Column("layers", "string", "the layers it is replaced in: all, or one, the others intact"),
        Column("rung", "string", "what stands in its place"),
        Column("loss", "float64", "mean loss over held-out contexts", PER_TOKEN),
        Column("se", "float64", "its standard error over contexts", PER_TOKEN),
        Column("lost", "float64", "how much higher it is than the whole model's", PER_TOKEN),
        Column("lost_se", "float64", "standard error of that, from the differences in each context", PER_TOKEN),
    ],
)
CURVE = Table(
    "account/<m>/curve",
    "What the first entries of an order recover; a row is a number of entries. Composition of layers is always kept.",
    [
        Column("circuit", "string", "both: so many entries of QK and of OV; qk or ov: the other circuit whole"),
        Column("order", "string", "the order in which entries are kept"),
        Column("entries", "int64", "entries kept of each circuit, or rows of the mined table whose entries are kept"),
        Column("loss", "float64", "mean loss over held-out contexts", PER_TOKEN),
        Column("recovered", "float64", "share of what the interactions of tokens add that is recovered"),
        Column("recovered_se", "float64", "its standard error over contexts"),
    ],
)
# Orders of the curve: of the table that runs, by integrated gradients, by the best skip-trigram of an entry as the
# published rule scores it, and of the rows that a reader sees.
GREEDY, BY_LOSS, PUBLISHED, MINED = "rounds", "attribution", "published", "mined rows"
ENTRIES = Table(
    "account/<m>/entries",
    "The entries that the best order keeps; a row is an entry of a circuit, less the means of its row and column.",
    [
        Column(
            "circuit", "string", "qk: rows are destinations, columns sources; ov: rows are sources, columns outputs"
        ),
        LAYER,
        HEAD,
        Column("row_id", "int32", "id of the row's token"),
        Column("column_id", "int32", "id of the column's token"),
        Column("value", "float32", "the entry", "logits (ov), attention score (qk)"),
        Column(
            "nats", "float64", "what it saved on training text in the round that kept it, to first order", PER_THOUSAND
        ),
        Column("rank", "int32", "the place in the order of its circuit, from 1"),
    ],
)
_WORTH = (
    RANK,
    Column("n", "int64", "places of held-out text where the source stands before, or at, the destination"),
    Column("nats", "float64", "what the row saves: the loss without it less the loss, on held-out text", PER_THOUSAND),
    Column("nats_se", "float64", "its standard error over contexts", PER_THOUSAND),
    Column("nats_destination", "float64", "the part that is saved because of the destination", PER_THOUSAND),
    Column("nats_destination_se", "float64", "its standard error over contexts", PER_THOUSAND),
)
SKIP_BIGRAMS = Table(
    "account/<m>/skip_bigrams",
    "Skip-bigrams that save most on training text, and what they save on held-out text; a row is source … → output.",
    [HEAD, *token("source", "the source token"), *token("out", "the output token"), *_WORTH],
)
SKIP_TRIGRAMS = Table(
    "account/<m>/skip_trigrams",
    "Rows whose destination saves most on training text; a row is source … destination → output, and what it saves.",
    [
        HEAD,
        *token("source", "the source token"),
        *token("destination", "the destination token"),
        *token("out", "the output token"),
        *_WORTH,
    ],
)
_ROLES = (
    *token("source", "the source token"),
    *token("destination", "the destination token"),
    *token("out", "the output token"),
)
ROWS = Table(
    "account/<m>/rows",
    "Checked rows and rows chosen by what they save, supported and worth most first; a row is a skip-trigram.",
    [
        RANK,
        LAYER,
        HEAD,
        *_ROLES,
        Column("mined", "bool", "mined from the weights; otherwise chosen by what it saves on training text"),
        Column("readable", "bool", "words, brackets and quotes: account.readable.readable"),
        Column("consistent", "bool", "causally consistent in constructed contexts, among the rows of its kind"),
        Column("use", "string", "what cutting its edge does on held-out text: used, harmful, no effect seen, too rare"),
        Column(
            "support", "string", "supported or contradicted by the corpus, errors clustered by document, or too rare"
        ),
        Column("p_out", "float64", "mean probability of the output token in the constructed contexts"),
        Column("corpus_count", "int64", "places of the training text where the row stands"),
        Column("corpus_lift", "float64", "corpus_count over what the destination alone predicts"),
        Column("corpus_nats", "float64", "corpus_count · log(corpus_lift): its worth by counts", PER_THOUSAND),
        Column("n", "int64", "places of held-out text with the source before the destination; 0 if unmeasured"),
        Column(
            "nats",
            "float64",
            "what it saves on held-out text; null if unmeasured",
            PER_THOUSAND,
        ),
        Column("nats_se", "float64", "its standard error over contexts", PER_THOUSAND),
        Column("chosen_nats", "float64", "what it saves on the training text that gives the order", PER_THOUSAND),
        Column("chosen_se", "float64", "its standard error over contexts", PER_THOUSAND),
    ],
)
EXAMPLES = Table(
    "account/<m>/examples",
    "The first supported rows that can be read, where they stand in held-out text; a row is a skip-trigram.",
    [
        *ROWS.without("mined", "readable"),
        Column("chosen_use", "string", "what cutting its edge does on training text; decides what is first"),
        *(column for column in USED if column.name in ("used_places", "used_nats", "used_se")),
        Column("document", "int32", "the document of the held-out text, from 0"),
        Column("before", "string", "the text before the source"),
        Column("between", "string", "the text between source and destination; the output follows the destination"),
        Column("after", "string", "the text after the output"),
    ],
)
FORMED = Table(
    "account/<m>/formed",
    "How the first rows formed; a row is a skip-trigram at a checkpoint of the training, of models that have these.",
    [
        Column("step", "int32", "updates of the weights so far"),
        RANK,
        LAYER,
        HEAD,
        *_ROLES,
        Column("effect_nats", "float64", "fall of log p(output) where its edge is cut in constructed contexts", "nats"),
        Column("effect_se", "float64", "its standard error over contexts", "nats"),
        Column(
            "null_mean", "float64", "mean of that over random rows of the same heads and as frequent tokens", "nats"
        ),
        Column("null_sd", "float64", "its standard deviation over these rows", "nats"),
    ],
)
CONFIRMED = Table(
    "account/<m>/confirmed",
    "Edges that training text uses, confirmed on held-out text or not; a row is a kind of edges, all of them counted.",
    [
        Column("edges", "string", "of the rows, or from random sources of the same frequency"),
        Column("tested", "int64", "edges, the first in the order of the rows"),
        Column("used", "int64", "those used on training text, false discoveries controlled among the tested"),
        Column("measured", "int64", "of these, those that five documents of held-out text or more have"),
        Column("confirmed", "int64", "of the measured, those used on held-out text, false discoveries controlled"),
        Column("raises", "int64", "of the measured, those that raise the loss at all when cut; by chance half"),
        Column("harmful", "int64", "of the measured, those without which the loss is lower, the same controlled"),
        Column("nats", "float64", "mean rise of the loss on held-out text without the edge, over the measured", "nats"),
        Column("nats_se", "float64", "its standard error over edges", "nats"),
    ],
)
# Headline numbers: their names below `account` in reports/metrics.json, and the rung and column of the ladder.
HEADLINE_RUNGS = {
    "direct": ("direct path", "loss"),
    "positional": ("distance alone", "loss"),
    "salience": ("source salience", "loss"),
    "whole": ("whole model", "loss"),
    "competition": ("each source alone", "lost"),
}
OVERLAPS = Table(
    "account/<m>/overlaps",
    "How many of the first rows recur in a twin, a model of another seed; a row is a ranking and a twin.",
    [
        Column("twin", "int32", "the twin, from 0"),
        Column("ranking", "string", "published or expected, by weights; nats, by what rows save on training text"),
        Column("rows", "int64", "first rows that are compared"),
        Column("overlap", "float64", "share of them that the same number of first rows of the twin holds, in any head"),
        Column("chance", "float64", "the share if both orders were random"),
        Column(
            "chance_matched",
            "float64",
            "the share if the twin's order were random among its rows whose tokens are about as frequent",
        ),
    ],
)
HEADLINES = Table(
    "account/<m>/headlines",
    "Headline numbers of the ladder in a model and in its twins; a row is a number.",
    [
        Column("name", "string", "as in reports/metrics.json"),
        Column("value", "float64", "in the model", PER_TOKEN),
        Column("twins", "float64", "mean over its twins", PER_TOKEN),
        Column("spread", "float64", "standard deviation over the model and its twins", PER_TOKEN),
    ],
)
