"""Render the report.

Reads   params.yaml, requirements.lock
        data/tokens/, data/ngrams/, data/models/, data/tables/, data/evidence/, data/compose/, data/explore/
        data/superposition/, data/dictionary/, reports/metrics.json
Writes  reports/index.html    one self-contained page
        reports/report.md     the same for CI, with
        reports/figures/*.svg
"""

import sys

import numpy as np

from skiptrace.config.base import load, read_yaml
from skiptrace.config.composition import CompositionParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.report import ReportParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.verification import VerificationParams
from skiptrace.errors import InputError
from skiptrace.files import atomic_folder, read_tokens, write_text
from skiptrace.layout import LOCK, MODELS, PARAMS, REPORTS, TOKENS
from skiptrace.report.contents import build
from skiptrace.report.inputs import Provenance, Settings, Study
from skiptrace.report.page import payload
from skiptrace.report.rendering import render
from skiptrace.report.sections.run import provenance
from stages.common import run, wrote
from stages.results import read_results

LARGEST = 10_000_000  # what a page may have and still be sent about


def main() -> None:
    """Write both forms of the report, whole or with boxes for what failed.

    Raises:
        InputError: a part failed; the rest has been written.
    """
    results = read_results()
    settings = Settings(
        load(ScoringParams, "scoring", PARAMS),
        load(MiningParams, "mining", PARAMS),
        load(VerificationParams, "verification", PARAMS),
        load(CompositionParams, "composition", PARAMS),
        load(ReportParams, "report", PARAMS),
    )
    inputs = [TOKENS / c / f"{split}.npy" for c in results.corpora for split in ("train", "valid")]
    inputs += [MODELS / m / "model.safetensors" for m in results.models]
    study = Study(results, settings, Provenance([PARAMS, LOCK], inputs, provenance.flat(read_yaml(PARAMS))))
    sizes = {c: len(result.vocabulary) for c, result in results.corpora.items()}
    streams = {c: np.asarray(read_tokens(TOKENS / c / "valid.npy", size)) for c, size in sizes.items()}
    report = payload.carried(build(study), study, streams)
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
