"""What a comparison says, section by section."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from skiptrace.comparison.compare import Became, Comparison, ModelChange
from skiptrace.comparison.overlap import PERSISTENCE, Place
from skiptrace.comparison.scalars import Measure
from skiptrace.report.rendering.document import Cell, Column, Section, SkipTrigram, Table, numbers, words
from skiptrace.report.rendering.tokens import LONGEST as SHOWN

T = TypeVar("T")
LONGEST = 60  # characters of a parameter that are shown
EXAMPLES = 10  # skip-trigrams gained, lost and moved, of each model
SAME = 1 - 1e-9  # similarity of a head with itself, rounding aside
ORDER = [True, None, False]  # beyond the noise first
NONE_READ = "No model with heads can be read in both versions."
VERDICTS = {True: "beyond", False: "within", None: "unknown"}


def build(found: Comparison, rows: int) -> list[Section]:
    """All sections; no table has more than `rows` rows."""
    return [
        _parameters(found, rows),
        _metrics(found, rows),
        _skip_trigrams(found, rows),
        *(_places(found, model, min(rows, EXAMPLES)) for model in found.models if _moved(model)),
        *(_heads(found, model, rows) for model in found.models if model.heads and not _same_heads(model)),
    ]


def summary(found: Comparison) -> list[str]:
    """The comparison in a few sentences."""
    differing = [m for m in found.measures if m.a != m.b]
    beyond = [m for m in differing if m.beyond]
    unknown = [m for m in differing if m.beyond is None]
    lines = [
        f"{_count(len(found.parameters), 'parameter')} changed; {len(differing)} of "
        f"{_count(len(found.measures), 'metric')} differ, {len(beyond)} of them beyond the noise of a seed, "
        f"{len(unknown)} of unknown noise."
    ]
    for model in found.models:
        if model.changes is None:
            continue
        if not _moved(model) and _same_heads(model):
            lines.append(f"`{model.name}`: the same heads, the same {model.changes.rows_a} skip-trigrams.")
            continue
        floor = ""
        if model.floor is not None:
            than = "less" if model.changes.overlap > model.floor.overlap else "more"
            floor = f" ({than} change than another seed makes: {model.floor.overlap:.2f})"
        lines.append(
            f"`{model.name}`: skip-trigrams overlap {model.changes.overlap:.2f}{floor}; {len(model.changes.gained)} "
            f"gained, {len(model.changes.lost)} lost. {_heads_in_words(model)}"
        )
    for names, where in ((found.only_a, found.a), (found.only_b, found.b)):
        if names:
            lines.append(f"Only {where} has {_count(len(names), 'model')} named {', '.join(f'`{n}`' for n in names)}.")
    return lines + found.notes


def shown(value: Any) -> str:
    """A parameter as text, cut to a length that a table can take."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        text = ", ".join(f"{key}: {part}" for key, part in value.items())
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def number(value: float | None, signed: bool = False) -> str:
    """Five digits, or a dash for what is not there."""
    return "–" if value is None else f"{value:{'+' if signed else ''}.5g}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _moved(model: ModelChange) -> bool:
    found = model.changes
    return found is not None and bool(found.gained or found.lost or found.moved)


def _same_heads(model: ModelChange) -> bool:
    """Whether every head is still where and what it was."""
    return all(h.match.a == h.match.b and (h.match.similarity or 0) > SAME for h in model.heads)


def _heads_in_words(model: ModelChange) -> str:
    matched = [h for h in model.heads if h.match.a and h.match.b]
    moved = sum(h.match.a != h.match.b for h in matched)
    clear = sum((h.match.similarity or 0) > (h.match.runner_up or 0) for h in matched)
    return f"{_count(len(matched), 'head')} matched, {clear} clearly, {moved} in another place."


def _table(
    caption: str,
    columns: tuple[Column, ...],
    items: Sequence[T],
    most: int,
    row: Callable[[T], tuple[Cell, ...]],
) -> Table:
    """A table of the first `most` items, each made into a row; the caption says how many there are."""
    if len(items) > most:
        caption = f"{caption} The first {most} of {len(items)} rows."
    return Table(caption, columns, [row(item) for item in items[:most]])


def _parameters(found: Comparison, rows: int) -> Section:
    if not found.parameters:
        return Section("parameters", "Parameters", ["All parameters are the same."], [])
    columns = words("Key", found.a, found.b)
    table = _table(
        "Keys of params.yaml that differ.", columns, found.parameters, rows, lambda p: (p.key, shown(p.a), shown(p.b))
    )
    return Section("parameters", "Parameters", [], [table])


def _metrics(found: Comparison, rows: int) -> Section:
    differing = sorted((m for m in found.measures if m.a != m.b), key=lambda m: ORDER.index(m.beyond))
    same = len(found.measures) - len(differing)
    if not differing:
        return Section("metrics", "Metrics", [f"All {same} metrics are the same."], [])
    columns = (*words("Metric"), *numbers(found.a, found.b, "Difference", "Noise"), *words("Against noise"))
    caption = (
        "Metrics that differ: those beyond the noise, of unknown noise, within it. Noise: a difference that two seeds "
        "of the same parameters exceed at most once in twenty times, from the models of either version that differ in "
        "their seed alone, and of the loss, of heads and of what attention adds from the twins trained beside a model; "
        "without these it is unknown."
    )
    said = [f"{_count(same, 'metric')} {'is' if same == 1 else 'are'} the same."] if same else []
    return Section("metrics", "Metrics", said, [_table(caption, columns, differing, rows, _measure)])


