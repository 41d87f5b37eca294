"""Split the circuits of every head into directions, and remove these on held-out text.

Reads   params.yaml  directions, budget
        data/models/<m>/ and its twins, data/tokens/<corpus of m>/
Writes  data/directions/<m>/spectra.parquet   each circuit as a whole, beside random heads
        data/directions/<m>/groups.parquet    its directions, near-equal ones together: shares, copying, what they do
        data/directions/<m>/ends.parquet      the tokens that they read and write
        data/directions/<m>/twins.parquet     the heads of its twins that do the same to tokens
"""

from skiptrace import budget
from skiptrace.circuits.factored import heads
from skiptrace.config.base import load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.directions import DirectionsParams
from skiptrace.config.models import load_model
from skiptrace.directions import tables
from skiptrace.directions.study import study
from skiptrace.files import atomic_folder, read_tokens
from skiptrace.layout import DIRECTIONS, MODELS, PARAMS, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.models import checkpoint
from skiptrace.models.loss import ROWS
from skiptrace.models.windows import spread_windows
from skiptrace.tables import made, write_all
from skiptrace.tokens.tables import VOCAB
from stages import needs, needs_of_studies
from stages.common import asked_for, run, twins_of, wrote

BOUNDED_BY = "directions.contexts and directions.removed"


def main() -> None:
    """Split the heads of one model."""
    name = asked_for("model", __doc__)
    params = load(DirectionsParams, "directions", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    made(**model.config.readings)
    plan = budget.directions(model.config, params, load(BudgetParams, "budget", PARAMS))
    needs.within(f"directions {name}", plan)
    params = plan.of(params)
    twins = [checkpoint.load(path) for path in twins_of(name)]
    words = vocabulary.load(VOCAB.file(TOKENS / corpus), model.d_vocab)
    valid = read_tokens(TOKENS / corpus / "valid.npy", model.d_vocab)
    windows = spread_windows(valid, model.n_ctx, params.contexts)
    needed = needs_of_studies.of_directions(plan, model, params, ROWS, len(twins))
    needs.state(f"directions {name}", needed, BOUNDED_BY)

    found = study(
        model,
        words.probability,
        words.eligible(params.min_count, "directions.min_count"),
        windows,
        params,
        twins,
        plan.heads(heads(model)),
    )
    with atomic_folder(DIRECTIONS / name) as folder:
        write_all(folder, tables, found)
    several = int((found["groups"]["size"] > 1).sum())
    wrote(DIRECTIONS / name, f"{len(found['groups'])} groups of directions, {several} of several")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
