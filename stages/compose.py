"""Study how heads work together, and the residual stream they share.

Reads   params.yaml  composition, scoring, budget, expansion.virtual_heads
        data/models/<m>/, data/tables/<m>/heads.parquet, data/tokens/<corpus of m>/
Writes  data/compose/<m>/
            paths, examples, example_texts            path expansion of the logits on text
            composition                               Q-, K- and V-composition of heads, with nulls
            virtual_heads, patterns                   virtual heads and K-composition circuits
            induction, knockouts, formation           induction heads
            terms                                     loss reduction of each term of the path expansion
            virtual_weights, writers, overlaps, deletion   the residual stream
            identities                                numeric errors
            directions, plane                         features as directions
        each a .parquet; what needs more layers than the model has is a table without rows
"""

import pandas as pd

from skiptrace import budget
from skiptrace.arithmetic import on_one_thread
from skiptrace.circuits.factored import heads
from skiptrace.circuits.tables import HEADS
from skiptrace.composition.formation import formation
from skiptrace.composition.heads import strongest_keys
from skiptrace.composition.study import IDENTITY_CONTEXTS, IDENTITY_TOKENS, study
from skiptrace.composition.tables import COMPOSITION, FORMATION
from skiptrace.config.base import load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.composition import CompositionParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.models import load_model
from skiptrace.config.scoring import ScoringParams
from skiptrace.files import atomic_folder, read_tokens
from skiptrace.layout import COMPOSE, MODELS, PARAMS, TABLES, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.models import checkpoint
from skiptrace.models.along import along
from skiptrace.tables import made
from skiptrace.tokens.tables import VOCAB
from stages import needs
from stages.common import asked_for, run, wrote

BOUNDED_BY = "scoring.sequences and expansion.virtual_heads"


def main() -> None:
    """Study one model, on one thread: on processors of others than Intel MKL adds otherwise on several."""
    on_one_thread(compose)


def compose() -> None:
    """Study one model."""
    name = asked_for("model", __doc__)
    params, scoring = load(CompositionParams, "composition", PARAMS), load(ScoringParams, "scoring", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    made(**model.config.readings)
    vocab = vocabulary.load(VOCAB.file(TOKENS / corpus), model.d_vocab)
    valid = read_tokens(TOKENS / corpus / "valid.npy", model.d_vocab)
    virtual_heads = load(ExpansionParams, "expansion", PARAMS).virtual_heads
    words = pd.DataFrame({"token": vocab.token, "count": vocab.count})

    plan = budget.composition(model.config, scoring, virtual_heads, load(BudgetParams, "budget", PARAMS))
    needs.within(f"compose {name}", plan)
    scoring = plan.of(scoring)
    positions = IDENTITY_CONTEXTS * min(IDENTITY_TOKENS, model.n_ctx)
    needs.state(f"compose {name}", needs.of_composition(plan, model, positions, scoring), BOUNDED_BY)
    scored = HEADS.read(TABLES / name)
    with atomic_folder(COMPOSE / name) as folder:
        pair = None
        for table, rows in study(model, valid, words, scored, scoring, params, virtual_heads, plan.heads(heads(model))):
            table.write(folder, rows)
            if table is COMPOSITION:
                pair = strongest_keys(rows)
        FORMATION.write(folder, formation(along(MODELS / name), valid, scoring, pair))
    wrote(COMPOSE / name, f"{model.n_layers} layers, {len(heads(model))} heads studied")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
