"""The tables of the control."""

from skiptrace.tables import Column, Table

GRAMMAR = Column("grammar", "int64", "seed of the grammar; the first is the one that choices were made on")
OF = Column("of", "string", "weights: what is read from a model; counts: what stands in the text, without one")
RULES = Table(
    "control/rules",
    "Rules and decoys of every grammar; a row is a source, a destination and an output token.",
    [
        GRAMMAR,
        Column("kind", "string", "skip_trigram, incoherent, two_sources, negative, or a decoy: companion, topic"),
        Column("source_id", "int64", "word that stands first"),
        Column("other_id", "int64", "the other source, or the source that a companion stands next to; -1 for none"),
        Column("destination_id", "int64", "word after which the output token stands"),
        Column("out_id", "int64", "word that follows"),
        Column("probability", "float64", "how often it follows by the rule; 0 for negative rules and companions"),
        Column("model_nats", "float64", "fall of the model's log p(output) when another word is the source", "nats"),
        Column("model_se", "float64", "its standard error over contexts", "nats"),
        Column("model_p", "float64", "the model's mean p(output) with the source in place"),
        Column("weights", "int64", "its place in the ranking by weights that was chosen; 0 where it is not ranked"),
        Column("counts", "int64", "its place in the ranking by counts that was chosen; 0 where it is not ranked"),
    ],
)
RANKINGS = Table(
    "control/rankings",
    "How well rankings find the rules of a grammar; a row is a ranking with its setting on a grammar.",
    [
        GRAMMAR,
        OF,
        Column("kind", "string", "planted: rules that raise an output token; negative: rules that lower one"),
        Column("ranking", "string", "what triples are ranked by"),
        Column("window", "int64", "words before the destination that are counted; 0 for weights"),
        Column("min_count", "int64", "least occurrences of the triple; 0 for weights"),
        Column("best", "bool", "the best of its kind (weights or counts) on the first grammar, by average precision"),
        Column("planted", "int64", "rules to find; K"),
        Column("average_precision", "float64", "mean over the rules of the precision at each one's place; 0 if absent"),
        Column("recall_at_k", "float64", "share of the rules among the first K, which is also the precision there"),
    ],
)
CURVE = Table(
    "control/curve",
    "Precision and recall along the whole of the best rankings; a row is a number of rows looked at.",
    [
        GRAMMAR,
        OF,
        Column("k", "int64", "rows looked at, the first of the ranking"),
        Column("precision", "float64", "share of them that are planted"),
        Column("recall", "float64", "share of the planted rules among them"),
    ],
)
ACCEPTED = Table(
    "control/accepted",
    "Rows that are accepted as rules; a row is a way of accepting on a grammar.",
    [
        GRAMMAR,
        OF,
        Column("accepted_by", "string", "the test, or the ranking whose threshold was chosen on the first grammar"),
        Column("best", "bool", "the best of its kind on the first grammar, by the harmonic mean of both shares"),
        Column("rows", "int64", "rows accepted"),
        Column("found", "int64", "planted ones among them"),
        Column("planted", "int64", "rules to find"),
        Column("precision", "float64", "found / rows; null where none is accepted"),
        Column("recall", "float64", "found / planted"),
        Column(
            "learned", "int64", "planted rules without whose source the model's log p(output) falls by ¼ nat or more"
        ),
        Column("learned_found", "int64", "those among them that are accepted"),
        Column("false_companion", "int64", "decoys among them: words next to a source"),
        Column("false_topic", "int64", "rows of a decoy that raises the output token after any word: skip-bigrams"),
        Column("false_crossing", "int64", "crossings of the squares that no single head can have"),
        Column("false_other", "int64", "other rows that are not planted"),
    ],
)
