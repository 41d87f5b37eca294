"""Render the report from its document; nothing is computed or drawn here.

Reads   data/document.json
        skiptrace/report/templates/
Writes  reports/index.html    one self-contained page
        reports/report.md     the same for CI, with
        reports/figures/*.svg
"""

import sys

from skiptrace.errors import InputError
from skiptrace.files import atomic_folder, read_json, write_text
from skiptrace.layout import DOCUMENT, REPORTS
from skiptrace.report.rendering import render
from skiptrace.report.rendering.stored import from_json
from stages.common import run, wrote

LARGEST = 10_000_000  # what a page may have and still be sent about


def main() -> None:
    """Write both forms of the report, whole or with boxes for what failed.

    Raises:
        InputError: the document is damaged, or a part of it could not be made; in that case the rest has been written.
    """
    try:
        report = from_json(read_json(DOCUMENT))
    except ValueError as error:
        raise InputError(f"{DOCUMENT}: {error}; reproduce its stage with dvc repro --force document") from None
    page = render.html(report)
    if len(page) > LARGEST:
        print(
            f"the page has {len(page) / 1e6:.1f} million characters, more than {LARGEST / 1e6:g}: lower "
            "exploration.tokens or report.explorer_rows to make it smaller",
            file=sys.stderr,
        )
    write_text(REPORTS / "index.html", page)
    write_text(REPORTS / "report.md", render.markdown(report, "figures"))
    with atomic_folder(REPORTS / "figures") as folder:
        for name, svg in report.figures().items():
            write_text(folder / name, svg)
    failed = report.failures()
    for part in failed:
        print(f"error: report: {part.title}: {part.reason}", file=sys.stderr)
    if failed:
        raise InputError(
            f"report: {len(failed)} of its parts could not be made and are boxes in it; the rest is in "
            f"{REPORTS / 'index.html'} and {REPORTS / 'report.md'}"
        )
    wrote(REPORTS / "index.html", f"{len(report.sections)} sections, {len(page) / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
