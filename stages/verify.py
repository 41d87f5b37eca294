"""Check mined rows against the running model, the corpus, and planted truth where there is any.

Reads   params.yaml  verification, mining, budget, expansion.offsets
        data/models/<m>/ and its twins, data/tables/<m>/bigrams.parquet, skip_trigrams.parquet, copies.parquet
        data/tokens/<corpus of m>/, data/ngrams/<corpus of m>/, data/corpora/<corpus of m>/
Writes  data/evidence/<m>/skip_trigrams.parquet   the mined columns and their evidence
        data/evidence/<m>/matched.parquet         rows mined from stand-ins of the heads, checked in the same way
        data/evidence/<m>/twins.parquet           the best rows of its twins
        data/evidence/<m>/funnel.parquet          how many rows pass each test, of the heads and of the stand-ins
        data/evidence/<m>/bugs.parquet            crossed skip-trigrams and what they cost
        data/evidence/<m>/truth.parquet           precision and recall against planted truth
        data/evidence/<m>/costs.parquet           what crossings, factoring and unsupported entries cost
"""

import numpy as np
import pandas as pd

from skiptrace import budget
from skiptrace.circuits.factored import heads
from skiptrace.config.base import load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import load_model
from skiptrace.config.verification import VerificationParams
from skiptrace.corpora.tables import TRUTH
from skiptrace.evidence import bounds, bugs, factoring, truth
from skiptrace.evidence.causal import at_once
from skiptrace.evidence.funnel import funnel, judged
from skiptrace.evidence.nulls import StandIn, stand_in
from skiptrace.evidence.support import Positions
from skiptrace.evidence.tables import BUGS, CHECKED, COSTS, FUNNEL, MATCHED, SCORES, TWINS
from skiptrace.evidence.used import use
from skiptrace.evidence.verification import Streams, best, verify
from skiptrace.files import read_tokens
from skiptrace.layout import CORPORA, EVIDENCE, MODELS, NGRAMS, PARAMS, TABLES, TOKENS
from skiptrace.mining import skip_trigrams, vocabulary
from skiptrace.mining.tables import BIGRAMS, COPIES, SKIP_TRIGRAMS
from skiptrace.models import checkpoint
from skiptrace.models.transformer import Transformer
from skiptrace.tables import made
from skiptrace.tokens.tables import BIGRAMS as COUNTS
from skiptrace.tokens.tables import VOCAB
from stages import needs
from stages.common import asked_for, run, twins_of, wrote

BOUNDED_BY = "verification.rows, contexts, context_tokens and null_rows"


def main() -> None:
    """Verify one model."""
    name = asked_for("model", __doc__)
    params, mining = load(VerificationParams, "verification", PARAMS), load(MiningParams, "mining", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model, out = checkpoint.load(MODELS / name), EVIDENCE / name
    made(**model.config.readings)
    vocab = VOCAB.read(TOKENS / corpus)
    streams = Streams(
        np.asarray(read_tokens(TOKENS / corpus / "train.npy", model.d_vocab)),
        np.asarray(read_tokens(TOKENS / corpus / "valid.npy", model.d_vocab)),
        vocab["count"].to_numpy(),
    )
    tables = {table.name: table.read(TABLES / name) for table in (BIGRAMS, SKIP_TRIGRAMS, COPIES)}

    paths = twins_of(name)
    known_words = budget.Words.of(vocab["count"], mining.min_count)
    limit = load(BudgetParams, "budget", PARAMS)
    plan = budget.verification(model.config, known_words, params, len(paths), limit)
    needs.within(f"verify {name}", plan)
    params = plan.of(params)
    mined = tables["skip_trigrams"]
    there = sorted(set(zip(mined["layer"].tolist(), mined["head"].tolist(), strict=True)))
    among = plan.heads(there if budget.HEADS in {cut.size for cut in plan.cuts} else heads(model))
    mined = mined[pd.MultiIndex.from_frame(mined[["layer", "head"]]).isin(among)]
    batch = at_once(model, min(params.context_tokens, model.n_ctx))
    others = len(StandIn) * len(among) + len(paths) * model.n_layers * model.n_heads
    to_mine = needs.memory_of_mining(model, others, 1, COUNTS.size(COUNTS.file(NGRAMS / corpus)))
    planted, window = TRUTH.file(CORPORA / corpus), model.n_ctx - 1
    counted = truth.memory(model.d_vocab, len(streams.train), window) if planted.exists() else 0.0
    needed = needs.of_verification(plan, model, batch, len(streams.train), to_mine, params, counted)
    needs.state(f"verify {name}", needed, BOUNDED_BY)
    words = vocabulary.load(VOCAB.file(TOKENS / corpus), model.d_vocab, COUNTS.file(NGRAMS / corpus))
    offsets = load(ExpansionParams, "expansion", PARAMS).offsets
    theirs = [skip_trigrams.of_model(checkpoint.load(path), words, mining, offsets=offsets) for path in paths]
    context = min(params.context_tokens, model.n_ctx)

    def on_text(of: Transformer, rows: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([rows, use(of, rows, streams.valid, context, params.text_places, params.fdr)], axis=1)

    arms = {}
    for kind in StandIn:
        other = stand_in(model, kind, params.seed)
        theirs_mined = skip_trigrams.of_model(other, words, mining, among, offsets)
        arms[kind.value] = on_text(other, verify(other, theirs_mined, streams, params, params.matched_rows))
    checked = on_text(model, verify(model, mined, streams, params))
    checked = judged(checked, arms[StandIn.ROTATED], theirs, params)
    arms = {kind: judged(rows, arms[StandIn.ROTATED], theirs, params) for kind, rows in arms.items()}
    positions = Positions(streams.train, len(vocab), window)
    found = bugs.measure(model, bugs.find(checked, positions, params), streams, params)
    scores = []
    if planted.exists():
        known, counts = truth.Known(TRUTH.read_file(planted), vocab), COUNTS.read(NGRAMS / corpus)
        scores = truth.evaluate(known, tables, checked, found, counts, streams.train, window)

    stood = pd.concat([rows.assign(heads=kind) for kind, rows in arms.items()], ignore_index=True)
    MATCHED.write(out, stood)
    recurring = [rows[best(rows, params.rows)].assign(twin=number) for number, rows in enumerate(theirs)]
    TWINS.write(out, TWINS.frame(pd.concat(recurring) if recurring else ()))
    FUNNEL.write(out, funnel({"trained": checked, **arms}, params))
    CHECKED.write(out, checked)
    BUGS.write(out, bugs.with_texts(found, vocab["token"]))
    SCORES.write(out, truth.to_frame(scores))
    bounded = bounds.bounds(model, checked, positions, streams, params)
    costs = [bugs.crossing_costs(model, found, streams, params), bounded]
    if model.n_layers == 1:  # heads of later layers read more than one source token
        costs.append(factoring.factoring(streams, context - 2, model.n_heads))
    COSTS.write(out, pd.concat(costs, ignore_index=True))
    wrote(out, f"{int(checked['survives'].sum()):,} of {len(checked):,} rows pass every test")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
