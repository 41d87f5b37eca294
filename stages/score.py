"""Score every head, and measure the model's loss on the validation text.

Reads   params.yaml  scoring, budget
        data/models/<m>/ and its twins
        data/tokens/<corpus of m>/valid.npy
Writes  data/tables/<m>/heads.parquet     one row per head, each score beside its null
        data/tables/<m>/spreads.parquet   headline numbers of the model and of its twins
        data/tables/<m>/offsets.parquet   mean attention by distance, on text and by position alone
        data/tables/<m>/losses.parquet    valid loss by position in the context, nats
"""

from skiptrace import budget
from skiptrace.circuits import seeds
from skiptrace.circuits.scores import score_heads
from skiptrace.circuits.tables import HEADS, OFFSETS, SPREADS
from skiptrace.config.base import load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.models import load_model
from skiptrace.config.scoring import ScoringParams
from skiptrace.files import read_tokens
from skiptrace.layout import MODELS, PARAMS, TABLES, TOKENS
from skiptrace.models import checkpoint
from skiptrace.models.evaluation import losses_by_position
from skiptrace.models.loss import ROWS
from skiptrace.models.tables import LOSSES
from skiptrace.models.windows import spread_windows
from skiptrace.tables import made
from stages import needs
from stages.common import asked_for, run, twins_of, wrote

BOUNDED_BY = "scoring.loss_contexts and scoring.sequences"


def main() -> None:
    """Score one model."""
    name = asked_for("model", __doc__)
    params = load(ScoringParams, "scoring", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    made(**model.config.readings)
    plan = budget.scoring(model.config, params, load(BudgetParams, "budget", PARAMS))
    needs.within(f"score {name}", plan)
    params = plan.of(params)
    valid = read_tokens(TOKENS / corpus / "valid.npy", model.d_vocab)
    texts = spread_windows(valid, model.n_ctx, params.sequences)[:, :-1]
    needs.state(f"score {name}", needs.of_scoring(plan, model, ROWS), BOUNDED_BY)
    heads, offsets = score_heads(model, texts, params)
    losses = losses_by_position(model, valid, params.loss_contexts)
    others = []
    for folder in twins_of(name):
        twin = checkpoint.load(folder)
        theirs, _ = score_heads(twin, texts, params)
        others.append(seeds.numbers(theirs, losses_by_position(twin, valid, params.loss_contexts)))
    varied = seeds.spreads(seeds.numbers(heads, losses), others)
    for table, content in ((HEADS, heads), (OFFSETS, offsets), (LOSSES, losses), (SPREADS, varied)):
        table.write(TABLES / name, content)
    copying = f"{int(heads['copies'].sum())} of {len(heads)} heads copy" if len(heads) else "no heads"
    wrote(TABLES / name, f"validation loss {losses['loss'].mean():.3f} nats, {copying}")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
