"""The tables of what the page looks up."""

from skiptrace.tables import HEAD, LAYER, Column, Table

ENTRIES = Table(
    "explore/<m>/entries",
    "The largest entries of tokens in every circuit; a row is an entry.",
    [
        Column("name", "string", "the head, or direct"),
        Column("role", "string", "what the partners are to the token: outs, sources, attended or destinations"),
        Column("token_id", "int32", "id of the token that is looked up"),
        Column("rank", "int32", "place of the partner, from 1"),
        Column("partner_id", "int32", "id of the partner"),
        Column("value", "float32", "the entry, centred", "logits; attention scores for attended, destinations"),
    ],
)
TEXTS = Table(
    "explore/<m>/texts",
    "Texts, and the likeliest next tokens at each place; a row is a token.",
    [
        Column("text", "int64", "number of the text, from 0"),
        Column("position", "int64", "place in it, from 0"),
        Column("token_id", "int64", "id of the token"),
        Column("guess_ids", "list<int64>", "ids of the likeliest next tokens"),
        Column("probabilities", "list<float32>", "their probabilities"),
        Column("loss", "float64", "loss on this token; null for the first two", "nats"),
        Column("shallow_loss", "float64", "the same by all paths through fewer heads than there are layers", "nats"),
    ],
)
PATTERNS = Table(
    "explore/<m>/patterns",
    "Attention patterns on these texts; a row is a text and a head.",
    [
        Column("text", "int64", "number of the text"),
        Column("name", "string", "the head"),
        Column("attention", "list<float32>", "lower triangle of the pattern among the last tokens, row after row"),
    ],
)
SCORE_TERMS = Table(
    "explore/<m>/score_terms",
    "Why heads attend on these texts: the largest terms of every attention score; a row is a text and a head.",
    [
        Column("text", "int64", "number of the text"),
        Column("name", "string", "the head"),
        Column("terms", "list<string>", "every term: what the destination holds × what the source holds"),
        Column("which", "list<int64>", "places in terms, as many for each cell of the pattern, in its order"),
        Column("above", "list<float32>", "these terms, less their mean over the sources in view", "attention scores"),
    ],
)
GUESS_PATHS = Table(
    "explore/<m>/guess_paths",
    "The paths that add most to the likeliest next token at each place of these texts; a row is a token.",
    [
        Column("text", "int64", "number of the text"),
        Column("position", "int64", "place in it, from 0"),
        Column("paths", "list<string>", "heads that each passes, or direct"),
        Column("logits", "list<float32>", "what each adds, less what it adds to all tokens on average", "logits"),
        Column("sources", "list<int64>", "the place in the text that most of it comes from"),
    ],
)
CORNERS = Table(
    "explore/<m>/corners",
    "A corner of both circuits of every head; a row is an entry.",
    [
        Column("circuit", "string", "ov (source and output token) or qk (destination and source)"),
        LAYER,
        HEAD,
        Column("row_id", "int32", "id of the row's token"),
        Column("column_id", "int32", "id of the column's token"),
        Column("value", "float32", "the entry, centred", "logits; attention scores for qk"),
    ],
)
LAYERS = Table(
    "explore/<m>/layers",
    "Copying by the summed OV circuits of all heads of a layer; a row is a layer.",
    [
        Column("layer", "int32", "the layer, from 0"),
        Column("own_top1", "float64", "share of tokens that are the largest entry of their own row"),
        Column("own_top5", "float64", "share of tokens among the five largest of their own row"),
        Column("own_positive", "float64", "share of tokens whose own entry exceeds the mean of their row"),
    ],
)
DIRECT = Table(
    "explore/<m>/direct",
    "The direct path beside the corpus, of models without layers; a row is a pair that occurs.",
    [
        Column("token_id", "int32", "id of the current token"),
        Column("next_id", "int32", "id of the next token"),
        Column("corpus", "float64", "log of its share of what follows in the training text", "nats"),
        Column("model", "float64", "its log-probability by the direct path alone", "nats"),
    ],
)
