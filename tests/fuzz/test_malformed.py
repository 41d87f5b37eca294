"""Readers of files from others: whatever the bytes, the answer is a result or one line, soon and without a trace.

`found/` keeps what earlier runs found; every file there is tried again. SKIPTRACE_FUZZ sets the number of inputs per
reader (5000 and more for a long search).
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiptrace.config.corpora import FilesCorpus
from skiptrace.config.pipeline import load_pipeline
from skiptrace.corpora import card, documents, readers
from skiptrace.errors import InputError, one_line
from skiptrace.expansion.layout import partition
from skiptrace.expansion.reader import Tiles
from skiptrace.files import read_array, read_table
from skiptrace.models import checkpoint
from skiptrace.models.config import ModelConfig
from skiptrace.models.importing import import_model
from skiptrace.models.transformer import Transformer
from skiptrace.tokens.existing import load_existing
from skiptrace.tokens.tokenizer import load as load_tokenizer
from tests.models.conftest import write_gpt2, write_lens
from tests.tokens.test_existing import END, theirs

FOUND = Path(__file__).parent / "found"
EXAMPLES = int(os.environ.get("SKIPTRACE_FUZZ", "30"))
SOON = 2.0  # seconds of a processor
ROOT = Path(__file__).parents[2]
Reader = Callable[[Path], object]


def corpus(path: Path) -> object:
    """The whole way of a user's own file: read, split, written; on failure nothing is left."""
    params = FilesCorpus(kind="files", path=str(path.parent), include=["*"], valid_share=0.5)
    out = path.parent.parent / "out" / "documents.parquet"
    try:
        return documents.write(readers.read(params, "fuzzed", card.Notes()), 0.5, "fuzzed", card.Notes(), out)
    except InputError:
        assert not out.exists()
        raise
    finally:
        out.unlink(missing_ok=True)
        assert list(out.parent.iterdir()) == []


def part(path: Path) -> object:
    """A part file of an expanded circuit."""
    place = path.parent / partition("ov", "0", "0")
    place.mkdir(parents=True, exist_ok=True)
    (place / "part-00000.parquet").write_bytes(path.read_bytes())
    return list(Tiles(path.parent, "ov", "0", "0"))


# Each reader, the name that its file bears, and a file that it accepts.
READERS: dict[str, tuple[Reader, str, Callable[[Path], None]]] = {}


def reads(name: str, reader: Reader) -> Callable[[Callable[[Path], None]], None]:
    """Register a reader and the function that writes a sound file."""

    def register(write: Callable[[Path], None]) -> None:
        READERS[write.__name__] = (reader, name, write)

    return register


@reads("params.yaml", load_pipeline)
def params(path: Path) -> None:
    path.write_bytes((ROOT / "docs/measured/params.yaml").read_bytes())


@reads("tokenizer.json", load_tokenizer)
def tokenizer(path: Path) -> None:
    theirs().save(str(path))


@reads("tokenizer.json", lambda path: load_existing(path, END, "tokenizers.fuzzed"))
def existing(path: Path) -> None:
    theirs().save(str(path))


@reads("model.safetensors", lambda path: checkpoint.load(path.parent))
def safetensors(path: Path) -> None:
    model = Transformer(ModelConfig(d_vocab=11, d_model=6, n_ctx=5, n_layers=1, n_heads=2, d_head=3))
    model.initialise(0)
    checkpoint.save(model, path.parent)


@reads("config.json", lambda path: checkpoint.load(path.parent))
def config(path: Path) -> None:
    model = Transformer(ModelConfig(d_vocab=11, d_model=6, n_ctx=5, n_layers=1, n_heads=2, d_head=3))
    model.initialise(0)
    checkpoint.save(model, path.parent)


@reads("model.pth", lambda path: import_model(path.parent, None, 0))
def state_dict(path: Path) -> None:
    write_lens(path.parent)


@reads("config.json", lambda path: import_model(path.parent, None, 0))
def lens_config(path: Path) -> None:
    write_lens(path.parent, normalization_type="LN")


@reads("config.json", lambda path: import_model(path.parent, None, 0))
def gpt2_config(path: Path) -> None:
    write_gpt2(path.parent)


@reads("rows.jsonl", corpus)
def json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps({"text": f"naïve {i}", "n": i}) + "\n" for i in range(9)))


@reads("rows.jsonl.gz", corpus)
def gzipped(path: Path) -> None:
    import gzip

    path.write_bytes(gzip.compress(b'{"text": "a"}\n{"text": "b"}\n' * 30, mtime=0))


@reads("rows.jsonl.zst", corpus)
def zstd(path: Path) -> None:
    path.write_bytes(pa.compress(b'{"text": "a"}\n{"text": "b"}\n' * 30, "zstd", asbytes=True))


