"""Render the report.

Reads   params.yaml, requirements.lock
        data/tokens/, data/ngrams/, data/models/, data/tables/, data/evidence/, data/compose/, data/explore/
        data/superposition/, data/dictionary/, reports/metrics.json
Writes  reports/index.html    one self-contained page
        reports/report.md     the same for CI, with
        reports/figures/*.svg
"""

import sys
from dataclasses import replace

import numpy as np

from skiptrace.config.base import load, read_yaml
from skiptrace.config.composition import CompositionParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.report import ReportParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.verification import VerificationParams
from skiptrace.errors import InputError
from skiptrace.files import read_tokens, write_text
from skiptrace.layout import LOCK, MODELS, PARAMS, REPORTS, TOKENS
from skiptrace.report import payload, provenance, render
from skiptrace.report.document import Section
from skiptrace.report.failures import attempt, failures
from skiptrace.report.inputs import Settings
from skiptrace.report.sections import build
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
    figures = REPORTS / "figures"
    report = build(results, settings, figures)
    inputs = [TOKENS / c / f"{split}.npy" for c in results.corpora for split in ("train", "valid")]
    inputs += [MODELS / m / "model.safetensors" for m in results.models]
    lines = provenance.flat(read_yaml(PARAMS))
    sizes = {c: len(result.vocabulary) for c, result in results.corpora.items()}
    streams = {c: np.asarray(read_tokens(TOKENS / c / "valid.npy", size)) for c, size in sizes.items()}
    shown = {result.params.corpus: payload.shown(result) for result in results.models.values()}
    corpora: dict[str, str] = {}
    models: dict[str, str] = {}

    def explorer_of_corpus(name: str) -> list[Section]:
        corpora[name] = payload.packed(payload.corpus(results.corpora[name], shown[name], streams[name]))
        return []

    def explorer_of_model(name: str) -> list[Section]:
        result = results.models[name]
        models[name] = payload.packed(payload.model(result, streams[result.params.corpus], settings.report))
        return []

    for name in shown:
        report.sections.extend(attempt(name, explorer_of_corpus, name))
    for name, result in results.models.items():
        if result.params.corpus in corpora:
            report.sections.extend(attempt(name, explorer_of_model, name))
    report = replace(report, corpora=corpora, models=models)
    report.sections.extend(attempt("", provenance.section, [PARAMS, LOCK], inputs, lines))
    page = render.html(report)
    if len(page) > LARGEST:
        print(
            f"the page has {len(page) / 1e6:.1f} million characters, more than {LARGEST / 1e6:g}: lower "
            "exploration.tokens or report.explorer_rows to make it smaller",
            file=sys.stderr,
        )
    write_text(REPORTS / "index.html", page)
    write_text(REPORTS / "report.md", render.markdown(report, figures))
    failed = failures(report)
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
