"""The questions of the `skiptrace` command: their arguments and options.

What answers a question is imported when it is asked, so that the help and the completion of a shell come at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from skiptrace.command.output import AsCsv, AsJson, form

Model = Annotated[str, typer.Option(help="a key of models in params.yaml")]
Heads = Annotated[list[str] | None, typer.Option("--head", help="as L0H1; repeat it for more; all by default")]


class Role(StrEnum):
    """What a token may be in a skip-trigram."""

    source = "source"
    destination = "destination"
    out = "out"


class Both(StrEnum):
    """The two circuits of a head."""

    ov = "ov"
    qk = "qk"


class Format(StrEnum):
    """Libraries that a model can be written for."""

    transformer_lens = "transformer-lens"
    transformer_lens_4 = "transformer-lens-4"
    transformers = "transformers"


def top(
    model: Model,
    head: Heads = None,
    supported: Annotated[bool, typer.Option("--supported", help="only rows that the corpus supports")] = False,
    words: Annotated[
        bool, typer.Option("--words", help="only rows whose three tokens are words, of two letters or more")
    ] = False,
    saves: Annotated[
        bool, typer.Option("--saves", help="by the loss that rows save on held-out text (one-layer models)")
    ] = False,
    by_evidence: Annotated[
        bool, typer.Option("--by-evidence", help="those that survive every test first, then by their effect")
    ] = False,
    text: Annotated[
        bool, typer.Option("--text", help="below each row a sentence of the held-out text in which it stands")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="rows to print")] = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the skip-trigrams of a model with their evidence, those supported by text and worth most first."""
    printed = form(as_json, as_csv)
    from skiptrace.command.top import answer, by_saving

    if saves and supported:
        raise typer.BadParameter("rows by what they save have no column of support; leave one of the two out")
    if saves:
        by_saving(model, head or [], words, text, most, printed)
    else:
        answer(model, head or [], supported, words, by_evidence, text, most, printed)


def explain(
    text: Annotated[str, typer.Argument(help="the text before the prediction")],
    model: Model,
    out: Annotated[
        str | None, typer.Option("--next", help="the token to explain, text or id:123; the likeliest by default")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="another token, text or id:123: what makes the next one likelier than this")
    ] = None,
    why: Annotated[str | None, typer.Option(help="a head, as L1H0: why it attends where it does, term by term")] = None,
    at: Annotated[int, typer.Option(min=0, help="--why: the destination, in tokens back from the last")] = 0,
    back: Annotated[
        int | None,
        typer.Option(
            min=0, help="--why: the source, in tokens back from the destination; by default where it attends most"
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="paths or terms to print")] = 15,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Rank every path through a model by what it adds to the logit of the next token, or say why a head attends."""
    printed = form(as_json, as_csv)
    from skiptrace.command import explain as explaining

    if why is None:
        if at or back is not None:
            raise typer.BadParameter("--at and --back go with --why")
        explaining.answer(text, model, out, against, most, printed)
    elif out is not None or against is not None:
        raise typer.BadParameter("--why explains attention; leave out --next and --against")
    else:
        explaining.why(text, model, why, at, back, most, printed)


def lookup(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help='its text, as " return", or its id, as id:123')],
    model: Model,
    head: Annotated[
        list[str] | None, typer.Option(help="as L0H1, or direct; repeat it for more; all by default")
    ] = None,
    role: Annotated[
        list[Role] | None, typer.Option("--as", help="its role; repeat it for more; all by default")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="tokens across, per head")] = 8,
    min_count: Annotated[
        int | None,
        typer.Option(min=0, help="leave out tokens that the corpus has less often; mining.min_count by default"),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what each head ties a token to: sources it attends to, tokens it raises, and the other way round."""
    printed = form(as_json, as_csv)
    from skiptrace.command.lookup import answer

    answer(token, model, head or [], [str(each) for each in role or Role], most, min_count, printed)


def directions(
    model: Model,
    head: Heads = None,
    circuit: Annotated[Both | None, typer.Option(help="ov or qk; both by default")] = None,
    most: Annotated[int, typer.Option(min=1, help="groups of directions of each circuit to print")] = 3,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what heads read and write: the singular directions of their circuits, with their tokens and their effect."""
    printed = form(as_json, as_csv)
    from skiptrace.command.directions import answer

    answer(model, head or [], [str(each) for each in ([circuit] if circuit else Both)], most, printed)


def compare(
    a: Annotated[str, typer.Argument(metavar="REV_A", help="a commit, branch, tag, experiment, or workspace")],
    b: Annotated[str, typer.Argument(metavar="REV_B", help="the other version")] = "workspace",
    page: Annotated[Path | None, typer.Option("--html", help="write the whole comparison to this page")] = None,
    notes: Annotated[Path | None, typer.Option("--markdown", help="write it as Markdown, at most 60 kB")] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print parameters and metrics as CSV")] = False,
) -> None:
    """Compare two versions: parameters, metrics, skip-trigrams, and what became of each head."""
    printed = form(as_json, as_csv)
    from skiptrace.command.compare import answer

    answer(a, b, page, notes, printed)


def doctor(
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    verify: Annotated[bool, typer.Option(help="hash again what dvc.lock names, here and in DVC's cache")] = False,
    repair: Annotated[
        bool, typer.Option(help="restore dvc.lock after an interruption; with --verify, remove damaged files")
    ] = False,
) -> None:
    """Check the environment, and list what `dvc repro` would run and how long that took last time."""
    printed = form(as_json, as_csv)
    from skiptrace.command.doctor import answer

    answer(verify, repair, printed)


def export(
    model: Model,
    to: Annotated[Format, typer.Option(help="the library that is to read it")],
    out: Annotated[Path, typer.Option(help="the folder to write, which must not exist yet")],
) -> None:
    """Write a model for another library; importing it again gives the same logits."""
    from skiptrace.command.export import answer

    answer(model, to, out)


QUESTIONS = (top, explain, lookup, directions, compare, doctor, export)
