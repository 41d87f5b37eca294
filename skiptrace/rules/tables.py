"""The table of rules of the corpus."""

from skiptrace.tables import Column, Table

CLOSEST_NGRAM, CLOSEST, TEXT = "closest n-gram", "closest rule", "text"
SHARES = Table(
    "rules/<m>/shares",
    "How often a model's likeliest next token is what a rule of the corpus says; a row is a rule at a checkpoint.",
    [
        Column("step", "int64", "updates of the weights so far, the model itself last; 0 of an imported model"),
        Column("tokens", "int64", "tokens that training had seen; 0 of an imported model"),
        Column(
            "rule", "string", "what says something: counts of the training text, mined rows, the context, or the text"
        ),
        Column("places", "int64", "places of held-out text, of tokens that stand at several of them"),
        Column("applies", "float64", "share of them at which the rule says something"),
        Column("agrees", "float64", "share of these at which the model's likeliest token is what the rule says"),
        Column("agrees_low", "float64", "lower end of its 95 % interval, clustered by context"),
        Column("agrees_high", "float64", "upper end of its 95 % interval"),
        Column("chance", "float64", "the same with predictions exchanged at random among places of one current token"),
        Column("chance_position", "float64", "the same, exchanged with the one at the nearest later position"),
        Column("ahead", "float64", "agrees less chance_position"),
        Column("ahead_low", "float64", "lower end of its 95 % interval, clustered by context"),
        Column("ahead_high", "float64", "upper end of its 95 % interval"),
        Column("right", "float64", "share of these places at which the text says what the rule says"),
        Column("wrong", "float64", "of the places at which it does not, the share at which the model says it"),
        Column("wrong_chance", "float64", "the same with predictions exchanged at random"),
        Column("closest", "float64", "share of all places at which it is the closest rule; null of combined ones"),
    ],
)
