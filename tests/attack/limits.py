"""Every stage of a model with a vocabulary of 60,000, default parameters and 4 GB of address space."""

import contextlib
import copy
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from dvc.repo import Repo

from skiptrace.account import tables as account
from skiptrace.command.doctor import pipeline_graph
from skiptrace.config.superposition import DEFAULTS
from skiptrace.evidence import tables as evidence
from skiptrace.evidence.support import Support
from skiptrace.files import write_array, write_json, write_table
from skiptrace.mining.tables import SKIP_TRIGRAMS
from skiptrace.models import checkpoint
from skiptrace.models.config import ModelConfig
from skiptrace.models.tables import CURVE
from skiptrace.models.transformer import Transformer
from skiptrace.tables import Column, Table, declared
from tests.attack.outcome import Attempt, Outcome, Part
from tests.pipeline import conftest
from tests.pipeline.conftest import MODEL, ZERO, tiny_superposition

ROOT = Path(__file__).parents[2]
D_VOCAB = 60_000
TOKENS = 8_000_000  # of the training text: what the default corpus has under a tokenizer of this size
MEMORY = 4 * 2**20  # kB of address space
SECONDS = 60.0  # after which a stage that has neither failed nor ended has shown what it needs
CORPUS, MODELS = "code", ("one", "two")
OF_CORPUS = [(stage, "--corpus", CORPUS) for stage in ("corpus", "tokens", "ngrams")]
OF_MODELS = ("train", "score", "expand", "mine", "verify", "compose", "explore", "account", "directions")
ALONE = (
    ("features", "--model", "one"),
    ("rules", "--model", "one"),
    ("control",), ("superposition",), ("dictionary", "--dictionary", "toy"), ("dictionary", "--dictionary", "one"),
    ("summarise",), ("document",),
)  # fmt: skip
STAGES = (*OF_CORPUS, *((stage, "--model", model) for stage in OF_MODELS for model in MODELS), *ALONE)
# What a stage runs with so that those behind it have something to read, where its own limit would end it first.
REDUCED: dict[str, dict[str, Any]] = {
    "score": {"scoring.loss_contexts": 4, "scoring.sequences": 4},
    "mine": {"expansion.heads": ["L0H0"], "expansion.virtual_heads": 0, "mining.bins": 0},
    "compose": {"expansion.virtual_heads": 0, "scoring.sequences": 4},
    "explore": {},
    "directions": {"directions.removed": 0},
    "features": {"features.steps": 5, "features.selection": 1, "account.entries": [100]},
    "control": {"control.steps": 3, "control.documents": 500, "control.rows": 20},
    "superposition": {"superposition": tiny_superposition(copy.deepcopy(DEFAULTS))},
    "dictionary": {f"dictionaries.{name}.steps": 5 for name in ("toy", "one")}
    | {"dictionaries.toy.hybrid.steps": 5, "dictionaries.toy.hybrid.dictionary_steps": [3]},
    "summarise": {},
}
STUDIED = {"evidence": evidence, "account": account}  # what verify and account write
REFUSED = re.compile(r"of memory beside what is loaded, more than|circuits of .* need .*, more than")


class Ran(NamedTuple):
    """How a stage ended, None for one that was ended after its time, what it said, and its peak in bytes."""

    code: int | None
    errors: str
    seconds: float
    peak: int


def create(folder: Path, d_vocab: int, tokens: int, seed: int) -> None:
    """Write random models of the default sizes, and a Zipf stream with its vocabulary, for the default parameters."""
    generator = np.random.default_rng(seed)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["models"] = {name: params["models"][name] | {"corpus": CORPUS} for name in MODELS}
    params["corpora"], params["tokenizers"] = ({CORPUS: params[kind][CORPUS]} for kind in ("corpora", "tokenizers"))
    params["tokenizers"][CORPUS]["vocab_size"] = d_vocab
    params["dictionaries"]["one"]["data"] = f"data/tokens/{CORPUS}"
    params["features"]["models"] = {"one": CORPUS}
    params["rules"]["models"] = {"one": CORPUS}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "requirements.lock").write_bytes((ROOT / "requirements.lock").read_bytes())
    frequency = 1 / np.arange(1, d_vocab + 1)
    probability = frequency / frequency.sum()
    of_corpus = folder / "data" / "tokens" / CORPUS
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
    sizes = {
        split: {"documents": 9, "characters": 4 * n, "tokens": n} for split, n in (("train", tokens), ("valid", 9))
    }
    survival = {"tried": 1, "lost": 0, "spaces_tried": 0, "spaces_lost": 0, "most_lost": ""}
    write_json(of_corpus / "sizes.json", sizes | {"survival": survival}, sealed=True)
    for name in MODELS:
        shape = {key: params["models"][name][key] for key in ("n_layers", "n_heads", "d_head", "d_model", "n_ctx")}
        for place, extra in (("", 0), ("twins/1", 1)) if "twins" in params["models"][name] else (("", 0),):
            model = Transformer(ModelConfig(d_vocab=d_vocab, **shape))
            model.initialise(seed + extra)
            checkpoint.save(model, folder / "data" / "models" / name / place)
        curve = [{"step": 1, "tokens": 1, "train_loss": 11.0, "valid_loss": 11.0}]
        CURVE.write(folder / "data" / "models" / name, CURVE.frame(curve))


def run(folder: Path, *stage: str, memory: int | None = MEMORY, seconds: float | None = None) -> Ran:
    """One stage in so many kB of address space, ended after so many seconds."""
    limit = "" if memory is None else f"ulimit -v {memory}; "
    command = f"{limit}exec {sys.executable} -m stages.{' '.join(stage)}"
    started, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as errors:
        running = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.DEVNULL, stderr=errors, process_group=0,
        )  # fmt: skip
        try:
            while running.poll() is None and (seconds is None or time.monotonic() < started + seconds):
                peak = max(peak, _peak(running.pid))
                time.sleep(0.05)
        finally:  # an attack that is interrupted leaves nothing behind
            late = running.poll() is None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            code = running.wait()
        errors.seek(0)
        return Ran(None if late else code, errors.read(), time.monotonic() - started, peak)


