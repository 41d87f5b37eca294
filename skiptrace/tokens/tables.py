"""The tables of a corpus's tokens."""

from skiptrace.tables import Column, Table

VOCAB = Table(
    "tokens/<c>/vocab",
    "The vocabulary; a row is a token, in the order of the ids.",
    [
        Column("token_id", "int32", "id of the token; 0 is the start-of-document token"),
        Column("token", "string", r"its text; bytes that are no whole UTF-8 character are written as \xe2"),
        Column("count", "int64", "occurrences in the training text"),
        Column("probability", "float64", "its share of the tokens of the training text"),
    ],
)
BIGRAMS = Table(
    "ngrams/<c>/bigrams",
    "Adjacent pairs of tokens of the training text; a row is a pair that occurs, ordered by ids.",
    [
        Column("token_id", "int32", "id of the first token"),
        Column("next_id", "int32", "id of the token after it"),
        Column("count", "int64", "occurrences of the pair"),
    ],
)
