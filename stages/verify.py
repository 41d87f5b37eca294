"""Check mined rows against the running model, the corpus, and planted truth where there is any.

Reads   params.yaml  verification, mining
        data/models/<m>/ and its twins, data/tables/<m>/bigrams.parquet, skip_trigrams.parquet, copies.parquet
        data/tokens/<corpus of m>/, data/ngrams/<corpus of m>/, data/corpora/<corpus of m>/
Writes  data/evidence/<m>/skip_trigrams.parquet   the mined columns and their evidence
        data/evidence/<m>/matched.parquet         rows mined from stand-ins of the heads, checked in the same way
        data/evidence/<m>/funnel.parquet          how many rows pass each test, of the heads and of the stand-ins
        data/evidence/<m>/bugs.parquet            crossed skip-trigrams and what they cost
        data/evidence/<m>/truth.parquet           precision and recall against planted truth
        data/evidence/<m>/bill.json               upper bound on the cost of unsupported rows, nats/token
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from skiptrace.config.base import load
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import load_model
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence import bugs, truth
from skiptrace.evidence.causal import at_once
from skiptrace.evidence.funnel import funnel, judged
from skiptrace.evidence.nulls import StandIn, stand_in
from skiptrace.evidence.support import Positions
from skiptrace.evidence.verification import Streams, verify
from skiptrace.files import read_table, read_tokens, write_json, write_table
from skiptrace.layout import CORPORA, EVIDENCE, MODELS, NGRAMS, PARAMS, TABLES, TOKENS
from skiptrace.mining import skip_trigrams, vocabulary
from skiptrace.models import checkpoint
from stages import needs
from stages.common import asked_for, run, wrote

BOUNDED_BY = "verification.rows, contexts, context_tokens and null_rows"


def main() -> None:
    """Verify one model."""
    name = asked_for("model", __doc__)
    params, mining = load(VerificationParams, "verification", PARAMS), load(MiningParams, "mining", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model, out = checkpoint.load(MODELS / name), EVIDENCE / name
    vocab = read_table(TOKENS / corpus / "vocab.parquet").to_pandas()
    streams = Streams(
        np.asarray(read_tokens(TOKENS / corpus / "train.npy", model.d_vocab)),
        np.asarray(read_tokens(TOKENS / corpus / "valid.npy", model.d_vocab)),
        vocab["count"].to_numpy(),
    )
    tables = {n: read_table(TABLES / name / f"{n}.parquet").to_pandas() for n in ("bigrams", "skip_trigrams", "copies")}

    rows = min(len(tables["skip_trigrams"]), params.rows)
    batch = at_once(model, min(params.context_tokens, model.n_ctx))
    needed = needs.of_verification(model, rows * (1 + len(StandIn)), batch, len(streams.train), params)
    needs.state(f"verify {name}", needed, BOUNDED_BY)
    words = vocabulary.load(TOKENS / corpus / "vocab.parquet", model.d_vocab)
    twins = [checkpoint.load(path) for path in sorted((MODELS / name / "twins").glob("*/"))]
    theirs = [skip_trigrams.of_model(twin, words, mining) for twin in twins]
    matched = params.model_copy(update={"rows": params.matched_rows or params.rows})
    arms = {}
    for kind in StandIn:
        other = stand_in(model, kind, params.seed)
        arms[kind.value] = verify(other, skip_trigrams.of_model(other, words, mining), streams, matched)
    checked = verify(model, tables["skip_trigrams"], streams, params)
    checked = judged(checked, arms[StandIn.ROTATED], theirs, params)
    arms = {kind: judged(rows, arms[StandIn.ROTATED], theirs, params) for kind, rows in arms.items()}
    positions = Positions(streams.train, len(vocab), model.n_ctx - 1)
    found = bugs.measure(model, bugs.find(checked, positions, params), streams, params)
    planted = CORPORA / corpus / "truth.parquet"
    scores = []
    if planted.exists():
        bigrams = read_table(NGRAMS / corpus / "bigrams.parquet").to_pandas()
        known = truth.Known(read_table(planted).to_pandas(), vocab)
        scores = truth.evaluate(known, tables, checked, found, bigrams, streams.train, model.n_ctx - 1)

    stood = pd.concat([rows.assign(heads=kind) for kind, rows in arms.items()], ignore_index=True)
    write_table(out / "matched.parquet", pa.Table.from_pandas(stood, preserve_index=False))
    passed = funnel({"trained": checked, **arms}, params)
    write_table(out / "funnel.parquet", pa.Table.from_pandas(passed, preserve_index=False))
    write_table(out / "skip_trigrams.parquet", pa.Table.from_pandas(checked, preserve_index=False))
    write_table(
        out / "bugs.parquet", pa.Table.from_pandas(bugs.with_texts(found, vocab["token"]), preserve_index=False)
    )
    write_table(out / "truth.parquet", pa.Table.from_pandas(truth.to_frame(scores), preserve_index=False))
    bill = bugs.bill(model, checked, streams, params) if len(checked) else 0.0
    write_json(out / "bill.json", {"nats_per_token": bill}, sealed=True)
    wrote(out, f"{int(checked['survives'].sum()):,} of {len(checked):,} rows pass every test")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
