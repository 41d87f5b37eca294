"""Places of real text where skip-trigrams stand, and the first rows that a reader can read, each with such a place."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Integer

from skiptrace.account.readable import Kind, joined, kind, whole
from skiptrace.account.study import Text
from skiptrace.account.tables import CONFIRMED, EXAMPLES
from skiptrace.config.account import AccountParams
from skiptrace.evidence.causal import frequency_matched
from skiptrace.evidence.support import Positions, Support
from skiptrace.evidence.used import Use, use
from skiptrace.models.transformer import Transformer

SHOWN = 24  # examples of a model
CAPPED = 4  # of so many first rows, at most one of a kind: white space for a destination, copying, a pair of brackets
TRIED = 200  # places of a row that are looked at
BEFORE, AFTER = 8, 6  # tokens shown on either side, at most
APART = 24  # tokens between source and destination, at most
RANDOM = 2  # edges for each of which there is a random one
EDGE = ["layer", "head", "source_id", "destination_id"]
ON_TEXT = ["used_places", "used_nats", "used_se", "use"]


class Place(NamedTuple):
    """Where a skip-trigram stands: its document, and the text around and between its tokens."""

    document: int
    before: str
    between: str
    after: str


class Tested(NamedTuple):
    """Rows with what their edges do on text, and how many edges are confirmed, beside random ones (`CONFIRMED`)."""

    rows: pd.DataFrame
    confirmed: pd.DataFrame


def tested(
    model: Transformer, rows: pd.DataFrame, text: Text, params: AccountParams, context: int, fdr: float
) -> Tested:
    """The supported rows that can be read and their edges, the first `params.edges`, on text as it is.

    Thousands of rows are tested at few places each; these few edges, at more, so that less stays unsaid. Which are used
    is decided on training text (`chosen_use`), of which there is more, false discoveries controlled among them. What is
    used there is measured on held-out text, which chose nothing: `use` says whether it is used there as well, false
    discoveries controlled among those measured, and `used_places`, `used_nats`, `used_se` by how much. Rows of one edge
    share its test, which no output token enters. Beside every other one a random edge goes through the same: of the
    same head and destination, from another source about as frequent.
    """
    found = rows[(rows["support"] == Support.SUPPORTED) & rows["readable"]].drop(columns="use")
    edges = found.drop_duplicates(EDGE).head(params.edges).reset_index(drop=True)
    count = (text.frequency.double().numpy() * len(text.train)).round().astype(np.int64)
    random = edges.iloc[::RANDOM].reset_index(drop=True)
    random["source_id"] = frequency_matched(random["source_id"].to_numpy(), count, params.seed)

    def on_text(arm: pd.DataFrame) -> pd.DataFrame:
        decided = use(model, arm, text.train, context, params.edge_places, fdr)["use"].rename("chosen_use")
        measured = use(model, arm[decided == Use.USED], text.valid, context, params.edge_places, fdr)[ON_TEXT]
        return decided.to_frame().join(measured).fillna({"used_places": 0, "use": decided})

    mine, others = on_text(edges), on_text(random)
    counted = [_confirmed("rows", mine), _confirmed("random sources", others)]
    return Tested(found.merge(edges[EDGE].join(mine), on=EDGE), CONFIRMED.frame(pd.DataFrame(counted)))


def _confirmed(kind: str, arm: pd.DataFrame) -> dict[str, Any]:
    """A row of `CONFIRMED`."""
    chosen = arm[(arm["chosen_use"] == Use.USED) & (arm["use"] != Use.RARE)]
    return {
        "edges": kind,
        "tested": len(arm),
        "used": int((arm["chosen_use"] == Use.USED).sum()),
        "measured": len(chosen),
        "confirmed": int((chosen["use"] == Use.USED).sum()),
        "raises": int((chosen["used_nats"] > 0).sum()),
        "harmful": int((chosen["use"] == Use.HARMFUL).sum()),
        "nats": float(chosen["used_nats"].mean()),
        "nats_se": float(chosen["used_nats"].sem()),
    }


def first(rows: pd.DataFrame, positions: Positions, token: pd.Series, shown: int = SHOWN) -> pd.DataFrame:
    """The first of the rows of `tested`, one for each source and each output, with a place each.

    `rows` are in their order; `positions` are those of held-out text. What is used on training text comes before what
    is not seen to be, and what calls for another word, or for a bracket, before copying and punctuation. Of the first
    4, 8, 12, … rows at most a quarter have white space for a destination, copy the source, or are brackets or quotes:
    those beyond wait for others. Columns: `account.tables.EXAMPLES`.
    """
    found: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for row in sorted(rows.to_dict("records"), key=lambda row: (row["chosen_use"] != Use.USED, not _calls(row))):
        names = {("source", _plain(row["source"])), ("out", _plain(row["out"]))}
        if names & seen or (place := example(row, positions, token)) is None:
            continue
        seen |= names
        waiting.append({**row, **place._asdict()})
        for each in list(waiting):
            if all(sum(map(test, found)) * CAPPED <= len(found) for test in (_blank, _copies, _pair) if test(each)):
                found.append(each)
                waiting.remove(each)
        if len(found) >= shown:
            break
    ranked = [row | {"rank": rank} for rank, row in enumerate(found[:shown], 1)]
    return EXAMPLES.frame(pd.DataFrame(ranked, columns=EXAMPLES.names))


def _blank(row: dict[str, Any]) -> bool:
    return kind(row["destination"]) is Kind.BLANK


def _copies(row: dict[str, Any]) -> bool:
    return _plain(row["source"]) == _plain(row["out"])


def _pair(row: dict[str, Any]) -> bool:
    return kind(row["source"]) is Kind.MARK


def _calls(row: dict[str, Any]) -> bool:
    """Whether a word calls for another word, or what opens for what closes it."""
    return not _copies(row) and (_pair(row) or kind(row["out"]) is Kind.WORD)


def _plain(text: str) -> str:
    return text.strip().lower()


def example(row: dict[str, Any], positions: Positions, token: pd.Series) -> Place | None:
    """The place where a row stands closest together, in whole words; None if there is none.

    At least one token stands between source and destination, and the source is the last of its kind before it.
    """
    source, destination, out = (int(row[f"{role}_id"]) for role in ("source", "destination", "out"))
    there, here = positions.skip_trigram(source, destination, out)
    apart = here - there - 1
    picked = np.flatnonzero((apart >= 1) & (apart <= APART))
    for at in picked[:TRIED]:
        place = _around(int(there[at]), int(here[at]), positions, token)
        end = f"{row['destination']}{row['out']}"
        if whole(place.before, row["source"], place.between) and whole(place.between, end, place.after):
            return place
    return None


def _around(source: int, destination: int, positions: Positions, token: pd.Series) -> Place:
    """The text around a source and a destination: at most so many tokens, of the document."""
    starts = positions.document(np.array([destination]))[0]
    number = int(np.searchsorted(positions.starts, destination, side="right")) - 1
    ends = positions.starts[number + 1] if number + 1 < len(positions.starts) else len(positions.stream)
    first = max(source - BEFORE, starts + 1)  # the token that begins a document is none of its text
    last = min(destination + 2 + AFTER, ends)
    stream = positions.stream
    while starts + 1 < first < source and _goes_on(stream, first, token):  # in whole words
        first += 1
    while destination + 2 < last < ends and _goes_on(stream, last, token):
        last -= 1
    return Place(
        number,
        _text(positions.stream[first:source], token),
        _text(positions.stream[source + 1 : destination], token),
        _text(positions.stream[destination + 2 : last], token),
    )


def _goes_on(stream: Integer[np.ndarray, " n"], place: int, token: pd.Series) -> bool:
    """Whether a word goes on from the token before a place."""
    return joined(*(token.iloc[int(stream[at])] for at in (place - 1, place)))


def _text(ids: Integer[np.ndarray, " n"], token: pd.Series) -> str:
    return "".join(token.iloc[np.asarray(ids, dtype=np.int64)])
