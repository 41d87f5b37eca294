"""The order in which a reader meets skip-trigrams: supported by text first, then by what they are worth on it."""

import numpy as np
import pandas as pd

from skiptrace.account.entries import Split
from skiptrace.account.readable import readable
from skiptrace.account.study import Text
from skiptrace.account.tables import ROWS
from skiptrace.account.worth import IDS, worth
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.support import Support
from skiptrace.evidence.tables import CHECKED
from skiptrace.evidence.used import use
from skiptrace.evidence.verification import Streams, verify
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import random_windows, spread_windows

CHECKED_COLUMNS = [
    *IDS, "source", "destination", "out", "consistent", "use", "support", "p_out", "corpus_count", "corpus_lift",
]  # fmt: skip
ROLES = ("source", "destination", "out")
CHOSEN_ON, CONTEXTS = 256, 256  # contexts of training text that order rows, and of held-out text that measures them


def with_chosen(
    model: Transformer, checked: pd.DataFrame, chosen: pd.DataFrame, streams: Streams, params: VerificationParams
) -> pd.DataFrame:
    """The checked rows, then those of `chosen` that are not among them, checked in the same way.

    False discoveries are controlled in either group by itself. Columns: `CHECKED_COLUMNS`, and `mined`, whether the
    weights were mined for the row.
    """
    rows = chosen.assign(layer=0, rank_published=chosen["rank"], rank_expected=chosen["rank"])
    known = pd.MultiIndex.from_frame(rows[IDS]).isin(pd.MultiIndex.from_frame(checked[IDS]))
    more = rows[~known]
    found = [checked[CHECKED_COLUMNS].assign(mined=True)]
    if len(more):
        more = verify(model, more, streams, params.model_copy(update={"rows": 2 * int(rows["rank"].max())}))
        context = min(params.context_tokens, model.n_ctx)
        on_text = use(model, more, streams.valid, context, params.text_places, params.fdr)
        found.append(pd.concat([more, on_text], axis=1)[CHECKED_COLUMNS].assign(mined=False))
    return pd.concat(found, ignore_index=True).astype({name: CHECKED.dtypes[name] for name in CHECKED_COLUMNS})


def listed(checked: pd.DataFrame, split: Split | None, text: Text, seed: int) -> pd.DataFrame:
    """All rows in their order; columns: `account.tables.ROWS`.

    `checked` is of `with_chosen`. Rows that the corpus supports come first. With `split`, among them those that save
    more than two standard errors on training text, then all by what they save there; what they save on held-out text,
    which chose nothing, stands beside it. Of a model that is not the sum of its circuits the order is by count ·
    log(lift): what the training text itself says that knowing the row is worth.
    """
    count, lift = checked["corpus_count"].to_numpy(), checked["corpus_lift"].to_numpy(dtype=float)
    rows = checked.assign(
        readable=[readable(*texts) for texts in zip(*(checked[role] for role in ROLES), strict=True)],
        corpus_nats=1000 / len(text.train) * count * np.log(np.where(count > 0, lift, 1.0)),
        **{"n": 0, "nats": np.nan, "nats_se": np.nan, "chosen_nats": np.nan, "chosen_se": np.nan},
    )
    by, clear = rows["corpus_nats"], rows["corpus_count"] > 0
    if split is not None:
        n_ctx = split.model.n_ctx
        chosen = worth(split, rows, random_windows(text.train, n_ctx, CHOSEN_ON, seed, 0))
        measured = worth(split, rows, spread_windows(text.valid, n_ctx, CONTEXTS))
        rows = rows.assign(n=measured.n, nats=measured.nats, nats_se=measured.se)
        rows = rows.assign(chosen_nats=chosen.nats, chosen_se=chosen.se)
        by, clear = rows["chosen_nats"], rows["chosen_nats"] > 2 * rows["chosen_se"]
    order = np.lexsort([-by.to_numpy(), ~clear, rows["support"] != Support.SUPPORTED])
    return ROWS.frame(rows.iloc[order].assign(rank=np.arange(1, len(rows) + 1)))