def _measure(m: Measure) -> tuple[Cell, ...]:
    noise = "–" if m.noise is None else f"± {m.noise.difference:.3g} ({m.noise.seeds} seeds)"
    verdict = "not in both" if m.difference is None else VERDICTS[m.beyond]
    return (m.key, number(m.a), number(m.b), number(m.difference, signed=True), noise, verdict)


def _skip_trigrams(found: Comparison, rows: int) -> Section:
    columns = (
        *words("Model"),
        *numbers(found.a, found.b, "In both", "Overlap", "Of two seeds", "Shuffled"),
        *words("Tokens matched by"),
    )
    caption = (
        "Skip-trigrams of each model as `source … destination → out`, whichever head they are of. Overlap: rank-biased "
        f"overlap of the two rankings (p = {PERSISTENCE}: half of the weight is on the first 14), 0 to 1; beside it "
        "what two seeds of the same parameters reach, and what is left when one ranking is shuffled."
    )
    attending = [model for model in found.models if model.changes is not None]
    if not attending:
        return Section(
            "skip-trigrams", "Skip-trigrams", [NONE_READ if found.notes else "No model of both versions has heads."], []
        )
    return Section("skip-trigrams", "Skip-trigrams", [], [_table(caption, columns, attending, rows, _overlap)])


def _overlap(model: ModelChange) -> tuple[Cell, ...]:
    c = model.changes
    assert c is not None
    floor = "–" if model.floor is None else f"{model.floor.overlap:.3f}"
    how = "id" if model.same_tokens else f"text, {model.shared_tokens} shared"
    sizes = (str(c.rows_a), str(c.rows_b), str(c.shared))
    return (model.name, *sizes, f"{c.overlap:.3f}", floor, f"{c.shuffled:.3f}", how)


def _places(found: Comparison, model: ModelChange, rows: int) -> Section:
    assert model.changes is not None
    blocks = []
    for caption, places in (
        (f"Gained: only {found.b} has them, by their rank there.", model.changes.gained),
        (f"Lost: only {found.a} has them, by their rank there.", model.changes.lost),
        ("Moved furthest, on a logarithmic scale of ranks.", model.changes.moved),
    ):
        if places:
            columns = (*words("Skip-trigram"), *numbers(f"Rank in {found.a}", f"Rank in {found.b}"), *words("Survives"))
            blocks.append(_table(caption, columns, places, rows, _place))
    return Section(f"skip-trigrams-{model.name}", f"{model.name}: skip-trigrams", [], blocks)


def _place(place: Place) -> tuple[Cell, ...]:
    ranks = ("–" if rank is None else str(rank) for rank in (place.a, place.b))
    marks = {True: "yes", False: "no", None: "–"}
    # Longer than what is shown, so that it is seen to go on; a token may have 10 kB.
    trigram = SkipTrigram(*(text[: SHOWN + 1] for text in place.triple))
    return (trigram, *ranks, f"{marks[place.survives_a]} → {marks[place.survives_b]}")


def _heads(found: Comparison, model: ModelChange, rows: int) -> Section:
    floor = "" if model.floor is None else f" Two seeds of the same parameters reach {model.floor.similarity:.2f}."
    caption = (
        f"Heads of {found.a} (left) and their counterparts in {found.b}, matched by the cosine of their circuits over "
        "the pairs of tokens of the corpus, mean of OV and QK; next best: the highest similarity of either with "
        f"another head.{floor}"
    )
    names = list(dict.fromkeys(name for head in model.heads for name in (*head.scores_a, *head.scores_b)))
    columns = (
        *words("Head", "Became"),
        *numbers("Similarity", "OV", "QK", "Next best"),
        *words("Kind"),
        *numbers(*(name.capitalize() for name in names)),
    )
    table = _table(caption, columns, model.heads, rows, lambda head: _became(head, names))
    return Section(f"heads-{model.name}", f"{model.name}: heads", [], [table])


def _became(head: Became, names: list[str]) -> tuple[Cell, ...]:
    m = head.match
    measured = ("–" if value is None else f"{value:.2f}" for value in (m.similarity, m.ov, m.qk, m.runner_up))
    kinds = head.kind_a if head.kind_a == head.kind_b else f"{head.kind_a or '–'} → {head.kind_b or '–'}"
    scores = (_arrow(head.scores_a.get(name), head.scores_b.get(name)) for name in names)
    return (m.a or "new", m.b or "gone", *measured, kinds, *scores)


def _arrow(a: float | None, b: float | None) -> str:
    one, two = ("–" if value is None else f"{value:.2f}" for value in (a, b))
    return one if one == two else f"{one} → {two}"
