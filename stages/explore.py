"""Compute what the report's page looks up in a model.

Reads   params.yaml  exploration, mining, budget
        data/models/<m>/, data/tables/<m>/heads.parquet, agreement.parquet, skip_trigrams.parquet
        data/tokens/<corpus of m>/, data/ngrams/<corpus of m>/bigrams.parquet, data/compose/<m>/example_texts.parquet
Writes  data/explore/<m>/entries.parquet    the largest entries of every token in every head, by role
        data/explore/<m>/texts.parquet      texts, and the likeliest next tokens at each place
        data/explore/<m>/patterns.parquet   attention patterns on these texts
        data/explore/<m>/score_terms.parquet   why heads attend there: the largest terms of every attention score
        data/explore/<m>/guess_paths.parquet   the paths that add most to the likeliest next token there
        data/explore/<m>/corners.parquet    a corner of both circuits of every head
        data/explore/<m>/layers.parquet     copying by the summed heads of each layer
        data/explore/<m>/direct.parquet     zero layers: the direct path beside the corpus
"""

import sys
from dataclasses import replace

import numpy as np

from skiptrace import budget
from skiptrace.circuits.tables import HEADS
from skiptrace.composition.tables import EXAMPLE_TEXTS
from skiptrace.config.base import load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.exploration import ExplorationParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import load_model
from skiptrace.exploration import tables
from skiptrace.exploration.study import Known, Text, explore
from skiptrace.files import atomic_folder, read_tokens
from skiptrace.layout import COMPOSE, EXPLORE, MODELS, NGRAMS, PARAMS, TABLES, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.mining.tables import AGREEMENT, SKIP_TRIGRAMS
from skiptrace.models import checkpoint
from skiptrace.tables import made, write_all
from skiptrace.tokens.tables import BIGRAMS, VOCAB
from stages import needs
from stages.common import asked_for, run, wrote

BOUNDED_BY = "exploration.tokens and mining.frequent_tokens"


def main() -> None:
    """Look one model up."""
    name = asked_for("model", __doc__)
    params, mining = load(ExplorationParams, "exploration", PARAMS), load(MiningParams, "mining", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    made(**model.config.readings)
    words = vocabulary.load(VOCAB.file(TOKENS / corpus), model.d_vocab)
    seen = budget.Words.of(words.count, mining.min_count)
    plan = budget.exploration(model.config, seen, params, load(BudgetParams, "budget", PARAMS))
    if plan.cuts and plan.sizes["tokens"] == budget.on_page(model.config):
        print(f"explore {name}: {plan.said()} can be looked up, so that the page stays small", file=sys.stderr)
        plan = replace(plan, cuts=())
    needs.within(f"explore {name}", plan)
    params = plan.of(params)
    mined, examples = TABLES / name, EXAMPLE_TEXTS.read(COMPOSE / name)
    known = Known(HEADS.read(mined), SKIP_TRIGRAMS.read(mined), AGREEMENT.read(mined), examples)
    valid = np.asarray(read_tokens(TOKENS / corpus / "valid.npy", model.d_vocab))
    frequent = len(known.agreement) if model.n_layers == 0 else 0
    needed = needs.of_exploration(plan, model, frequent, BIGRAMS.size(BIGRAMS.file(NGRAMS / corpus)))
    needs.state(f"explore {name}", needed, BOUNDED_BY)
    text = Text(valid, BIGRAMS.read(NGRAMS / corpus))

    found = explore(model, known, words, text, mining.min_count, params)
    with atomic_folder(EXPLORE / name) as folder:
        write_all(folder, tables, found)
    wrote(EXPLORE / name, f"{found['entries']['token_id'].nunique():,} tokens in {len(known.heads)} heads")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