def _peak(pid: int) -> int:
    """The most address space that a process has had, in bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmPeak:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else 0
    return 0


@contextlib.contextmanager
def reduced(folder: Path, keys: Mapping[str, Any]) -> Iterator[None]:
    """The parameters with some changed."""
    path = folder / "params.yaml"
    text = path.read_text()
    params = yaml.safe_load(text)
    for key, value in keys.items():
        *groups, last = key.split(".")
        place = params
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    try:
        yield
    finally:
        path.write_text(text)


def invented(table: Table, rows: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Rows with random values in the columns that they lack."""

    def values(column: Column) -> object:
        if column.name == "support":
            return generator.choice(list(map(str, Support)), len(rows))
        if column.type == "bool":
            return generator.random(len(rows)) < 0.5
        if column.type.startswith("float"):
            return generator.random(len(rows))
        if column.type.startswith("list<"):
            return [[] for _ in range(len(rows))]
        return generator.permutation(len(rows)) + 1 if column.type.startswith("int") else [""] * len(rows)

    return table.frame(rows.assign(**{c.name: values(c) for c in table.columns if c.name not in rows}))


def studied(folder: Path, name: str, room: str, seed: int) -> None:
    """Write what `verify` or `account` would, which take minutes at any parameters: random evidence of mined rows."""
    generator = np.random.default_rng(seed)
    mined = SKIP_TRIGRAMS.read(folder / "data" / "tables" / name).iloc[:2000]
    for table in declared(STUDIED[room]):
        rows = mined if {"source_id", "out_id"} <= set(table.names) else pd.DataFrame(index=mined.index[:0])
        table.write(folder / "data" / room / name, invented(table, rows, generator))


def limits(count: int, seed: int) -> Iterator[Attempt]:
    """Stages of random models of this vocabulary: each works, or is refused before it starts by what it would need."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create(folder, D_VOCAB, TOKENS, seed)
        for stage in STAGES[:count]:
            if stage[0] in REDUCED:
                with reduced(folder, REDUCED[stage[0]]):
                    before = run(folder, *stage, memory=None)
                if before.code:
                    yield outcome(f"{' '.join(stage)}, reduced", before)
            yield outcome(" ".join(stage), run(folder, *stage, seconds=SECONDS))
            if stage[0] in ("tokens", "train"):  # which overwrite what the others are to read
                create(folder, D_VOCAB, TOKENS, seed)
            if stage[0] in ("verify", "account"):
                studied(folder, stage[-1], "account" if stage[0] == "account" else "evidence", seed)


def pages(count: int, seed: int) -> Iterator[Attempt]:
    """Every stage of a small pipeline of as many planted words, up to those that condense and show its results."""
    with tempfile.TemporaryDirectory() as name:
        project = conftest.create(Path(name) / "project")
        project.write_params(planted(project.params(), D_VOCAB, seed))
        for stage in commands(project.path)[:count]:
            yield outcome(" ".join(stage), run(project.path, *stage))


def planted(params: dict[str, Any], words: int, seed: int) -> dict[str, Any]:
    """Tiny parameters, of three models of one planted corpus with so many words, ten places each.

    Of all entries, which are as many as the square of that, `mine` looks at those of one head and of frequent words:
    `limits` has it look at more.
    """
    corpus = params["corpora"]["planted"] | {"seed": seed, "words": words, "length": 100, "zipf": 0.0}
    params["corpora"] = {"planted": corpus | {"documents": max(60, words // 10), "valid_share": 0.1}}
    params["tokenizers"] = {"planted": {"kind": "words"}}
    params["models"] = {"zero": ZERO, "one": MODEL, "two": MODEL | {"n_layers": 2, "checkpoints": 3}}
    params["models"] = {name: model | {"corpus": "planted"} for name, model in params["models"].items()}
    params["expansion"] |= {"store": "none", "virtual_heads": 0, "heads": ["L0H0"]}
    params["mining"] |= {"bins": 0, "min_count": 15}
    params["scoring"] |= {"loss_contexts": 8}
    params["features"]["models"] = params["rules"]["models"] = {"two": "planted"}
    return params


def commands(folder: Path) -> list[tuple[str, ...]]:
    """The stages of a pipeline as `run` takes them, each after those that it needs."""
    with contextlib.chdir(folder):
        graph = pipeline_graph()
        with Repo(".") as repo:
            found = {stage.addressing: shlex.split(stage.cmd) for stage in repo.index.stages}
    return [(found[name][2].removeprefix("stages."), *found[name][3:]) for name in graph]


def outcome(what: str, ran: Ran) -> Attempt:
    """A stage that ends in any other way than success or a refusal is wrong, running out of memory included."""
    ended = "still running after" if ran.code is None else "ended after"
    what = f"{what}, {ended} {ran.seconds:.0f} s with a peak of {ran.peak / 1e9:.1f} GB"
    line = ran.errors.splitlines()[-1] if ran.errors else ""
    if "Traceback" in ran.errors:
        return Attempt(what, Outcome.traceback, ran.errors)
    if ran.code in (0, None):
        return Attempt(what, Outcome.same)
    return Attempt(what, Outcome.noticed if REFUSED.search(line) else Outcome.wrong, line)


PARTS = [
    Part("limits: stages at V = 60,000", len(STAGES), limits),
    Part("limits: pages at V = 60,000", 40, pages),
]
