"""Read the algorithms out of small attention-only transformers.

From a model in memory to its skip-trigrams:

    import skiptrace

    vocabulary = skiptrace.count_vocabulary(texts, stream)  # the text of every token id, and a stream of ids
    rows = skiptrace.mine_skip_trigrams(model, vocabulary)  # a pandas.DataFrame, the best row first

Each name below is imported when it is first used, so that `import skiptrace` takes no time.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skiptrace.api import (
        circuit,
        count_vocabulary,
        expand_circuits,
        explain,
        explain_attention,
        find_directions,
        load_model,
        load_vocabulary,
        lookup,
        mine_skip_trigrams,
        score_heads,
        top_entries,
        verify_skip_trigrams,
    )
    from skiptrace.errors import InputError
    from skiptrace.models.config import ModelConfig
    from skiptrace.models.importing import from_transformer_lens, from_transformers
    from skiptrace.models.transformer import Transformer

    __version__: str

__all__ = [
    "InputError",
    "ModelConfig",
    "Transformer",
    "circuit",
    "count_vocabulary",
    "expand_circuits",
    "explain",
    "explain_attention",
    "find_directions",
    "from_transformer_lens",
    "from_transformers",
    "load_model",
    "load_vocabulary",
    "lookup",
    "mine_skip_trigrams",
    "score_heads",
    "top_entries",
    "verify_skip_trigrams",
]
_ELSEWHERE = {
    "InputError": "skiptrace.errors",
    "ModelConfig": "skiptrace.models.config",
    "Transformer": "skiptrace.models.transformer",
    "from_transformer_lens": "skiptrace.models.importing",
    "from_transformers": "skiptrace.models.importing",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("skiptrace")
    if name not in __all__:
        raise AttributeError(f"module 'skiptrace' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_ELSEWHERE.get(name, "skiptrace.api")), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__", *__all__])