@reads("rows.parquet", corpus)
def parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(9)]}), path, compression="zstd")


@reads("rows.json", corpus)
def json_array(path: Path) -> None:
    path.write_text(json.dumps([{"text": f"naïve {i}", "n": i} for i in range(9)], indent=1))


@reads("rows.csv", corpus)
def delimited(path: Path) -> None:
    path.write_text("id,text\n" + "".join(f'{i},"a, ""{i}"""\n' for i in range(9)))


@reads("rows.arrow", corpus)
def arrow(path: Path) -> None:
    table = pa.table({"text": pa.array([f"text {i}" for i in range(9)]).dictionary_encode()})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


@reads("part.parquet", part)
def circuit_part(path: Path) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(range(16), pa.float16()), 4)
    ends = pa.array([0.0] * 4, pa.float32())
    columns = {"token_id": pa.array(range(4), pa.int32()), "row_min": ends, "row_max": ends, "values": values}
    pq.write_table(pa.table(columns), path)


@reads("table.parquet", read_table)
def table(path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), path)


@reads("array.npy", read_array)
def array(path: Path) -> None:
    import numpy as np

    np.save(path, np.arange(9))


@reads("card.json", card.read)
def corpus_card(path: Path) -> None:
    size = card.Size(1, 2)
    card.write(path, card.Card(size, size, 0, 0, card.Notes(), "x", 3))


def attempt(reader: Reader, path: Path) -> None:
    """Run a reader: a result, or an InputError of one line, soon; anything else is a failure of the test."""
    started = time.process_time()  # whatever else the machine does
    with suppress(InputError):
        try:
            reader(path)
        except InputError as error:
            assert one_line(error).strip()
            raise
    assert time.process_time() - started < SOON


SPLICES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 40),
        st.binary(max_size=12)
        | st.sampled_from([b"null", b"-1", b"1e999", b'"', b"[[", b"{}", b"999999999999", b"\n"]),
    ),
    min_size=1,
    max_size=4,
)


def spliced(content: bytes, splices: list[tuple[float, int, bytes]], kept: float) -> bytes:
    """The content cut short, and at some places a few bytes replaced by others."""
    content = content[: round(len(content) * kept)]
    for where, length, instead in splices:
        start = round(len(content) * where)
        content = content[:start] + instead + content[start + length :]
    return content


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The way to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, inner in items for p in places(inner, (*path, key)))][:4000]


def exchanged(value: object, path: tuple, instead: object) -> object:
    """A JSON value with what stands at one place exchanged; `...` takes it away."""
    if not path:
        return None if instead is ... else instead
    copy = dict(value) if isinstance(value, dict) else list(value)
    inner = exchanged(copy[path[0]], path[1:], instead) if len(path) > 1 or instead is not ... else ...
    if inner is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = inner
    return copy


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sound file of every reader, in a folder of its own."""
    found = {}
    for kind, (_, name, write) in READERS.items():
        folder = tmp_path_factory.mktemp(kind) / "in"
        folder.mkdir()
        (folder.parent / "out").mkdir()
        write(folder / name)
        found[kind] = folder / name
    return found


@pytest.mark.parametrize("kind", READERS)
def test_the_sound_file_is_read(kind, sound):
    READERS[kind][0](sound[kind])


FEW = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 1000
)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_bytes_are_one_line(kind, sound):
    path = sound[kind]
    content = path.read_bytes()

    @FEW
    @given(SPLICES, st.just(1.0) | st.floats(0, 1))
    def check(splices: list[tuple[float, int, bytes]], kept: float) -> None:
        path.write_bytes(spliced(content, splices, kept))
        attempt(READERS[kind][0], path)

    try:
        check()
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("kind", [k for k, (_, name, _) in READERS.items() if name.endswith((".json", ".yaml"))])
def test_values_out_of_place_are_one_line(kind, sound):
    path = sound[kind]
    content = path.read_bytes()
    if path.suffix == ".yaml":
        import yaml

        value = yaml.safe_load(content)
    else:
        value = json.loads(content)
    ways = places(value)

    @FEW
    @given(st.sampled_from(ways), JSON | st.just(...) | st.sampled_from([2**31, 2**63, -1, 10**30, "../../x", 1e308]))
    def check(way: tuple, instead: object) -> None:
        path.write_text(json.dumps(exchanged(value, way, instead)))  # JSON is YAML
        attempt(READERS[kind][0], path)

    try:
        check()
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("case", sorted(FOUND.glob("*/*")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_what_was_found_once_stays_mended(case, sound):
    path = sound[case.parent.name]
    content = path.read_bytes()
    path.write_bytes(case.read_bytes())
    try:
        attempt(READERS[case.parent.name][0], path)
    finally:
        path.write_bytes(content)
