"""How many checked rows pass each test, one test after the other, beside rows of stand-ins that went the same way."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.tables import FUNNEL
from skiptrace.evidence.verification import evidence_score

IDS = ["source_id", "destination_id", "out_id"]
LEVEL = 0.95  # of the matched null that a row has to exceed
STEPS = ("checked", "consistent", "beyond the matched null", "p(out)", "supported", "recurring")


def judged(
    checked: pd.DataFrame, rotated: pd.DataFrame, twins: Iterable[pd.DataFrame], params: VerificationParams
) -> pd.DataFrame:
    """Checked rows with what all tests together say.

    Added columns: `beyond_null`, whether the edge adds more probability to the output token (`evidence_score`) than the
    edges of 95 % of the rows mined from rotated heads do (`rotated`, checked in the same way); effects in nats are no
    measure for it, since random heads raise improbable tokens by as much. `recurs`, the share of `twins` (tables mined
    from models of other seeds) that hold the row in any head, NaN without twins. `survives`, whether the row passes
    every test there is; such rows come first in `rank_evidence`.
    """
    null = evidence_score(rotated).to_numpy()
    beyond = evidence_score(checked) > (np.quantile(null, LEVEL) if len(null) else 0.0)
    keys = pd.MultiIndex.from_frame(checked[IDS].astype("int64"))
    found = [keys.isin(pd.MultiIndex.from_frame(twin[IDS].astype("int64"))) for twin in twins]
    recurs = np.mean(found, axis=0) if found else np.full(len(checked), np.nan)
    judged = checked.assign(beyond_null=beyond, recurs=recurs)
    survives = _passed(judged, params)[-1].to_numpy(dtype=bool)
    ordered = np.lexsort([checked["rank_evidence"], ~survives])
    return judged.assign(survives=survives, rank_evidence=(1 + np.argsort(ordered, kind="stable")).astype(np.int32))


def funnel(arms: dict[str, pd.DataFrame], params: VerificationParams) -> pd.DataFrame:
    """Rows left after each test, and their share of those checked, for each of the judged tables in `arms`."""
    rows = [
        (name, step, int(passed.sum()), float(passed.mean()) if len(passed) else 0.0)
        for name, table in arms.items()
        for step, passed in zip(STEPS, _passed(table, params), strict=True)
    ]
    return FUNNEL.frame(rows)


def _passed(table: pd.DataFrame, params: VerificationParams) -> list[pd.Series]:
    """Which rows have passed all tests up to each step; a test for which nothing is known lets all pass."""
    tests = [
        pd.Series(True, table.index),
        table["consistent"].astype(bool),
        table["beyond_null"].astype(bool),
        table["p_out"] >= params.min_p_out,
        table["support"] == "supported",
        table["recurs"].isna() | (table["recurs"] >= 0.5),
    ]
    passed = [tests[0]]
    for test in tests[1:]:
        passed.append(passed[-1] & test)
    return passed
