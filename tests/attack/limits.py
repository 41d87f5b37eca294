"""Every stage of a model with a vocabulary of 60,000, default parameters and 4 GB of address space."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from skiptrace.files import write_array, write_table
from skiptrace.models import checkpoint
from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer
from tests.attack.outcome import Attempt, Outcome, Part

ROOT = Path(__file__).parents[2]
D_VOCAB = 60_000
TOKENS = 8_000_000  # of the training text: what the default corpus has under a tokenizer of this size
MEMORY = 4 * 2**20  # kB of address space
STAGES = (
    ("ngrams", "--corpus", "code"),
    *((s, "--model", m) for m in ("one", "two") for s in ("score", "expand", "mine", "verify", "compose")),
)
REFUSED = re.compile(r"of memory beside what is loaded, more than|circuits of .* need .*, more than")


def create(folder: Path, d_vocab: int, tokens: int, seed: int) -> None:
    """Write random models of the default sizes, and a Zipf stream with its vocabulary, for the default parameters."""
    generator = np.random.default_rng(seed)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name in ("one", "two"):
        params["models"][name]["corpus"] = "code"
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    frequency = 1 / np.arange(1, d_vocab + 1)
    probability = frequency / frequency.sum()
    of_corpus = folder / "data" / "tokens" / "code"
    for split, length in (("train", tokens), ("valid", tokens // 20)):
        stream = generator.choice(d_vocab, length, p=probability).astype(np.uint16)
        write_array(of_corpus / f"{split}.npy", stream)
        if split == "train":
            count = np.bincount(stream, minlength=d_vocab)
    columns = {
        "token_id": np.arange(d_vocab, dtype=np.int32),
        "token": [f" w{i}" for i in range(d_vocab)],
        "count": count,
        "probability": count / count.sum(),
    }
    write_table(of_corpus / "vocab.parquet", pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False))
    for name, n_layers in (("one", 1), ("two", 2)):
        sizes = {"d_model": 128, "n_ctx": 256, "n_heads": 4, "d_head": 32}
        model = Transformer(ModelConfig(d_vocab=d_vocab, n_layers=n_layers, **sizes))
        model.initialise(seed)
        checkpoint.save(model, folder / "data" / "models" / name)


def run(folder: Path, *stage: str, memory: int = MEMORY) -> subprocess.CompletedProcess[str]:
    """One stage in so many kB of address space."""
    command = f"ulimit -v {memory}; exec {sys.executable} -m stages.{' '.join(stage)}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip


def limits(count: int, seed: int) -> Iterator[Attempt]:
    """Stages of random models of this vocabulary: each works, or is refused before it starts by what it would need."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create(folder, D_VOCAB, TOKENS, seed)
        for stage in STAGES[:count]:
            yield outcome(" ".join(stage), run(folder, *stage))


def outcome(what: str, done: subprocess.CompletedProcess[str]) -> Attempt:
    """A stage that ends in any other way than success or a refusal is wrong, running out of memory included."""
    if done.returncode == 0:
        return Attempt(what, Outcome.same)
    line = done.stderr.splitlines()[-1] if done.stderr else ""
    if "Traceback" in done.stderr:
        return Attempt(what, Outcome.traceback, done.stderr)
    return Attempt(what, Outcome.noticed if REFUSED.search(line) else Outcome.wrong, line)


PARTS = [Part("limits: stages at V = 60,000", len(STAGES), limits)]
