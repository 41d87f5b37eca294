"""Build what the report holds: its sections with their tables, its figures, and what its page looks up.

Reads   params.yaml, requirements.lock
        data/corpora/, data/tokens/, data/ngrams/, data/models/, data/tables/, data/evidence/, data/compose/,
        data/account/, data/control/, data/directions/, data/explore/, data/features/, data/rules/,
        data/superposition/, data/dictionary/
        reports/metrics.json, which says that `summarise` has run
Writes  data/document.json

A part that cannot be made is a box in it; `report` then says so and fails.
"""

import numpy as np

from skiptrace import budget
from skiptrace.config.account import AccountParams
from skiptrace.config.base import load, read_yaml
from skiptrace.config.budget import BudgetParams
from skiptrace.config.composition import CompositionParams
from skiptrace.config.directions import DirectionsParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.exploration import ExplorationParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import ModelParams, load_model
from skiptrace.config.pipeline import load_pipeline
from skiptrace.config.report import ReportParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.support import Positions
from skiptrace.files import read_tokens, write_json
from skiptrace.layout import DOCUMENT, EVIDENCE, LOCK, MODELS, NGRAMS, PARAMS, TABLES, TOKENS
from skiptrace.report.contents import build
from skiptrace.report.inputs import Provenance, Results, Settings, Study
from skiptrace.report.page import payload
from skiptrace.report.rendering.stored import to_json
from skiptrace.report.sections.run import provenance
from skiptrace.tokens.tables import BIGRAMS, VOCAB
from stages import needs, needs_of_studies
from stages.common import run, wrote
from stages.results import read_results

BOUNDED_BY = "tokenizers.<corpus>.vocab_size"


def main() -> None:
    """Build the document."""
    sizes = {c: VOCAB.size(VOCAB.file(TOKENS / c)) for c in load_pipeline(PARAMS).corpora}
    read = [
        (size, BIGRAMS.size(BIGRAMS.file(NGRAMS / c)), len(read_tokens(TOKENS / c / "valid.npy", size)))
        for c, size in sizes.items()
    ]
    needs.state("document", needs_of_studies.of_document(read), BOUNDED_BY, "the length of the text")
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
    streams = {c: np.asarray(read_tokens(TOKENS / c / "valid.npy", size)) for c, size in sizes.items()}
    held_out = {c: Positions(stream, sizes[c], window(results, c)) for c, stream in streams.items()}
    origin = Provenance([PARAMS, LOCK], inputs, provenance.flat(read_yaml(PARAMS)))
    study = Study(results, settings, origin, held_out=held_out, limited=limited(results, settings))
    files = {m: [str(folder / m / "skip_trigrams.parquet") for folder in (TABLES, EVIDENCE)] for m in results.models}
    report = payload.carried(build(study), study, streams, files)
    write_json(DOCUMENT, to_json(report), sealed=True)
    figures, size = len(report.figures()), DOCUMENT.stat().st_size
    wrote(DOCUMENT, f"{len(report.sections)} sections, {figures} figures, {size / 1e6:.1f} MB")


def limited(results: Results, settings: Settings) -> dict[str, dict[str, budget.Plan]]:
    """What the studies of each model look at so that they fit the time budget, and the page its size."""
    asked = budget.Asked(
        load(BudgetParams, "budget", PARAMS),
        settings.scoring,
        settings.mining,
        load(ExpansionParams, "expansion", PARAMS),
        settings.verification,
        load(AccountParams, "account", PARAMS),
        load(DirectionsParams, "directions", PARAMS),
        load(ExplorationParams, "exploration", PARAMS),
    )
    found = {}
    for name, model in results.models.items():
        given, count = load_model(name, PARAMS), results.corpora[model.params.corpus].vocabulary["count"]
        twins = given.twins if isinstance(given, ModelParams) else 0
        found[name] = {} if model.config is None else budget.plans(model.config, count, asked, twins)
    return found


def window(results: Results, corpus: str) -> int:
    """How far back the models of a corpus see at least, in tokens."""
    return min((m.params.n_ctx for m in results.models.values() if m.params.corpus == corpus), default=1) - 1


if __name__ == "__main__":
    run(main, BOUNDED_BY)
