"""Compare what a model says with rules that are counted in the text, along its training.

Reads   params.yaml  rules
        data/models/<m>/ and its checkpoints, data/tables/<m>/skip_trigrams.parquet, data/tokens/<corpus of m>/
Writes  data/rules/<m>/shares.parquet   how often the model's likeliest token is that of each rule
"""

from collections.abc import Iterator

import numpy as np

from skiptrace.config.base import load
from skiptrace.config.models import load_model
from skiptrace.config.rules import RulesParams
from skiptrace.files import read_tokens
from skiptrace.layout import MODELS, PARAMS, RULES, TABLES, TOKENS
from skiptrace.mining.tables import SKIP_TRIGRAMS
from skiptrace.models import checkpoint
from skiptrace.models.along import along
from skiptrace.models.loss import ROWS
from skiptrace.models.tables import CURVE
from skiptrace.models.transformer import Transformer
from skiptrace.rules.estimates import BLOCK
from skiptrace.rules.study import Checkpoint, study
from skiptrace.rules.tables import CLOSEST, SHARES
from skiptrace.tables import made
from skiptrace.tokens.kneser_ney import MOST
from stages import needs, needs_of_studies
from stages.common import asked_for, run, wrote

BOUNDED_BY = "rules.contexts and rules.window"


def main() -> None:
    """Compare one model."""
    name = asked_for("model", __doc__)
    params = load(RulesParams, "rules", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    made(**model.config.readings)
    train, valid = (
        np.asarray(read_tokens(TOKENS / corpus / f"{part}.npy", model.d_vocab)) for part in ("train", "valid")
    )
    models = 1 + len(list((MODELS / name).glob("checkpoints/step-*")))
    needed = needs_of_studies.of_rules(model, params, models, min(len(train), MOST), BLOCK, ROWS)
    needs.state(f"rules {name}", needed, BOUNDED_BY, "the length of the text")
    rows = SKIP_TRIGRAMS.read(TABLES / name)
    found = study(checkpoints(name, model), train, valid, rows, model.n_ctx, model.d_vocab, params)
    SHARES.write(RULES / name, found)
    last = found[found["rule"] == CLOSEST].iloc[-1]
    wrote(
        RULES / name,
        f"the closest rule says the likeliest token at {last['agrees']:.1%} of {last['places']:,} places, by chance at "
        f"{last['chance']:.1%}",
    )


def checkpoints(name: str, model: Transformer) -> Iterator[Checkpoint]:
    """Every model that training kept on its way, and the model itself, last."""
    curve = CURVE.read(MODELS / name)
    steps, tokens = (int(curve[column].max()) if len(curve) else 0 for column in ("step", "tokens"))
    for step, kept in along(MODELS / name):
        if step < steps:
            yield Checkpoint(step, step * tokens // steps, kept)
    yield Checkpoint(steps, tokens, model)


if __name__ == "__main__":
    run(main, BOUNDED_BY)
