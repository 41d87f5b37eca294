"""The tables about pairs of heads and the residual stream."""

from skiptrace.circuits import tables as scores
from skiptrace.tables import RANK, Column, Table, chance

GAUSSIAN = "under random matrices of the same shapes"
ROTATED = "under the same weights turned at random"
TERM = "name of the path: direct, a head, or heads in sequence"


def null(score: str, said: str) -> tuple[Column, Column, Column]:
    """Mean and standard deviation of a score under its null, and the score in those."""
    return (
        Column("null_mean", "float64", f"mean of {score} {said}"),
        Column("null_sd", "float64", f"standard deviation of {score} {said}"),
        Column("z", "float64", f"({score} − null_mean) / null_sd; null where the null does not vary"),
    )


IDENTITIES = Table(
    "compose/<m>/identities",
    "Equations that hold exactly, and how well they do in float64; a row is an equation.",
    [
        Column("identity", "string", "the equation in words"),
        Column("error", "float64", "largest absolute difference of its two sides on text"),
        Column("scale", "float64", "largest absolute entry of its left side"),
    ],
)
PATHS = Table(
    "compose/<m>/paths",
    "What every path of the expansion adds to the token that does come next; a row is a path.",
    [
        Column("name", "string", TERM),
        Column("order", "int32", "heads on the path"),
        Column("logit", "float64", "mean contribution to that token, less its mean over all tokens", "logits"),
        Column("se", "float64", "standard error of logit over contexts", "logits"),
        Column("size", "float64", "mean absolute contribution", "logits"),
    ],
)
EXAMPLES = Table(
    "compose/<m>/examples",
    "Right predictions split into paths; a row is a path in one example.",
    [
        Column("example", "int32", "number of the example, from 0"),
        Column(
            "order",
            "int32",
            "chosen since a path of so many heads contributes most there, sentences first",
        ),
        Column("probability", "float64", "what the model gives the token that does come next"),
        Column("out_id", "int32", "id of the token that does come next"),
        Column("rank", "int32", "place of the path by its contribution, from 1"),
        Column("name", "string", TERM),
        Column("logit", "float64", "contribution of the path", "logits"),
        Column("source_back", "int32", "distance of the token that most of the contribution comes from", "tokens back"),
        Column("source_id", "int32", "id of the token that most of the contribution comes from"),
        Column("source_logit", "float64", "contribution from there", "logits"),
    ],
)
EXAMPLE_TEXTS = Table(
    "compose/<m>/example_texts",
    "The text before each prediction of examples; a row is a token.",
    [
        Column("example", "int32", "number of the example"),
        Column("position", "int32", "place in the context, from 0"),
        Column("token_id", "int32", "id of the token"),
    ],
)
COMPOSITION = Table(
    "compose/<m>/composition",
    "Q-, K- and V-composition; a row is a kind and a pair of heads.",
    [
        Column("kind", "string", "Q, K or V: what of the later head reads"),
        Column("from_layer", "int32", "layer of the earlier head"),
        Column("from_head", "int32", "the earlier head in its layer"),
        Column("to_layer", "int32", "layer of the later head"),
        Column("to_head", "int32", "the later head in its layer"),
        Column("from", "string", "the earlier head as L<layer>H<head>"),
        Column("to", "string", "the later head"),
        Column("score", "float64", "‖product‖ / product of the norms (Elhage et al. 2021)"),
        *null("score", GAUSSIAN),
        Column("rotated_mean", "float64", f"mean of score {ROTATED}"),
        Column("rotated_sd", "float64", f"standard deviation of score {ROTATED}"),
        Column("rotated_z", "float64", "the score in these; null where nothing varies"),
        Column("overlap", "float64", "mean squared cosine of the principal angles of what is written and read"),
        *chance("overlap", "between random subspaces"),
        Column("overlap_z", "float64", "the overlap in these; null where nothing varies"),
        Column("closest", "float64", "largest cosine of a principal angle"),
        Column("impossible_max", "float64", "largest score of this kind where the reader is not later than the writer"),
        Column("significant", "bool", "beyond both random nulls and all impossible pairs"),
        Column("below", "bool", "as far below the first null"),
    ],
)
VIRTUAL_HEADS = Table(
    "compose/<m>/virtual_heads",
    "Virtual heads and K-composition circuits of the strongest pairs; a row is a pair of heads.",
    [
        Column("name", "string", "the two heads, the earlier first"),
        Column("copying", "float64", "Σλ/Σ|λ| of the OV circuit of the virtual head"),
        *chance("copying", "over random heads"),
        Column("copies", "bool", "copying exceeds its null's mean by `scoring.null_sd` standard deviations"),
        Column("own_top1", "float64", "share of tokens that are the largest entry of their own row of the OV circuit"),
        Column("own_top5", "float64", "share of tokens among the five largest of their own row of the OV circuit"),
        Column("k_eigenvalues", "float64", "Σλ/Σ|λ| of the K-composition circuit"),
        Column("k_null_mean", "float64", "mean of k_eigenvalues over random heads"),
        Column("k_null_sd", "float64", "standard deviation of k_eigenvalues over random heads"),
        Column("k_own_top1", "float64", "share of tokens largest in their own row of the K-composition circuit"),
        Column("chance_top1", "float64", "that share by chance: 1 / d_vocab"),
    ],
)
PATTERNS = Table(
    "compose/<m>/patterns",
    "Attention of pairs of heads on the text where they contribute most; a row is a destination and a source.",
    [
        Column("name", "string", "the two heads, the earlier first"),
        Column("why", "string", "why the pair is shown"),
        Column("destination", "int32", "place of the destination in the context"),
        Column("source", "int32", "place of the source"),
        Column("destination_id", "int32", "id of the token there"),
        Column("source_id", "int32", "id of the token there"),
        Column("first", "float64", "attention of the earlier head"),
        Column("then", "float64", "attention of the later head"),
        Column("virtual", "float64", "attention of the virtual head, the product of both patterns"),
    ],
)
# What `score` measures, which the table of induction repeats.
SCORED = (
    "layer", "head", "name", "prefix_matching", "prefix_matching_se", "prefix_matching_uniform", "previous_token",
    "previous_token_uniform", "copying", "copying_null_mean", "copying_null_sd",
)  # fmt: skip
INDUCTION = Table(
    "compose/<m>/induction",
    "Tests for induction heads; a row is a head.",
    [
        *[scores.HEADS[name] for name in SCORED],
        Column(
            "prefix_matching_text",
            "float64",
            "attention to what followed earlier occurrences, on repeated spans of validation text",
        ),
        Column("prefix_matching_text_se", "float64", "standard error of prefix_matching_text"),
        Column("copying_share", "float64", "share of what it adds to repeated tokens that goes to the attended one"),
        Column("copying_share_chance", "float64", "that share by chance: 1 / tokens of a span"),
        Column("earlier", "string", "the earlier head of strongest K-composition; null in layer 0", "", True),
        Column("k_eigenvalues", "float64", "Σλ/Σ|λ| of the K-composition circuit through it"),
        Column("k_null_mean", "float64", "mean of k_eigenvalues over random heads"),
        Column("k_null_sd", "float64", "standard deviation of k_eigenvalues over random heads"),
        Column(
            "k_own_top1",
            "float64",
            "share of tokens that are the largest entry of their own row of the K-composition circuit",
        ),
        Column("in_corner", "bool", "copying and k_eigenvalues both exceed random heads"),
    ],
)
KNOCKOUTS = Table(
    "compose/<m>/knockouts",
    "Prefix matching when an earlier head is ablated; a row is two heads and a way between them.",
    [
        Column("from", "string", "the earlier head, ablated"),
        Column("to", "string", "the later head, measured"),
        Column("via", "string", "what of the later head no longer reads it: queries, keys, or all"),
        Column("intact", "float64", "prefix matching with nothing ablated"),
        Column("without", "float64", "prefix matching without the earlier head"),
        Column("change", "float64", "the difference"),
        Column("change_se", "float64", "standard error of change over sequences"),
    ],
)
MODEL = "model"  # the name in FORMATION of what is measured of no single head
FORMATION = Table(
    "compose/<m>/formation",
    "Scores during training; a row is a score of a head, or of the model, at a checkpoint.",
    [
        Column("step", "int32", "updates of the weights so far"),
        Column("name", "string", "the head, the pair that composes most through keys in the end, or model"),
        Column(
            "score",
            "string",
            "previous_token, prefix_matching, copying, k_composition; loss, in_context_learning (nats)",
        ),
        Column("value", "float64", "its value"),
        Column("se", "float64", "its standard error over texts or sequences; 0 for what is read from weights"),
        Column("chance", "float64", "by chance: uniform attention, random heads, random matrices; null for the model"),
        Column("chance_sd", "float64", "how far chance varies (standard deviation)"),
    ],
)
TERMS = Table(
    "compose/<m>/terms",
    "How much of the loss each term of the path expansion removes; a row is a term.",
    [
        Column("scope", "string", "order, layer, head or virtual"),
        Column("order", "int32", "heads on its paths"),
        Column("name", "string", "the term"),
        Column("paths", "int32", "paths in the term"),
        Column("added", "float64", "loss of all lower orders without the term less with it", "nats per token"),
        Column("added_se", "float64", "standard error of added over contexts", "nats per token"),
        Column("removed", "float64", "loss of the model without the term less that of the model", "nats per token"),
        Column("removed_se", "float64", "standard error of removed over contexts", "nats per token"),
    ],
)
VIRTUAL_WEIGHTS = Table(
    "compose/<m>/virtual_weights",
    "What writes to the residual stream against what reads from it; a row is a writing and a reading matrix.",
    [
        Column("writer", "string", "the writing matrix: W_E, W_pos or a head's W_O"),
        Column("reader", "string", "the reading matrix: a later head's W_Q, W_K or W_V, or W_U"),
        Column("score", "float64", "‖W_write W_read‖ / (‖W_write‖‖W_read‖)"),
        *null("score", ROTATED),
        Column("impossible_max", "float64", "largest score of such matrices of which the reader is not later, if any"),
        Column("significant", "bool", "beyond the null and all impossible pairs"),
        Column("below", "bool", "as far below the null"),
    ],
)
WRITERS = Table(
    "compose/<m>/writers",
    "How much of the residual stream each writer uses; a row is the embedding or a head.",
    [
        Column("name", "string", "the writer"),
        Column("norm", "float64", "root mean square norm of what it writes on text"),
        RANK._replace(meaning="the most dimensions that its shapes allow"),
        Column("effective_rank", "float64", "effective rank of what it writes on text", "dimensions"),
        Column("dimensions", "int32", "principal directions that hold `composition.subspace_share` of that"),
        Column("weights_effective_rank", "float64", "effective rank of W_E or W_OV alone", "dimensions"),
        Column("null_mean", "float64", f"mean of weights_effective_rank {GAUSSIAN}", "dimensions"),
        Column("null_sd", "float64", f"standard deviation of weights_effective_rank {GAUSSIAN}", "dimensions"),
    ],
)
OVERLAPS = Table(
    "compose/<m>/overlaps",
    "How much the subspaces of two writers coincide on text; a row is a pair of writers.",
    [
        Column("writer", "string", "one writer"),
        Column("other", "string", "the other"),
        Column("overlap", "float64", "mean squared cosine of the principal angles between what they write"),
        *null("overlap", "between random subspaces of the same dimensions"),
    ],
)
DELETION = Table(
    "compose/<m>/deletion",
    "Which heads delete what others wrote; a row is a head and a writer.",
    [
        Column("head", "string", "the head that may delete"),
        Column("writer", "string", "whose directions are looked at"),
        Column("dimensions", "int32", "directions that hold `composition.subspace_share` of what it writes"),
        Column("negative", "float64", "share of Σ|Re λ| of W_OV on these directions that lies below zero"),
        *null("negative", "over Gaussian heads"),
        Column("before", "float64", "root mean square norm of the stream on them before the head's layer"),
        Column("after", "float64", "root mean square norm of the stream on them with the head's output added"),
        Column(
            "after_shuffled",
            "float64",
            "root mean square norm of the stream on them with its outputs of other places added",
        ),
        Column("cosine", "float64", "cosine of its output with the stream on them; below zero it clears"),
        *chance("cosine", "with its outputs of other places"),
        Column("cosine_z", "float64", "the cosine in these"),
        Column("impossible_z", "float64", "largest z of pairs whose writer is not earlier; null without such"),
        Column("impossible_cosine", "float64", "lowest cosine of such pairs; null without such"),
        Column("deletes", "bool", "z and −cosine_z reach `scoring.null_sd` and lie beyond impossible pairs"),
    ],
)
DIRECTIONS = Table(
    "compose/<m>/directions",
    "Whether differences of word pairs are parallel; a row is a family of pairs in one matrix.",
    [
        Column("family", "string", "the family of word pairs"),
        Column("matrix", "string", "W_E or W_U"),
        Column("pairs", "int32", "pairs whose words are both tokens; with fewer than four nothing is measured"),
        Column("cosine", "float64", "mean cosine between the differences of two pairs"),
        *null("cosine", "with second words of other pairs"),
        Column("accuracy", "float64", "how often b is the token nearest in direction to a + (b′ − a′)"),
        Column("accuracy_nearest", "float64", "how often b is the token nearest in direction to a"),
    ],
)
PLANE = Table(
    "compose/<m>/plane",
    "Word pairs in the plane of the two first principal components of their W_E rows; a row is a word.",
    [
        Column("family", "string", "the family of word pairs"),
        Column("token_id", "int32", "id of the word"),
        Column("pair", "int32", "number of its pair"),
        Column("side", "int32", "0 for the first word of the pair, 1 for the second"),
        Column("x", "float64", "first component"),
        Column("y", "float64", "second component"),
    ],
)
