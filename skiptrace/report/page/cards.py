"""What the page tells of each head in one place: numbers of existing tables, each beside what chance gives."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skiptrace.config.report import ReportParams
from skiptrace.directions.tables import ROLES
from skiptrace.report.inputs import ModelResult

DIGITS = 4  # after the point
GROUPS = 2  # directions of each circuit


@dataclass(frozen=True)
class Measure:
    """A number with its error, and what it stands beside; None where one was not measured."""

    value: float | None
    error: float | None = None
    beside: float | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Direction:
    """A group of directions: its tokens by pole, as lists of ids of what is read and of what is written."""

    circuit: str
    size: int
    share: Measure
    copying: Measure
    loss: Measure
    poles: list[int]
    reads: list[list[int]]
    writes: list[list[int]]


@dataclass(frozen=True)
class Pair:
    """Two heads that compose beyond all nulls, the earlier first."""

    kind: str
    earlier: str
    later: str
    score: Measure


@dataclass(frozen=True)
class Twin:
    """The head of a twin that does the same, and the cosines of their circuits."""

    number: int
    head: str
    ov: float
    qk: float
    runner_up: float | None


@dataclass(frozen=True)
class Card:
    """A head. `scores` are keyed by the columns of `circuits.tables.HEADS`, `ranks` by circuit.

    `attention` and `even` are mean attention on text by distance from 0, and where it is spread evenly; `steps` and
    `formed` are scores along the training run; `induces` says that it is in the corner of induction heads.
    """

    scores: dict[str, Measure]
    ranks: dict[str, Measure]
    induces: bool
    attention: list[float | None]
    even: list[float | None]
    removed: Measure
    directions: list[Direction]
    pairs: list[Pair]
    twins: list[Twin]
    steps: list[int]
    formed: dict[str, list[float | None]]


def of_model(result: ModelResult, params: ReportParams) -> list[Card]:
    """The card of every head, in order."""
    return [_card(result, head, params.offsets) for _, head in result.heads.iterrows()]


def _card(result: ModelResult, head: pd.Series, offsets: int) -> Card:
    name, composed, directed = str(head["name"]), result.composed, result.directed
    curve = result.offsets[(result.offsets["layer"] == head["layer"]) & (result.offsets["head"] == head["head"])]
    curve = curve[curve["offset"] < offsets]
    terms = composed.terms[(composed.terms["scope"] == "head") & (composed.terms["name"] == name)]
    spectra = directed.spectra[directed.spectra["name"] == name]
    induction = composed.induction[composed.induction["name"] == name]
    along = composed.formation[composed.formation["name"] == name].sort_values("step")
    twins = directed.twins[directed.twins["name"] == name]
    pairs = composed.composition[composed.composition["significant"]]
    pairs = pairs[(pairs["from"] == name) | (pairs["to"] == name)]
    return Card(
        scores={
            "copying": _measure(head, "copying", beside="copying_null_mean", spread="copying_null_sd"),
            "position_share": _measure(
                head, "position_share", beside="position_share_null_mean", spread="position_share_null_sd"
            ),
            "previous_token": _measure(head, "previous_token", beside="previous_token_uniform"),
            "prefix_matching": _measure(head, "prefix_matching", "prefix_matching_se", "prefix_matching_uniform"),
            "bos_attention": _measure(head, "bos_attention"),
        },
        ranks={
            str(row["circuit"]): _measure(
                row, "effective_rank", beside="effective_rank_null_mean", spread="effective_rank_null_sd"
            )
            for _, row in spectra.iterrows()
        },
        induces=bool(induction["in_corner"].any()),
        attention=_rounded(curve["text"]),
        even=_rounded(curve["uniform"]),
        removed=_measure(terms.iloc[0], "removed", "removed_se") if len(terms) else Measure(None),
        directions=_directions(result, name),
        pairs=[
            Pair(
                str(row["kind"]), str(row["from"]), str(row["to"]), _measure(row, "score", None, "null_mean", "null_sd")
            )
            for _, row in pairs.iterrows()
        ],
        twins=[
            Twin(int(row.twin), str(row.match), round(row.ov, DIGITS), round(row.qk, DIGITS), _number(row.runner_up))
            for row in twins.itertuples()
        ],
        steps=[int(step) for step in along["step"].unique()],
        formed={str(score): _rounded(rows["value"]) for score, rows in along.groupby("score", sort=False)},
    )


def _directions(result: ModelResult, name: str) -> list[Direction]:
    groups, ends = result.directed.groups, result.directed.ends
    found = []
    for _, row in groups[(groups["name"] == name) & (groups["group"] <= GROUPS)].iterrows():
        circuit = str(row["circuit"])
        mine = ends[(ends["name"] == name) & (ends["circuit"] == circuit) & (ends["group"] == row["group"])]
        poles = [int(pole) for pole in mine["pole"].unique()]
        reads, writes = (
            [mine.loc[(mine["role"] == role) & (mine["pole"] == pole), "token_id"].tolist() for pole in poles]
            for role in ROLES[circuit]
        )
        found.append(
            Direction(
                circuit,
                int(row["size"]),
                _measure(row, "share", None, "share_null_mean", "share_null_sd"),
                _measure(row, "copying", None, "copying_null_mean", "copying_null_sd"),
                _measure(row, "loss", "loss_se", "random_loss", "random_loss_sd"),
                poles,
                reads,
                writes,
            )
        )
    return found


def _measure(
    row: pd.Series, value: str, error: str | None = None, beside: str | None = None, spread: str | None = None
) -> Measure:
    return Measure(*(None if name is None else _number(row[name]) for name in (value, error, beside, spread)))


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), DIGITS)


def _rounded(values: "pd.Series | list[float]") -> list[float | None]:
    return [round(float(value), DIGITS) if math.isfinite(value) else None for value in values]
