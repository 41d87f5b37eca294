"""All tables that the pipeline writes, by room."""

from pathlib import PurePath

from skiptrace.account import tables as account
from skiptrace.circuits import tables as circuits
from skiptrace.composition import tables as composition
from skiptrace.control import tables as control
from skiptrace.corpora import tables as corpora
from skiptrace.dictionary import tables as dictionary
from skiptrace.directions import tables as directions
from skiptrace.evidence import tables as evidence
from skiptrace.expansion import tables as expansion
from skiptrace.exploration import tables as exploration
from skiptrace.features import tables as features
from skiptrace.mining import tables as mining
from skiptrace.models import tables as models
from skiptrace.rules import tables as rules
from skiptrace.superposition import tables as superposition
from skiptrace.tables import Table, declared
from skiptrace.tokens import tables as tokens

ROOMS = (
    corpora, tokens, models, expansion, circuits, mining, evidence, composition, account, directions, exploration,
    control, superposition, dictionary, features, rules,
)  # fmt: skip
FOLDERS = list(dict.fromkeys(table.place.partition("/")[0] for table in declared(*ROOMS)))
TABLES = sorted(declared(*ROOMS), key=lambda table: FOLDERS.index(table.place.partition("/")[0]))


def of(path: PurePath) -> list[Table]:
    """The tables that a file may be, by its path below data/; several where a place has a table for each kind."""
    parts = path.with_suffix("").parts
    return [table for table in TABLES if _fits(table.place.split("/"), parts)]


def _fits(place: list[str], parts: tuple[str, ...]) -> bool:
    """Whether each part is that of the place, which ends where a name in angle brackets begins."""
    return len(place) == len(parts) and all(
        part.startswith(name.partition("<")[0]) and ("<" in name or part == name)
        for name, part in zip(place, parts, strict=True)
    )
