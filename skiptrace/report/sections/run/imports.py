"""What was done to the weights of imported models."""

from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.rendering.document import (
    Section,
    Table,
    numbers,
    words,
)


def imports(study: Study) -> Section | None:
    """What was done to the weights of imported models, and what their circuits leave out."""
    configs = {name: model.config for name, model in study.results.models.items() if model.config is not None}
    found = {name: c for name, c in configs.items() if c.imported_from is not None}
    if not found:
        return None
    rows = []
    for name, config in found.items():
        rows += [(name, "done to the weights", step) for step in config.processing or ()]
        rows += [(name, "left out", what) for what in config.approximate or ()]
    shape = Table(
        "Imported models. A last dimension that always holds 1 turns biases into weights.",
        (*words("Model", "Format", "Positions"), *numbers("Layers", "Heads", "Width", "With constants", "Context")),
        [
            (name, c.imported_from or "", c.positional_embedding_type, str(c.n_layers), str(c.n_layers * c.n_heads),
             str(c.d_model_imported), str(c.d_model), str(c.n_ctx))
            for name, c in found.items()
        ],
    )  # fmt: skip
    steps = Table(
        "In this order, in float32. No step changes what the model predicts; verification runs the whole model.",
        words("Model", "What", "How"),
        rows,
    )
    return Section("imports", "Imported models", [], [shape, steps])


def left_out(model: ModelResult) -> list[str]:
    """A paragraph on what the circuits of an imported model leave out; none if they leave nothing out."""
    steps = model.config.approximate if model.config is not None else None
    return [f"This model was imported: {'; '.join(steps)}."] if steps else []
