"""What the control, directions, dictionaries and the document need at the least, for `needs.state`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from skiptrace.models.transformer import Transformer
from stages.needs import DOUBLE, INTEGER, PAIR, SINGLE, Needs

if TYPE_CHECKING:  # so that a stage depends on the parameters of no other
    from skiptrace.budget import Plan
    from skiptrace.config.account import AccountParams
    from skiptrace.config.control import ControlParams
    from skiptrace.config.dictionaries import ModelDictionaryParams, ToyDictionaryParams
    from skiptrace.config.directions import DirectionsParams
    from skiptrace.config.features import FeaturesParams
    from skiptrace.config.rules import RulesParams

TRIPLE = 32  # numbers that counting holds of a triple of words: cells, what chance would give, and every measure
COUNTED = 12  # whole numbers that counting what follows holds for a token of the text
TEXT = 300  # bytes of a token of a vocabulary, as it is read and as a page shows it


def of_control(params: "ControlParams", at_once: int, windows: int) -> Needs:
    """To count in every grammar with so many windows, and train a model of each; some grammars `at_once`."""
    words, documents = params.words + 1.0, 1.0 * params.documents
    places = documents * params.length
    # Which words stand near, once more while places are joined, and where each stood last.
    seen = 2 * places * words + INTEGER * documents * words
    counting = windows * (4 * places * words**2 + 2 * words**4)
    body = 2 * params.d_model * words
    body += 4.0 * params.n_heads * params.d_head * (4 * params.d_model + params.n_ctx)
    training = 3.0 * params.steps * params.batch_size * params.n_ctx * body
    return Needs((1 + params.grammars) * (counting + training), at_once * (seen + SINGLE * TRIPLE * words**3))


def of_directions(plan: "Plan", model: Transformer, params: "DirectionsParams", rows: int, twins: int) -> Needs:
    """To split every circuit, beside random heads and so many twins, and remove parts of it on text.

    Losses hold `rows` positions of logits at once.
    """
    heads, ctx = model.n_layers * model.n_heads, model.n_ctx
    # In double precision: both embeddings, once more as keys, and what they are centred by; of twins both sides.
    embedded = DOUBLE * 5.0 * model.d_vocab * model.d_model
    alike = DOUBLE * 8.0 * model.d_vocab * model.d_model if twins else 0.0
    layer = 2.0 * ctx * model.d_model + model.n_heads * float(ctx) ** 2
    runs = SINGLE * params.contexts * model.n_layers * layer if params.removed else 0.0
    logits = SINGLE * float(rows) * model.d_vocab if params.removed else 0.0
    return Needs(plan.operations, max(embedded if heads else 0.0, alike, logits) + runs)


def of_dictionaries(model: Transformer, params: "ModelDictionaryParams", at_once: int, rows: int) -> Needs:
    """To train autoencoders on sites of a model, some sites `at_once`, and measure what is lost with them.

    Losses hold `rows` positions of logits at once.
    """
    d, count = model.d_model, len(params.penalties) + len(params.k) + len(params.batch_k)
    trained, checked = (windows * (model.n_ctx - 1.0) for windows in (params.windows, params.check_windows))
    training = params.steps * params.batch_size * count * 12.0 * d * params.entries
    losses = (3 + 2 * count) * 2.0 * checked * d * model.d_vocab
    # Activations as they are found, joined and turned; what is put in their place; the entries active there.
    held = SINGLE * (3.0 * trained * d + 6.0 * checked * d + 2.0 * checked * params.entries)
    # Means by token; logits of every entry, as they are, centred and scaled; those of a loss.
    vocabulary = SINGLE * model.d_vocab * max(3.0 * d, 3.0 * params.entries, float(rows))
    return Needs(2 * (training + losses), at_once * (held + vocabulary))


def of_features(model: Transformer, params: "FeaturesParams", account: "AccountParams", places: int) -> Needs:
    """To train one autoencoder of what heads read, and rank the entries between its features and random ones.

    The first entries are ranked at so many `places` of the path from the additive parts to the model.
    """
    d, n, ctx = model.d_model, params.entries + 1.0, model.n_ctx
    training = params.steps * params.batch_size * 12.0 * d * params.entries
    fitted = 2.0 * params.windows * ctx * n**2
    entries = model.n_heads * n * model.d_vocab
    # What is attended times ∂loss/∂logits, where most features are active somewhere in a context.
    steps = places + 2.0 * sum(n <= params.most for n in account.entries) - 2
    rounds = steps * params.selection * 2.0 * ctx * entries
    # Slopes of OV and what its entries save; where those above zero stand. Activations, once in double precision.
    ranking = entries * (2.0 * SINGLE + 1)
    held = params.windows * ctx * (2.0 * SINGLE + DOUBLE) * n
    return Needs(training + fitted + 2 * rounds, ranking + held)


def of_rules(model: Transformer, params: "RulesParams", models: int, text: int, block: int, rows: int) -> Needs:
    """To count rules in so many tokens of text, and compare a model at so many points of its training with them.

    Sources of `block` places are held at once, and `rows` positions of logits.
    """
    places = params.contexts * (model.n_ctx - 1.0)
    running = models * places * 2.0 * model.d_model * model.d_vocab
    counting = INTEGER * max(float(COUNTED) * text, 4.0 * min(block, params.places) * params.window)
    return Needs(running, counting + 3.0 * SINGLE * rows * model.d_vocab + INTEGER * params.window * places)


def of_toy_dictionaries(params: "ToyDictionaryParams", hosts: int, m: int, inputs: int, at_once: int) -> Needs:
    """To train dictionaries of so many toy models with m hidden dimensions, at every penalty, measured on `inputs`."""
    sizes = [(params.entries, len(params.penalties)), *((size, 1) for size in params.sizes)]
    operations = sum(params.steps * params.batch_size * hosts * count * 12.0 * m * size for size, count in sizes)
    held = max(float(hosts) * count * (inputs * (2 * m + 2 * size) + 12 * m * size) for size, count in sizes)
    return Needs(operations, at_once * SINGLE * held)


def of_document(corpora: Iterable[tuple[int, int, int]]) -> Needs:
    """To read corpora of so many tokens in the vocabulary, pairs of the training text and tokens of held-out text."""
    return Needs(
        0.0, float(sum(TEXT * d_vocab + PAIR * pairs + 4 * INTEGER * held for d_vocab, pairs, held in corpora))
    )
