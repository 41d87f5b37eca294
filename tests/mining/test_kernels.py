import importlib.util

import pytest

MODULE = """
from skiptrace.mining.kernels import compiled

@compiled()
def twice(x):
    return 2 * x
"""


def load(path):
    spec = importlib.util.spec_from_file_location("cached", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_truncated_file_of_the_cache_is_compiled_anew(tmp_path, kind, kept):
    path = tmp_path / "cached.py"
    path.write_text(MODULE)
    assert load(path)(21) == 42
    cached = list((tmp_path / "__pycache__").glob(f"*.{kind}"))
    assert len(cached) == 1
    content = cached[0].read_bytes()
    cached[0].write_bytes(content[: int(kept * len(content))])
    function = load(path)
    assert function(21) == 42
    assert sum(function.stats.cache_hits.values()) == 0
    again = load(path)
    assert again(21) == 42
    assert sum(again.stats.cache_hits.values()) == 1
