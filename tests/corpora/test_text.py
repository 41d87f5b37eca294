"""Long text: its division into documents, in bounded memory and in time that is linear in its length."""

import bz2
import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.corpora import compression, contents, readers, rows, text
from skiptrace.corpora.card import Notes, Tally
from skiptrace.corpora.compression import zstd
from skiptrace.corpora.text import Window
from skiptrace.errors import InputError
from tests.corpora.test_formats import files, read


def test_a_separator_divides_a_file_into_documents(tmp_path):
    stories = ["one\nstory", "two", "", "three"]
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(stories) + "\n<|endoftext|>\n")
    with pytest.raises(InputError, match=r'a\.txt: lines of <\|endoftext\|> seem .*set separator: "<\|endoftext\|>"'):
        read(tmp_path)
    (tmp_path / "b.txt").write_text("one\n <|endoftext|> \ntwo")
    with pytest.raises(InputError, match=r"b\.txt: lines of <\|endoftext\|> seem"):
        read(tmp_path, exclude=["a.txt"])
    (tmp_path / "b.txt").unlink()
    divided = list(readers.read(files(tmp_path / "a.txt", separator="<|endoftext|>"), "mine", Notes()))
    assert [d.text for d in divided] == stories
    assert [d.source for d in divided] == [f"a.txt#{i:09d}" for i in (1, 2, 3, 4)]
    notes = Notes()
    assert read(tmp_path, notes, separator="") == [(tmp_path / "a.txt").read_text()]
    assert notes.separators == Tally(1, ["a.txt"])
    assert read(tmp_path, separator="<|endoftext|>", cut=2)[:2] == ["one\n", "story"]


def test_a_separator_is_written_as_text_is_read():
    with pytest.raises(ValueError, match=r"line ends are read as .n"):
        files(Path("x"), separator="\r\n\r\n")


def test_a_separator_within_a_line_is_noted(tmp_path):
    (tmp_path / "a.txt").write_text("the token <|endoftext|> ends a text")
    (tmp_path / "b.jsonl").write_text('{"text": "x\\n</s>\\ny"}')
    notes = Notes()
    assert len(read(tmp_path, notes)) == 2
    assert notes.separators == Tally(2, ["a.txt", "b.jsonl#000000001"])


@given(st.text("ab-\n", max_size=60), st.sampled_from(["-", "--", "a-", "\n\n"]), st.integers(1, 7))
def test_separators_are_found_wherever_blocks_end(content, separator, size):
    blocks = (content[i : i + size] for i in range(0, len(content), size))
    params = files(Path("x"), separator=separator)
    expected = [part.strip("\n") for part in content.split(separator)]
    if not expected[-1]:
        expected.pop()
    assert list(text.pieces("x", Window("x", blocks), params)) == expected


JSON = st.text(max_size=8) | st.integers() | st.floats(allow_nan=False) | st.none() | st.lists(st.text(max_size=3))


@given(st.lists(JSON), st.sampled_from([None, 0, 2]), st.integers(1, 9))
def test_the_values_of_an_array_are_those_of_the_whole(values, indent, size):
    content = json.dumps(values, indent=indent)
    blocks = (content[i : i + size] for i in range(0, len(content), size))
    assert [value for _, _, value in rows._values("x", Window("x", blocks))] == values


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress, bz2.compress])
def test_a_file_that_unfolds_without_end_stops_at_a_limit(tmp_path, monkeypatch, compress):
    monkeypatch.setattr(compression, "FREE", 2**16)
    numbers = "\n".join(str(i) for i in range(50_000))
    (tmp_path / "a.txt").write_bytes(compress(b"a line of text\n" * 2**17))
    (tmp_path / "b.txt").write_bytes(compress(numbers.encode()))
    assert read(tmp_path, include=["b.txt"]) == [numbers]
    with pytest.raises(InputError, match=r"a\.txt: unfolds to more than 200 times its size.*store it without"):
        read(tmp_path, include=["a.txt"])


def test_what_unfolds_is_never_in_memory_as_a_whole(tmp_path):
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"a line of text\n" * 2**22))
    tracemalloc.start()
    for _ in readers.read(files(tmp_path, cut=2**20), "mine", Notes()):
        pass
    assert tracemalloc.get_traced_memory()[1] < 2**24 < 15 * 2**22
    tracemalloc.stop()


def seconds(make: Callable[[], object]) -> float:
    started = time.process_time()
    make()
    return time.process_time() - started


@pytest.mark.parametrize(
    ("kind", "changed"),
    [("pieces", {"cut": 20}), ("one line", {"cut": 20}), ("row", {}), ("array", {}), ("parts", {"separator": "--"})],
)
def test_reading_takes_time_in_proportion(tmp_path, kind, changed, monkeypatch):
    """Eight times the text takes about eight times as long, not sixty-four."""
    long = kind in ("one line", "row")
    if long:
        monkeypatch.setattr(text, "BLOCK", 2**10)

    def write(size: int) -> Path:
        path = tmp_path / f"{kind}{size}.txt"
        content = {
            "pieces": "a line of text\n" * (size // 15),
            "one line": "a" * size,
            "row": json.dumps({"text": "a" * size}),
            "array": json.dumps([{"text": "a" * 50}] * (size // 64)),
            "parts": "a line--" * (size // 8),
        }[kind]
        path.write_text(content)
        return path

    changed = {"format": "json"} | changed if kind in ("row", "array") else changed
    small, large = (write(2**n) for n in ((19, 22) if long else (16, 19)))
    base = min(seconds(lambda: read(small, **changed)) for _ in range(3))
    assert seconds(lambda: read(large, **changed)) < 30 * max(base, 0.005)


def test_all_separators_are_looked_for(tmp_path):
    for mark in contents.SEPARATORS:
        (tmp_path / "a.txt").write_text(f"one\n{mark}\ntwo")
        with pytest.raises(InputError, match="seem to separate documents"):
            read(tmp_path)
