"""Does the corpus say what a skip-trigram says? Exact counts of A … B C against B C alone."""

from enum import StrEnum

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer
from scipy.special import stdtr
from scipy.stats import false_discovery_control, norm

from skiptrace.models.windows import BOS_ID
from skiptrace.progress import progress

CONFIDENCE = 0.95


class Positions:
    """Where each token stands in a stream: one sorted list per token."""

    def __init__(self, stream: Integer[np.ndarray, " n"], d_vocab: int, window: int) -> None:
        self.stream, self.window = np.asarray(stream), window
        self._order = np.argsort(self.stream, kind="stable")
        self._first = np.concatenate([[0], np.bincount(self.stream, minlength=d_vocab).cumsum()])
        # Where documents start; what stands before the first BOS belongs to one that starts at 0.
        self.starts = np.union1d([0], np.flatnonzero(self.stream == BOS_ID))
        self._asked: tuple[int, Integer[np.ndarray, " count"], Integer[np.ndarray, " count"]] | None = None

    def of(self, token: int) -> Integer[np.ndarray, " count"]:
        """The positions of one token that have a next token."""
        return self._places(token)[0]

    def _places(self, token: int) -> tuple[Integer[np.ndarray, " count"], Integer[np.ndarray, " count"]]:
        """Those positions, and where their documents start; of the token asked for last they are kept."""
        if self._asked is None or self._asked[0] != token:
            found = self._order[self._first[token] : self._first[token + 1]]
            here = found[found < len(self.stream) - 1]
            self._asked = token, here, self.document(here)
        return self._asked[1:]

    def document(self, places: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
        """Where the document of each place starts."""
        return self.starts[np.searchsorted(self.starts, places, side="right") - 1]

    def nearest(self, source: int, destination: int) -> Integer[np.ndarray, " count"]:
        """For each place of the destination, the last of the source before it in its document and window, or −1."""
        here, starts = self._places(destination)
        there = self._order[self._first[source] : self._first[source + 1]]
        if len(there) == 0:
            return np.full(len(here), -1)
        last = np.searchsorted(there, here) - 1
        before = there[np.maximum(last, 0)]
        held = (last >= 0) & (here - before <= self.window) & (before >= starts)
        return np.where(held, before, -1)

    def preceded(self, source: int, destination: int) -> Bool[np.ndarray, " count"]:
        """For each place of the destination, whether the source stands before it in its document and window."""
        return self.nearest(source, destination) >= 0

    def skip_trigram(
        self, source: int, destination: int, out: int
    ) -> tuple[Integer[np.ndarray, " count"], Integer[np.ndarray, " count"]]:
        """Where source … destination → out stands: places of its source and its destination, the closest first."""
        here, there = self.of(destination), self.nearest(source, destination)
        stands = np.flatnonzero((there >= 0) & (self.stream[here + 1] == out))
        closest = stands[np.argsort((here - there)[stands], kind="stable")]
        return there[closest], here[closest]


class Support(StrEnum):
    """What the corpus says of a row: more often than expected, less often, or neither with confidence."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    RARE = "too rare to say"


def support(rows: pd.DataFrame, positions: Positions, fdr: float) -> pd.DataFrame:
    """Corpus evidence for rows with `source_id`, `destination_id`, `out_id`, in their order.

    `precedes` counts A … B, `corpus_count` A … B C, `corpus_expected` what B C alone predicts of
    it, `corpus_lift` their ratio, `lift_low` and `lift_high` its 95 % interval (Wilson's, for the
    share of C after A … B, places counted as if independent). `support`: a row is supported, or contradicted, where
    its count differs from the expected one with errors clustered by document (t-test, one document more than its
    degrees of freedom; false-discovery rate `fdr` over the rows).
    """
    ids = rows[["source_id", "destination_id", "out_id"]].reset_index(drop=True)
    precedes, together, alone = np.zeros(len(ids)), np.zeros(len(ids)), np.zeros(len(ids))
    more, less = np.ones(len(ids)), np.ones(len(ids))
    groups = ids.groupby(["destination_id", "source_id"]).indices
    for (destination, source), members in progress(groups.items(), "counting in the corpus"):
        here = positions.of(destination)
        follows = positions.stream[here + 1]
        seen = positions.preceded(source, destination)
        document = numbered(positions.document(here[seen]))
        for member in members:
            out = follows == ids["out_id"][member]
            precedes[member], together[member] = seen.sum(), (out & seen).sum()
            alone[member] = out.mean() if len(out) else 0.0
            more[member], less[member] = _clustered(out[seen], alone[member], document)
    z = norm.ppf((1 + CONFIDENCE) / 2)
    n = np.maximum(precedes, 1)
    share = together / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        lifts = [
            np.where((precedes > 0) & (alone > 0), s / alone, np.nan) for s in (share, middle - half, middle + half)
        ]
    return pd.DataFrame(
        {
            "precedes": precedes.astype(np.int64),
            "corpus_count": together.astype(np.int64),
            "corpus_expected": precedes * alone,
            "corpus_lift": lifts[0],
            "lift_low": lifts[1],
            "lift_high": lifts[2],
            "support": _classes(more, less, fdr),
        }
    )


def numbered(ascending: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """The number of each value among the distinct ones, from 0; equal values stand together."""
    return np.cumsum(np.diff(ascending, prepend=ascending[:1]) != 0)


def _clustered(hit: Bool[np.ndarray, " n"], alone: float, document: Integer[np.ndarray, " n"]) -> tuple[float, float]:
    """One-sided p-values that hits are no more frequent, and no less frequent, than `alone` predicts.

    Errors go with the document. Their variance is at least the binomial one: of a row that was never seen every
    document has the same small residual, which is no sign of how much counts vary.
    """
    sums = np.bincount(document, hit - alone)
    n = len(sums)
    if n < 2:
        return 1.0, 1.0
    variance = max(float((sums**2).sum()) * n / (n - 1), len(hit) * alone * (1 - alone))
    if variance == 0:
        return 1.0, 1.0
    statistic = float(sums.sum()) / np.sqrt(variance)
    return float(stdtr(n - 1, -statistic)), float(stdtr(n - 1, statistic))


def _classes(more: Float[np.ndarray, " n"], less: Float[np.ndarray, " n"], fdr: float) -> list[str]:
    if not len(more):
        return []
    supported, contradicted = (false_discovery_control(p) <= fdr for p in (more, less))
    return np.select([supported, contradicted], [Support.SUPPORTED, Support.CONTRADICTED], Support.RARE).tolist()
