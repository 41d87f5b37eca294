"""The report on an imported model: what a time budget leaves out, and what was not trained here."""

from dataclasses import replace

from skiptrace import budget
from skiptrace.models.config import ModelConfig
from skiptrace.report.sections.run.limits import limits
from skiptrace.report.sections.run.summary import lead
from tests.report.conftest import study_of

LEFT = budget.Plan({"null_rows": 80}, (budget.Cut("verify", "null_rows", 200, 80),), 97e11, 90e11)


def test_the_report_says_what_is_left_out(hostile):
    study = study_of(hostile)
    assert limits(study) is None
    section = limits(replace(study, limited={"two": {"verify": LEFT}}))
    assert section is not None
    assert ("two", "evidence", "null rows", "80", "200") in section.blocks[0].rows
    assert section.paragraphs[1] == "two, evidence: 97 s on two cores at the least, beyond its share of 90 s."


def test_an_imported_model_did_not_read_the_text_here_and_may_have_mlps(hostile):
    name, model = next((n, m) for n, m in hostile.models.items() if m.params.n_layers > 0)
    bare = lead(study_of(replace(hostile, models={name: model})))
    assert bare.startswith("Attention-only transformers: ") and " reads " in bare
    several = lead(study_of(hostile))
    assert f": zero (no layers), one (1 layer of {hostile.models['one'].params.n_heads} heads) and two (" in several
    config = ModelConfig(
        n_layers=12, n_heads=2, d_model=8, d_head=4, n_ctx=5, d_vocab=7, attn_only=False, d_mlp=3, act_fn="relu",
        imported_from="gpt2",
    )  # fmt: skip
    imported = lead(study_of(replace(hostile, models={name: replace(model, config=config)})))
    assert imported.startswith("Transformers: ") and "is studied on" in imported
