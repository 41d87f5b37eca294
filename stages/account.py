"""Account for the attention of a model: its ladder, the price of competition, and what its largest entries recover.

Reads   params.yaml  account, verification, mining, budget
        data/models/<m>/ and its twins, data/evidence/<m>/skip_trigrams.parquet, twins.parquet
        data/tokens/<corpus of m>/
Writes  data/account/<m>/ladder.parquet          the loss with parts of attention replaced
        data/account/<m>/curve.parquet           the share that the first entries of each order recover
        data/account/<m>/entries.parquet         the kept entries of QK and OV, in order
        data/account/<m>/skip_bigrams.parquet    the rows that save most on text, whatever the destination
        data/account/<m>/skip_trigrams.parquet   the rows whose destination saves most on text
        data/account/<m>/rows.parquet            mined rows and these, in the order a reader meets them
        data/account/<m>/examples.parquet        the first that can be read, each where it stands in held-out text
        data/account/<m>/formed.parquet          how the first rows formed along the training
        data/account/<m>/confirmed.parquet       how many of those used on training text are used on held-out text
        data/account/<m>/overlaps.parquet        how many of the first rows recur in its twins
        data/account/<m>/headlines.parquet       headline numbers of the ladder in its twins
        data/account/<m>/additive.safetensors    with the entries, a model of tables (skiptrace.account.lookup)
"""

import numpy as np
import pandas as pd

from skiptrace import budget
from skiptrace.account import examples, lookup, tables
from skiptrace.account.entries import applies, split
from skiptrace.account.formed import formed
from skiptrace.account.listing import listed, with_chosen
from skiptrace.account.orders import MOST, Published
from skiptrace.account.study import Text, account, of_shown_rows
from skiptrace.account.twins import headlines, overlaps
from skiptrace.account.worth import IDS
from skiptrace.config.account import AccountParams
from skiptrace.config.base import load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import load_model
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.support import Positions
from skiptrace.evidence.tables import CHECKED, TWINS
from skiptrace.evidence.verification import Streams
from skiptrace.files import atomic_folder, read_tokens
from skiptrace.layout import ACCOUNT, EVIDENCE, MODELS, PARAMS, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.models import checkpoint
from skiptrace.models.along import along
from skiptrace.tables import made, write_all
from skiptrace.tokens.tables import VOCAB
from stages import needs
from stages.common import asked_for, run, twins_of, wrote

BOUNDED_BY = "account.contexts and account.selection"


def main() -> None:
    """Account for one model."""
    name = asked_for("model", __doc__)
    params = load(AccountParams, "account", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    made(**model.config.readings)
    train, valid = (
        np.asarray(read_tokens(TOKENS / corpus / f"{part}.npy", model.d_vocab)) for part in ("train", "valid")
    )
    words = vocabulary.load(VOCAB.file(TOKENS / corpus), model.d_vocab)
    plan = budget.accounting(model.config, params, load(BudgetParams, "budget", PARAMS))
    needs.within(f"account {name}", plan)
    params = plan.of(params)
    needs.state(f"account {name}", needs.of_accounting(plan, model, MOST), BOUNDED_BY)
    text = Text(train, valid, words.probability, words.token)
    mined = CHECKED.read(EVIDENCE / name).sort_values("rank_evidence")
    checks = load(VerificationParams, "verification", PARAMS)

    rule = load(MiningParams, "mining", PARAMS)
    published = Published(words.eligible_ids(rule.min_count), rule.frequency_power)
    found = account(model, text, params, published, plan.sizes["layers"])
    parts = split(model, text.frequency) if applies(model) else None
    streams = Streams(train, valid, words.count.to_numpy())
    checked = with_chosen(model, mined, found.skip_trigrams, streams, checks)
    rows = listed(checked, parts, text, params.seed)
    context = min(checks.context_tokens, model.n_ctx)
    tested = examples.tested(model, rows, text, params, context, checks.fdr)
    shown = examples.first(tested.rows, Positions(valid, model.d_vocab, model.n_ctx - 1), text.token)
    twins = [checkpoint.load(path) for path in twins_of(name)]
    theirs = TWINS.read(EVIDENCE / name)
    others = [(twin, theirs[theirs["twin"] == number]) for number, twin in enumerate(twins)]
    mine = mined.merge(rows[[*IDS, "chosen_nats"]], on=IDS)
    more = {
        "curve": pd.concat([found.curve, of_shown_rows(model, text, rows[rows["mined"]], params)], ignore_index=True),
        "rows": rows,
        "examples": shown,
        "formed": formed(along(MODELS / name), rows, streams, checks),
        "confirmed": tested.confirmed,
        "overlaps": overlaps(model, mine, others, text, params.seed),
        "headlines": headlines(found.ladder, twins, text, params),
    }
    with atomic_folder(ACCOUNT / name) as folder:
        write_all(folder, tables, found._asdict() | more)
        if parts is not None and lookup.fits(parts):
            lookup.save(folder / "additive.safetensors", lookup.of_split(parts))
    ladder = found.ladder.set_index(["layers", "rung"])["loss"]
    wrote(ACCOUNT / name, f"loss {ladder['all', 'whole model']:.3f}, unigram {ladder['all', 'unigram']:.3f}")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
