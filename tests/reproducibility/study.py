"""Every stage once, on a small planted corpus: digests of what each leaves behind, as JSON.

`python -m tests.reproducibility.study` prints them; with `emulated`, of what does without numba, which fails under
QEMU. The environment decides what they depend on: the processor, `OMP_NUM_THREADS`, `SKIPTRACE_KERNELS`.
"""

import stages  # noqa: F401  chooses the arithmetic, before anything that computes is imported

# isort: split
import contextlib
import hashlib
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

from skiptrace import arithmetic
from tests.pipeline.conftest import tiny_params

MODEL = {
    "corpus": "planted", "seed": 0, "n_heads": 4, "d_head": 12, "d_model": 48, "n_ctx": 64, "steps": 12,
    "batch_size": 32, "warmup_steps": 2, "lr_embedding": 0.02, "lr_attention": 0.05, "weight_decay": 0.1,
}  # fmt: skip
KINDS = ("models", "circuits", "tables", "evidence", "compose", "account", "superposition", "dictionary")
STUDIES = ("train", "score", "expand", "mine", "verify", "compose", "account")
PLAN = (
    *((stage, "corpus", "planted") for stage in ("corpus", "tokens", "ngrams")),
    *((stage, "model", model) for stage in STUDIES for model in ("one", "two")),
    ("superposition", "", ""),
    *(("dictionary", "dictionary", name) for name in ("toy", "one")),
)


NUMBA = ("mine", "verify", "account", "directions")  # stages that use it, and those that read what these write
EMULATED = ("models", "circuits", "compose", "superposition", "dictionary")


SMALL = 1000  # entries; a sum of so many here is one of more than torch gives to one thread (2¹⁵) at real sizes


class Watch(TorchDispatchMode):
    """Refuses what depends on the number of threads: products with a vector, and large sums of everything at once.

    Every study runs under it: torch takes another algorithm for singular values where operations are watched.
    """

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = operation.name()
        if torch.get_num_threads() > 1:
            assert name not in ("aten::mv", "aten::addmv", "aten::addmv_"), "use a matrix of one column"
            if name in ("aten::sum", "aten::mean", "aten::sum.dim_IntList", "aten::mean.dim"):
                x = arguments[0]
                dims = [d % x.ndim for d in (arguments[1] if len(arguments) > 1 else ()) or range(x.ndim)]
                everything = all(size == 1 for d, size in enumerate(x.shape) if d not in dims)
                assert not (everything and x.is_floating_point() and x.numel() > SMALL), "sum one axis after the other"
        return operation(*arguments, **(options or {}))


def params() -> dict[str, dict]:
    """The tests' tiny pipeline with models and batches large enough for the libraries' blocked and threaded code."""
    found = tiny_params()
    found["corpora"] = {"planted": found["corpora"]["planted"] | {"words": 700, "documents": 1200, "length": 64}}
    found["tokenizers"] = {"planted": {"kind": "words"}}
    found["models"] = {"one": MODEL | {"n_layers": 1}, "two": MODEL | {"n_layers": 2, "checkpoints": 2}}
    found["features"] |= {"models": {"one": "planted"}}
    found["rules"] |= {"models": {"one": "planted"}}
    found["verification"] |= {"rows": 20, "contexts": 4, "null_rows": 10, "context_tokens": 48}
    found["scoring"] |= {"null_draws": 20, "sequences": 16}
    found["account"] |= {"contexts": 4, "selection": 4, "entries": [30, 300], "rows": 10, "shown_rows": 10}
    found["account"] |= {"edges": 10, "edge_places": 8}
    found["mining"] |= {"sources": 20}
    found["dictionaries"]["one"] |= {"steps": 20, "batch_size": 256, "entries": 64, "windows": 16, "check_windows": 16}
    found["superposition"]["five"] |= {"steps": 40, "batch_size": 64}
    return found


def run(folder: Path, without: tuple[str, ...] = ()) -> None:
    """Run the stages of the plan in a folder, but for some."""
    for name in ("params.yaml", "requirements.lock"):
        (folder / name).write_text(yaml.safe_dump(params(), sort_keys=False))
    os.environ["SKIPTRACE_WORKERS"] = "1"
    with contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr), Watch():
        for stage, option, value in PLAN:
            if stage in without:
                continue
            sys.argv = [stage, *([f"--{option}", value] if option else [])]
            importlib.import_module(f"stages.{stage}").main()


def digests(folder: Path) -> dict[str, str]:
    """One digest for each kind of output: of the names and contents of all its files."""
    found = {}
    for kind in KINDS:
        digest = hashlib.sha256()
        for path in sorted(p for p in (folder / "data" / kind).rglob("*") if p.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
        found[kind] = digest.hexdigest()[:16]
    return found


if __name__ == "__main__":
    emulated = sys.argv[1:] == ["emulated"]
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), NUMBA if emulated else ())
        found = {kind: value for kind, value in digests(Path(name)).items() if not emulated or kind in EMULATED}
        print(json.dumps({"probe": arithmetic.probe()} | found))
