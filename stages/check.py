"""Check all of params.yaml before any work starts.

Writes  data/checked   always the same content: nothing downstream reruns because of it.
"""

from pathlib import Path

from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.config.pipeline import Pipeline, load_pipeline
from skiptrace.errors import InputError
from skiptrace.files import write_text
from stages.common import MODELS, PARAMS, TOKENS, run


def main() -> None:
    """Check the parameters."""
    check_dictionaries(load_pipeline(PARAMS))
    write_text(Path("data/checked"), "params.yaml is well formed\n")


def check_dictionaries(pipeline: Pipeline) -> None:
    """Hold the paths that `dictionaries` names for DVC against what the pipeline makes there.

    Raises:
        InputError: no model of the pipeline is there, it has no heads, or it reads another corpus.
    """
    for name, dictionary in pipeline.dictionaries.items():
        if not isinstance(dictionary, ModelDictionaryParams):
            continue
        key, model = f"{PARAMS}: dictionaries.{name}", pipeline.models.get(dictionary.model)
        if model is None or Path(dictionary.source) != MODELS / dictionary.model:
            known = ", ".join(str(MODELS / m) for m in pipeline.models)
            raise InputError(f"{key}.source: no model at {dictionary.source!r}; there is {known}")
        if model.n_layers == 0:
            raise InputError(f"{key}.source: model {dictionary.model} has no heads to take apart")
        if Path(dictionary.data) != TOKENS / model.corpus:
            tokens = TOKENS / model.corpus
            raise InputError(f"{key}.data: model {dictionary.model} reads {tokens}, not {dictionary.data!r}")


if __name__ == "__main__":
    run(main)
