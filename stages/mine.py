"""Mine the largest circuit entries into tables.

The factors of the circuits are all that mining needs; what is stored of them is for people and other programs.

Reads   params.yaml  mining, budget, expansion.heads, expansion.offsets, expansion.virtual_heads
        data/models/<m>/, data/tables/<m>/heads.parquet
        data/tokens/<corpus of m>/vocab.parquet, data/ngrams/<corpus of m>/bigrams.parquet
Writes  data/tables/<m>/bigrams.parquet         largest entries of the direct path
        data/tables/<m>/agreement.parquet       rank correlation with the corpus, per token
        data/tables/<m>/skip_trigrams.parquet   source … destination → out, all heads
        data/tables/<m>/positional.parquet      source → out of primarily positional heads
        data/tables/<m>/copies.parquet          the tokens that each head copies most
        data/tables/<m>/largest.parquet         largest products QK·OV of all V³, per head
        data/tables/<m>/virtual_ov.parquet      source → output token of the strongest pairs of heads in turn
        data/tables/<m>/k_composition.parquet   destination ← source that later heads attend to through earlier ones
        data/tables/<m>/circuits.parquet        statistics and a histogram of the entries of every circuit
"""

import torch

from skiptrace import budget
from skiptrace.circuits.factored import direct, head_name, heads
from skiptrace.circuits.tables import HEADS
from skiptrace.config.base import load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import load_model
from skiptrace.devices import device
from skiptrace.layout import MODELS, NGRAMS, PARAMS, TABLES, TOKENS
from skiptrace.mining import bigrams, skip_trigrams, virtual, vocabulary
from skiptrace.mining.heads import mine_head, mine_largest, statistics_of
from skiptrace.mining.tables import (
    AGREEMENT,
    BIGRAMS,
    CIRCUITS,
    COPIES,
    K_COMPOSITION,
    LARGEST,
    POSITIONAL,
    SKIP_TRIGRAMS,
    VIRTUAL_OV,
)
from skiptrace.models.loaded import loaded
from skiptrace.tables import made
from skiptrace.tokens.tables import BIGRAMS as COUNTS
from skiptrace.tokens.tables import VOCAB
from skiptrace.workers import at_once, side_by_side
from stages import needs
from stages.common import asked_for, run, wrote

BOUNDED_BY = (
    "expansion.heads, expansion.offsets, expansion.virtual_heads, mining.destinations, mining.outs and mining.largest"
)


def main() -> None:
    """Mine one model."""
    name = asked_for("model", __doc__)
    params, expansion = load(MiningParams, "mining", PARAMS), load(ExpansionParams, "expansion", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model, words, out = loaded(MODELS / name), VOCAB.file(TOKENS / corpus), TABLES / name
    made(**model.config.readings)
    followed = COUNTS.file(NGRAMS / corpus)
    vocab = vocabulary.load(words, model.d_vocab)
    scores = HEADS.read(out)
    positional = {(row.layer, row.head) for row in scores.itertuples() if row.positional}

    where, path = device(), direct(model).on(device())
    asked = [head for head in heads(model) if expansion.only is None or head_name(head) in expansion.only]
    offsets = len(expansion.offsets) if model.config.rotary else 0
    known_words = budget.Words.of(vocab.count, params.min_count)
    limit = load(BudgetParams, "budget", PARAMS)
    plan = budget.mining(model.config, known_words, params, len(asked), offsets, limit)
    needs.within(f"mine {name}", plan)
    asked, params = plan.heads(asked), plan.of(params)
    pairs = virtual.pair_circuits(model, expansion.virtual_heads, where)
    every, known = len(asked) + len(pairs), COUNTS.size(followed)
    needed = needs.of_mining(plan, model, every, at_once(len(asked)), known, offsets)
    needs.state(f"mine {name}", needed, BOUNDED_BY)
    largest, agreement = bigrams.mine(path, COUNTS.read_file(followed), vocab, params)
    BIGRAMS.write(out, largest)
    AGREEMENT.write(out, agreement)
    files = [str(file.resolve()) for file in (MODELS / name, words, followed)]
    jobs = [(*files, head, params, expansion.offsets, where) for head in asked]
    found = side_by_side(mine_head, jobs, "mining heads", threads=True)
    acting = [one.best_outs for head, one in zip(asked, found, strict=True) if head in positional]
    statistics = statistics_of(path, params.bins, torch.get_num_threads())
    statistics += [row for one in found for row in one.statistics]
    mined = skip_trigrams.mine((one.skip_trigrams for one in found), vocab, params)
    SKIP_TRIGRAMS.write(out, mined)
    POSITIONAL.write(out, skip_trigrams.mine_positional(acting, vocab))
    COPIES.write(out, skip_trigrams.mine_copies((one.copies for one in found), vocab))
    LARGEST.write(out, mine_largest((one.largest for one in found), vocab))
    VIRTUAL_OV.write(out, virtual.mine_virtual_ov(pairs, vocab, params))
    K_COMPOSITION.write(out, virtual.mine_k_composition(pairs, vocab, params))
    CIRCUITS.write(out, CIRCUITS.frame(statistics))
    wrote(out, f"{largest.num_rows:,} bigrams, {mined.num_rows:,} skip-trigrams mined")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
