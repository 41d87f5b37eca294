"""The tables of evidence about mined rows."""

from skiptrace.mining.tables import SKIP_TRIGRAMS
from skiptrace.tables import HEAD, LAYER, Column, Table, token

CHECKS = [
    Column(
        "effect_nats",
        "float64",
        "fall of log p(output) when the edge from destination to source is ablated",
        "nats",
    ),
    Column("effect_se", "float64", "standard error of effect_nats over contexts", "nats"),
    Column("replaced_nats", "float64", "fall of log p(output) when a token of similar frequency is the source", "nats"),
    Column("replaced_se", "float64", "standard error of replaced_nats over contexts", "nats"),
    Column("p_out", "float64", "mean probability of the output token in the contexts, nothing ablated"),
    Column("n_contexts", "int32", "contexts that the row was checked in"),
    Column("null_mean", "float64", "mean effect of random rows of tokens as frequent, in the same head", "nats"),
    Column("null_sd", "float64", "standard deviation of their effects", "nats"),
    Column("elsewhere_nats", "float64", "mean effect of the same source and output at other destinations", "nats"),
    Column("specific", "bool", "the effect exceeds that at every other destination that was tried"),
    Column("p_value", "float64", "that a random row does as much, or that the effect is not above 0: the larger"),
    Column("consistent", "bool", "p_value passes false-discovery control at `verification.fdr`"),
    Column("precedes", "int64", "places of the training text where the source precedes the destination"),
    Column("corpus_count", "int64", "how many of them the output token follows"),
    Column("corpus_expected", "float64", "how many it would follow by what the destination alone predicts"),
    Column("corpus_lift", "float64", "corpus_count / corpus_expected; null where that is undefined"),
    Column("lift_low", "float64", "lower end of its 95 % interval"),
    Column("lift_high", "float64", "upper end of its 95 % interval"),
    Column("support", "string", "supported or contradicted by the corpus, errors clustered by document, or too rare"),
    Column("rank_evidence", "int32", "place by evidence: survivors first, then by p_out·(1 − exp(−effect))"),
]
JUDGED = [
    Column("beyond_null", "bool", "adds more to p(output) than 95 % of the rows mined from rotated heads"),
    Column("recurs", "float64", "share of twins of other seeds that have the row in any head; null without twins"),
    Column("survives", "bool", "passes every test that could be made"),
]
USED = [
    Column("used_places", "int64", "places of held-out text, as it is, at which the edge was cut"),
    Column("used_nats", "float64", "mean rise of the loss on the true next token there", "nats"),
    Column("used_se", "float64", "its standard error, clustered by document", "nats"),
    Column("used_p", "float64", "mean fall of p(output) there"),
    Column("use", "string", "used, harmful, no effect seen, or too rare to say: fewer than five documents"),
]
CHECKED = Table(
    "evidence/<m>/skip_trigrams",
    "The best mined skip-trigrams and what the running model and the corpus say of them; a row is a skip-trigram.",
    [*SKIP_TRIGRAMS.columns, *CHECKS, *JUDGED, *USED],
)
ARM = "trained, or the kind of the stand-ins: rotated or gaussian"
MATCHED = Table(
    "evidence/<m>/matched",
    "Skip-trigrams mined from stand-ins of the heads and checked in the same way; a row is a skip-trigram.",
    [
        *SKIP_TRIGRAMS.columns,
        *CHECKS,
        *JUDGED,
        *USED,
        Column("heads", "string", "kind of the stand-ins: rotated or gaussian"),
    ],
)
TWINS = Table(
    "evidence/<m>/twins",
    "The best skip-trigrams of twins, as many as are checked of the model itself; a row is a skip-trigram of a twin.",
    [Column("twin", "int32", "the twin, from 0"), *SKIP_TRIGRAMS.columns],
)
FUNNEL = Table(
    "evidence/<m>/funnel",
    "How many rows pass each test, one test after the other; a row is a test of one kind of heads.",
    [
        Column("heads", "string", ARM),
        Column("step", "string", "the test"),
        Column("rows", "int64", "rows that pass it and all before it"),
        Column("share", "float64", "rows / rows that were checked"),
    ],
)
CELLS = ("11", "12", "21", "22")  # destination 1 or 2, output 1 or 2; 12 and 21 are the crossings
CROSSED = ("12", "21")
ROLES = {
    "source": "the source token",
    **{f"destination_{i}": f"the destination of supported row {i}" for i in (1, 2)},
    **{f"out_{i}": f"the output token of supported row {i}" for i in (1, 2)},
}
BUGS = Table(
    "evidence/<m>/bugs",
    "Two supported skip-trigrams of one head and source, and the two crossings that they force; a row is such a four.",
    [
        LAYER,
        HEAD,
        *(token(role, said)[0] for role, said in ROLES.items()),
        *(Column(f"model_{c}", "float64", f"p(output {c[1]}) after destination {c[0]}, in the model") for c in CELLS),
        *(Column(f"corpus_{c}", "float64", f"share of output {c[1]} after destination {c[0]} in text") for c in CELLS),
        *(
            column
            for c in CROSSED
            for column in (
                Column(f"support_{c}", "string", f"what the training text says of crossing {c}"),
                Column(f"cost_{c}", "float64", f"rise of the loss at the positions of crossing {c}", "nats"),
                Column(f"cost_low_{c}", "float64", f"lower end of the 95 % interval of cost_{c}, by document", "nats"),
                Column(f"cost_high_{c}", "float64", f"upper end of the 95 % interval of cost_{c}", "nats"),
                Column(f"positions_{c}", "int64", f"positions of the validation text where crossing {c} applies"),
            )
        ),
        *(token(role, said)[1] for role, said in ROLES.items()),
    ],
)
COSTS = Table(
    "evidence/<m>/costs",
    "What crossings and entries that the corpus does not support cost on validation text; a row is an estimate.",
    [
        Column(
            "what",
            "string",
            "crossings: mean where one applies; bound: the most that all cost; factoring: of fits to the text",
        ),
        Column(
            "entries",
            "int64",
            "crossings, rows, or heads of factoring that it is about; 0 for all entries of the heads",
        ),
        Column("nats", "float64", "the estimate, null where there is nothing to measure", "nats"),
        Column("low", "float64", "lower end of its 95 % interval, clustered by document", "nats"),
        Column("high", "float64", "upper end of its 95 % interval", "nats"),
        Column("places", "int64", "places of the validation text that it is measured at"),
        Column("documents", "int64", "documents that they are in"),
    ],
)
SCORES = Table(
    "evidence/<m>/truth",
    "Mined tables and baselines against planted truth; a row is a ranking at one k, and no planted corpus, no row.",
    [
        Column("kind", "string", "what was planted: skip_trigrams, bigrams, copies or bugs"),
        Column("ranking", "string", "what is ranked, by what"),
        Column("planted", "int64", "how many were planted"),
        Column("k", "int64", "how many of the ranking are looked at: multiples of the number planted"),
        Column("found", "int64", "planted ones among them"),
        Column("recall", "float64", "found / planted"),
        Column("precision", "float64", "found / k"),
        Column("false_forced", "int64", "others that planted quartets force as crossings"),
        Column("false_real", "int64", "other ones that the model does do, by its verification"),
        Column("false_wrong", "int64", "those that it does not do, or that were not checked"),
    ],
)
