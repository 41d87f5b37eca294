"""When the first rows of a table formed: the effect of their edges along the training, beside random rows."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from skiptrace.account.tables import FORMED
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.causal import Rows, Sampler, check, frequency_matched
from skiptrace.evidence.verification import Streams
from skiptrace.models.transformer import Transformer

FIRST = 8  # rows that are followed, the first of the table
RANDOM = 2  # random rows of the same head, and as frequent tokens, beside each
ENDS = ["source", "destination", "out"]
IDS = [f"{end}_id" for end in ENDS]


def formed(
    checkpoints: Iterable[tuple[int, Transformer]], rows: pd.DataFrame, streams: Streams, params: VerificationParams
) -> pd.DataFrame:
    """What cutting the edge of a row does to log p(out) at every checkpoint, as `evidence.causal.check` measures it.

    `rows` are `account.tables.ROWS` in their order; of skip-trigrams that several heads hold, the first stands for all.
    Every checkpoint has the same contexts. Chance is the mean, and the standard deviation, of random rows of all the
    heads together. Columns: `account.tables.FORMED`.
    """
    first = rows.sort_values("rank").drop_duplicates(IDS).head(FIRST).reset_index(drop=True)
    if first.empty:
        return FORMED.frame()
    like = first.loc[first.index.repeat(RANDOM)]
    drawn = {
        name: frequency_matched(like[name].to_numpy(), streams.count, n) for n, name in enumerate(IDS, params.seed)
    }
    both = pd.concat([first, like.assign(**drawn)], keys=[False, True], names=["random"]).reset_index("random")
    both = both.reset_index(drop=True)
    parts = []
    for step, model in checkpoints:
        effect, se = np.empty(len(both)), np.empty(len(both))
        for (layer, head), mine in both.groupby(["layer", "head"]):
            asked = Rows(*(mine[name].to_numpy() for name in IDS))
            seed = params.seed + model.n_heads * int(layer) + int(head)
            sampler = Sampler(streams.valid, min(params.context_tokens, model.n_ctx), model.d_vocab, seed)
            found = check(model, int(layer), int(head), asked, sampler.draw_shared(asked, params.contexts), None).cut
            effect[mine.index], se[mine.index] = found
        null = effect[both["random"]]
        here = first.assign(step=step, effect_nats=effect[: len(first)], effect_se=se[: len(first)])
        parts.append(here.assign(null_mean=null.mean(), null_sd=null.std(ddof=1)))
    return FORMED.frame(pd.concat(parts, ignore_index=True)) if parts else FORMED.frame()
