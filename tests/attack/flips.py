"""Single flipped bits in everything that one stage writes and another, or a person, reads."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skiptrace import files
from skiptrace.circuits.factored import ov
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.models import ModelParams
from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.expansion.reader import Tiles, read_row
from skiptrace.expansion.writer import write
from skiptrace.models import checkpoint, training
from skiptrace.models.config import ModelConfig
from skiptrace.models.importing import import_model
from skiptrace.models.transformer import Transformer
from skiptrace.tokens import tokenizer
from tests.attack.outcome import Attempt, Part, reading
from tests.models.conftest import write_lens

V = 60
EXPANSION = ExpansionParams(
    store="full", circuits=["ov"], heads="all", virtual_heads=0, max_bytes=10**9, chunk_rows=24, row_group_rows=8
)
TRAINING = ModelParams(
    corpus="c", seed=0, n_layers=1, n_heads=2, d_head=3, d_model=8, n_ctx=12, steps=6, batch_size=2, warmup_steps=1,
    lr_embedding=0.02, lr_attention=0.05, weight_decay=0.0, checkpoints=2,
)  # fmt: skip


class Target(NamedTuple):
    """A file, and what is read of it."""

    path: Path
    read: Callable[[], object]


def _model() -> Transformer:
    model = Transformer(ModelConfig(d_vocab=V, d_model=10, n_ctx=7, n_layers=1, n_heads=2, d_head=4))
    model.initialise(0)
    return model.requires_grad_(False).eval()


def _weights(model: Transformer) -> list[object]:
    return [w.tolist() for w in model.parameters()]


def _part(read: Callable[[Path], object]) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        write([ov(_model(), 0, 0)], V, str(folder), EXPANSION)
        return Target(folder / "circuit=ov/layer=0/head=0/part-00001.parquet", lambda: read(folder))

    return make


def _row(folder: Path) -> object:
    return read_row(folder, "ov", "0", "0", 30).tolist()


def _rows(folder: Path) -> object:
    return [read_row(folder, "ov", "0", "0", token).tolist() for token in range(24, 48)]


def _table(folder: Path) -> Target:
    path = folder / "table.parquet"
    rows = range(200)
    files.write_table(path, pa.table({"id": rows, "text": [f"t{i}" for i in rows], "x": [i / 7 for i in rows]}))
    return Target(path, lambda: files.read_table(path).to_pylist())


def _array(folder: Path) -> Target:
    path = folder / "train.npy"
    files.write_array(path, np.arange(500, dtype=np.uint16) % V)
    return Target(path, lambda: files.read_tokens(path, V).tolist())


def _json(folder: Path) -> Target:
    path = folder / "sizes.json"
    files.write_json(path, {"train": {"documents": 12, "tokens": 3456}, "loss": 2.5}, sealed=True)
    return Target(path, lambda: files.read_json(path))


def _tokenizer(folder: Path) -> Target:
    path = folder / "tokenizer.json"
    tokenizer.train(["a b c b", "c a"], TokenizerParams(kind="words"), "w").save(str(path))
    digest = files.sha256(path)
    return Target(path, lambda: tokenizer.load(path, digest).to_str())


def _saved(name: str) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        checkpoint.save(_model(), folder)
        return Target(folder / name, lambda: _weights(checkpoint.load(folder)))

    return make


def _archive(folder: Path) -> Target:
    write_lens(folder)
    return Target(folder / "model.pth", lambda: _weights(import_model(folder, None, 0)))


def _interrupted(name: str) -> Callable[[Path], Target]:
    """A training killed half way: whatever is damaged, its end must be that of an undisturbed one."""

    def make(folder: Path) -> Target:
        stream = np.random.default_rng(0).integers(1, 11, 400).astype(np.uint16)
        run = training.Run(TRAINING, stream, stream, 11, folder, "attacked")
        with training.deterministic():
            for step in range(4):
                run.step(step)
            run._save()
        kept = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

        def end() -> object:
            damaged = (folder / name).read_bytes()
            for path, content in kept.items():
                path.write_bytes(content)
            (folder / name).write_bytes(damaged)
            return _weights(training.train(TRAINING, stream, stream, 11, folder, "attacked")[0])

        return Target(folder / name, end)

    return make


TARGETS: dict[str, tuple[int, Callable[[Path], Target]]] = {
    "parts, by tile": (400, _part(lambda folder: [t.values.tolist() for t in Tiles(folder, "ov", "0", "0")])),
    "parts, by row": (400, _part(_rows)),
    "parts, by lookup": (400, _part(_row)),
    "tables": (927, _table),
    "arrays": (400, _array),
    "JSON": (400, _json),
    "tokenizers": (400, _tokenizer),
    "weights": (400, _saved("model.safetensors")),
    "config.json": (400, _saved("config.json")),
    "imported archives": (150, _archive),
    "training states": (60, _interrupted("state.pt")),
    "checkpoints on the way": (60, _interrupted("checkpoints/step-000001/model.safetensors")),
}


def flips(make: Callable[[Path], Target], count: int, seed: int) -> Iterator[Attempt]:
    """Flip random bits of a file, one at a time, and read it."""
    with tempfile.TemporaryDirectory() as folder:
        target = make(Path(folder))
        content = target.path.read_bytes()
        sound = target.read()
        for bit in np.random.default_rng(seed).integers(0, 8 * len(content), count).tolist():
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            target.path.write_bytes(flipped)
            with contextlib.redirect_stderr(io.StringIO()):  # a training that starts over says so
                attempt = reading(f"bit {bit} of {len(content)} bytes", target.read, sound)
            yield attempt


def _attack(make: Callable[[Path], Target]) -> Callable[[int, int], Iterator[Attempt]]:
    return lambda count, seed: flips(make, count, seed)


PARTS = [Part(f"flips: {name}", count, _attack(make)) for name, (count, make) in TARGETS.items()]
