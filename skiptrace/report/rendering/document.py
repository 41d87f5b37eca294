"""A report as sections of text, tables and figures, before it is HTML or Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from skiptrace import tables


class Tokens(NamedTuple):
    """A cell that shows tokens, each in a frame of its own."""

    texts: tuple[str, ...]


class SkipTrigram(NamedTuple):
    """A cell that shows a skip-trigram: source … destination → out."""

    source: str
    destination: str
    out: str


class Example(NamedTuple):
    """A worked skip-trigram: the source, what stands between, and the tokens that follow."""

    source: str
    between: str
    rest: tuple[str, ...]


class Part(NamedTuple):
    """A stretch of text and what it is in it: source, destination or out; empty for what stands around them."""

    text: str
    role: str = ""


class Excerpt(NamedTuple):
    """Text of the corpus as it stands there, with the tokens that matter marked."""

    parts: tuple[Part, ...]


class Examples(NamedTuple):
    """A cell of worked skip-trigrams, one below the other, and of places where they stand."""

    rows: tuple[Example | Excerpt, ...]


class Context(NamedTuple):
    """A token in its text: what stands before it, the token to mark, and what follows."""

    before: tuple[str, ...]
    token: str
    after: tuple[str, ...]


class Contexts(NamedTuple):
    """A cell of contexts, one below the other."""

    rows: tuple[Context, ...]


class Link(NamedTuple):
    """A cell that leads to a section of the report, or to a page of the web."""

    text: str
    anchor: str

    @property
    def address(self) -> str:
        """Where it leads, as a link is written."""
        return self.anchor if self.anchor.startswith("https://") else f"#{self.anchor}"


Cell = str | Tokens | SkipTrigram | Examples | Contexts | Excerpt | Link


class Column(NamedTuple):
    """The head of a column, whether it holds numbers, which are set flush right, and what the page says of it."""

    name: str
    numeric: bool
    help: str = ""


def words(*names: str) -> tuple[Column, ...]:
    """Columns of text."""
    return tuple(Column(name, False) for name in names)


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(name, True) for name in names)


def explained(columns: Iterable[Column], table: tables.Table, shown: str) -> tuple[Column, ...]:
    """The columns with the meanings of those of a stored table that they show, named with blanks between.

    A name `-` stands for a column that shows none of them.
    """
    return tuple(
        column if name == "-" else column._replace(help=meaning(table[name]))
        for column, name in zip(columns, shown.split(), strict=True)
    )


def meaning(column: tables.Column) -> str:
    """What a stored column holds, and its unit."""
    return f"{column.meaning} ({column.unit})" if column.unit else column.meaning


@dataclass(frozen=True)
class Table:
    """Rows of cells under column heads."""

    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Cell, ...]]

    def __post_init__(self) -> None:
        """Keep the rows in a tuple, as they are read back from JSON."""
        object.__setattr__(self, "rows", tuple(self.rows))


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG, the name of its file without suffix, its title, and a caption that says what to see."""

    name: str
    title: str
    caption: str
    svg: str = field(repr=False)
    number: int = 0

    @property
    def heading(self) -> str:
        """Its title with its number, where it has one."""
        return f"Figure {self.number}. {self.title}" if self.number else self.title


class Finding(NamedTuple):
    """An answer in plain words: a number with its interval, what to compare it with, text that shows it, evidence."""

    claim: str
    value: str
    text: str
    baseline: str
    excerpt: Excerpt | None
    evidence: Link


@dataclass(frozen=True)
class Findings:
    """What a reader in a hurry should know."""

    rows: tuple[Finding, ...]


@dataclass(frozen=True)
class Tool:
    """A part of the page that answers to its reader; Markdown leaves it out.

    `help` says of the columns it makes what they hold.
    """

    kind: Literal["explorer", "skips", "cards", "maps", "patterns"]
    caption: str
    help: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A part that could not be made, and why."""

    title: str
    reason: str


Block = Table | Figure | Findings | Tool | Failed


@dataclass(frozen=True)
class Section:
    """A titled part of the report; `anchor` is its address in the page.

    `formula` is what the section is about, in the notation of `rendering.formulas`; `question` is the anchor of the
    question that it helps to answer, empty where it stands by itself.
    """

    anchor: str
    title: str
    paragraphs: Sequence[str]
    blocks: Sequence[Block]
    formula: str = ""
    question: str = ""

    def __post_init__(self) -> None:
        """Keep both in tuples, as they are read back from JSON."""
        object.__setattr__(self, "paragraphs", tuple(self.paragraphs))
        object.__setattr__(self, "blocks", tuple(self.blocks))

    @property
    def group(self) -> str:
        """What the section is about, as `two` in `two: heads`; empty for sections about everything."""
        return self.title.partition(": ")[0] if ": " in self.title else ""

    @property
    def for_page_alone(self) -> bool:
        """Whether nothing of it can be put into Markdown."""
        return bool(self.blocks) and all(isinstance(block, Tool) for block in self.blocks)

    @property
    def short(self) -> str:
        """The title within its group."""
        return self.title.removeprefix(f"{self.group}: ")


class Question(NamedTuple):
    """A question that sections answer, for one model at a time: `chosen` is the group that is shown first."""

    anchor: str
    title: str
    lead: str
    chosen: str
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """The whole page; `corpora` and `models` hold what its tools look things up in, packed, by name.

    `constants` is what the tools have to know of how it was packed, `questions` are those that its sections name.
    """

    title: str
    lead: str
    sections: list[Section]
    corpora: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()

    def figures(self) -> dict[str, str]:
        """All drawings as SVG, by the names of their files."""
        blocks = [block for section in self.sections for block in section.blocks]
        return {f"{block.name}.svg": block.svg for block in blocks if isinstance(block, Figure)}

    def failures(self) -> list[Failed]:
        """Every part that could not be made."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Failed)]
