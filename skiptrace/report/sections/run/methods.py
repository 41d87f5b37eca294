"""How the numbers were made, how to cite them, and what the terms mean."""

from importlib import metadata

from skiptrace.report.glossary import GLOSSARY
from skiptrace.report.inputs import Study
from skiptrace.report.published import PAPERS
from skiptrace.report.rendering.document import Link, Section, Table, prose, words


def methods(study: Study) -> Section:
    """What every section has in common, and how to cite the report."""
    params = study.settings.verification
    version = metadata.version("skiptrace")
    return Section(
        "methods",
        "Methods, and how to cite",
        [
            prose(f"""
                Loss is cross-entropy in nats per token on held-out text, documents that are chosen by a hash of their
                names. Scores read from weights stand beside the same scores of random or rotated weights; scores on
                text beside uniform attention. Intervals are 95 % intervals, with errors clustered by document, or by
                source token for shares of mined rows; where many rows are tested, false discoveries are controlled at
                {params.fdr:.0%} (Benjamini & Hochberg 1995). Skip-trigrams are mined from the weights alone; that they
                hold is tested afterwards, on the running model, on the text, on rotated heads and on a model of another
                seed.
            """),
            "Every table of this page is a Parquet file under `data/`, with the meaning and unit of each column in "
            "the file itself and in `docs/tables.md`; `dvc repro` makes all of them again from `params.yaml`.",
            f"To cite: skiptrace {version}, with the git commit of the run (Provenance lists what identifies it), and "
            "the papers whose measures it takes:",
        ],
        [
            Table(
                "The papers.",
                words("Paper", "Title"),
                [(paper.name, Link(paper.title, paper.address)) for paper in PAPERS],
            )
        ],
    )


def glossary(_: Study) -> Section:
    """The terms of the report."""
    rows = [(term, meaning) for term, meaning in sorted(GLOSSARY.items(), key=lambda item: item[0].lower())]
    return Section("glossary", "Glossary", [], [Table("Terms of this page.", words("Term", "Meaning"), rows)])
