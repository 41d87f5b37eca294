import ast
import bz2
import glob
import gzip
import inspect
import io
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.config.corpora import Corpus, FilesCorpus, HubCorpus, PackagesCorpus
from skiptrace.corpora import card, documents, readers, sources
from skiptrace.corpora.card import Card, Notes, Tally
from skiptrace.corpora.compression import zstd
from skiptrace.corpora.docstrings import docstrings
from skiptrace.corpora.documents import Document, split_of
from skiptrace.errors import InputError
from skiptrace.tokens.existing import load_existing


def read(corpus: Corpus, name: str = "mine") -> list[Document]:
    return list(readers.read(corpus, name, Notes()))


def to_table(found: list[Document], valid_share: float, name: str, path: Path) -> pa.Table:
    documents.write(found, valid_share, name, Notes(), path)
    return pq.read_table(path)


def files(path: Path | str, **changed: object) -> FilesCorpus:
    return FilesCorpus(**{"kind": "files", "path": str(path), "valid_share": 0.3} | changed)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.txt", "b.md", "deep/c.txt", "deep/er/d.txt", "deep/skip/e.txt", ".hidden/f.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}\r\n", newline="")
    return tmp_path


def test_files_are_chosen_by_glob_sorted_and_named_by_their_path(folder):
    found = read(files(folder, include=["**/*.txt"], exclude=["**/skip/**"]), "mine")
    assert [d.source for d in found] == [".hidden/f.txt", "a.txt", "deep/c.txt", "deep/er/d.txt"]
    assert found[1].text == "text of a.txt\n"


def test_a_single_file_is_refused_since_it_cannot_be_split(folder):
    with pytest.raises(InputError, match=r"corpora\.mine\.path: .*b\.md is one file; give a folder"):
        read(files(folder / "b.md"), "mine")


def test_a_file_name_that_is_not_utf8_is_named(folder):
    (folder / "bad\udce9.txt").write_text("x")
    with pytest.raises(InputError, match=r"the file name 'bad\\udce9\.txt' is not UTF-8"):
        read(files(folder), "mine")


def test_a_file_that_is_not_utf8_is_named_with_its_first_wrong_byte(folder):
    (folder / "deep" / "bad.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InputError, match=r"deep/bad\.txt: not UTF-8 at byte 3"):
        read(files(folder), "mine")


@pytest.mark.parametrize("name", ["nowhere", "x" * 300, "x/" * 3000], ids=["missing", "too long", "too deep"])
def test_a_path_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(InputError, match=rf"corpora\.mine\.path: .*{name[-9:].strip('/')} does not exist"):
        read(files(tmp_path / name), "mine")
    with pytest.raises(InputError, match=r"tokenizers\.mine\.path: no tokenizer\.json"):
        load_existing(tmp_path / name, "<s>", "tokenizers.mine")


def package(*packages: str, **changed: object) -> PackagesCorpus:
    given = {"kind": "packages", "path": "x", "packages": packages, "include": ["**/*.py"], "valid_share": 0.1}
    return PackagesCorpus(**given | changed)


def test_a_package_gives_its_sources():
    import networkx

    corpus = package("networkx==3.6.1", include=["**/algorithms/cycles.py", "networkx/convert.py"])
    found = {d.source: d.text for d in read(corpus, "code")}
    assert list(found) == ["networkx/networkx/algorithms/cycles.py", "networkx/networkx/convert.py"]
    assert found["networkx/networkx/convert.py"] == (Path(networkx.__file__).parent / "convert.py").read_text()


def test_another_installed_version_is_an_error():
    with pytest.raises(InputError, match=r"corpora\.code\.packages: networkx==3\.0 is asked for but 3\.6\.1 is inst"):
        read(package("networkx==3.0"), "code")


def test_a_package_that_is_not_installed_is_an_error():
    with pytest.raises(InputError, match=r"corpora\.code\.packages: no-such-thing==1 is not installed"):
        read(package("no-such-thing==1"), "code")


SEGMENTS = st.text("ab.", min_size=1, max_size=3).filter(lambda s: s.strip("."))
GLOBS = st.lists(st.sampled_from(["**", "*", "a*", "?", "b", "*.a"]), min_size=1, max_size=3)
# Where a glob ends in `**` the standard library means folders; here only files are asked for.
GLOBS = GLOBS.filter(lambda parts: parts[-1] != "**").map("/".join)


@given(st.lists(st.lists(SEGMENTS, min_size=1, max_size=3), min_size=1, max_size=4), GLOBS)
def test_globs_match_as_the_standard_library_does(tmp_path_factory, paths, pattern):
    root = tmp_path_factory.mktemp("glob")
    for parts in paths:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        except OSError:
            continue  # one path is a prefix of another
    listed = glob.glob(pattern, root_dir=root, recursive=True, include_hidden=True)
    expected = {p.rstrip("/") for p in listed if (root / p).is_file()}
    present = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert {p for p in present if sources.matches(p, pattern)} == expected


def test_documents_keep_their_side_when_others_come_and_go(tmp_path):
    many = [Document(f"file{i:03d}.txt", f"x{i}") for i in range(400)]
    table = to_table(many, 0.2, "c", tmp_path / "all").to_pandas()
    sides = dict(zip(table["source"], table["split"], strict=True))
    fewer = to_table(many[::3], 0.2, "c", tmp_path / "fewer").to_pandas()
    assert all(sides[s] == side for s, side in zip(fewer["source"], fewer["split"], strict=True))
    assert 0.1 < (table["split"] == "valid").mean() < 0.3
    assert table["doc_id"].tolist() == list(range(400))
    assert table["source"].is_monotonic_increasing


@given(st.text(max_size=20), st.floats(0.01, 0.5), st.floats(0.5, 0.99))
def test_a_larger_share_only_adds_to_the_validation_side(source, small, large):
    assert split_of(source, large) == "valid" or split_of(source, small) == "train"


@pytest.mark.parametrize("found", [[], [Document("a", ""), Document("b", " \n")]])
def test_an_empty_corpus_is_named(found, tmp_path):
    with pytest.raises(InputError, match=r"corpora\.mine: empty corpus"):
        to_table(found, 0.5, "mine", tmp_path / "d.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_one_sided_split_is_named(tmp_path):
    with pytest.raises(InputError, match=r"corpora\.mine: none of its 1 documents falls into the (train|valid) split"):
        to_table([Document("a", "x")], 0.5, "mine", tmp_path / "d.parquet")


def test_texts_of_one_split_come_back_from_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "GROUP", 40)
    many = [Document(f"{i:02d}", f"text {i}") for i in range(50)]
    table = to_table(many, 0.3, "c", tmp_path / "d.parquet")
    assert pq.ParquetFile(tmp_path / "d.parquet").num_row_groups > 3
    assert [d.text for d in many] == table["text"].to_pylist()
    both = [list(documents.texts(tmp_path / "d.parquet", split)) for split in ("train", "valid")]
    assert sorted(both[0] + both[1]) == sorted(d.text for d in many)
    assert len(both[1]) == table["split"].to_pylist().count("valid")


ROWS = ["first text", "naïve café ∑\nline two", "third\r\ntext"]


def write_rows(folder: Path) -> None:
    """The same three texts as JSON lines, as Parquet, as plain files, and compressed."""
    lines = "".join(json.dumps({"body": t}) + "\n" for t in ROWS).encode()
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines[:-1], mtime=0))
    with pa.CompressedOutputStream(str(folder / "c.jsonl.zst"), "zstd") as file:
        file.write(lines)
    pq.write_table(pa.table({"id": [1, 2, 3], "body": ROWS}), folder / "d.parquet", row_group_size=2)
    for i, text in enumerate(ROWS):
        (folder / f"e{i}.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


@pytest.mark.parametrize("pattern", ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet"])
@pytest.mark.parametrize("single", [True, False], ids=["a file", "in a folder"])
def test_rows_of_every_kind_give_the_same_texts(tmp_path, pattern, single):
    write_rows(tmp_path)
    path = tmp_path / pattern if single else tmp_path
    found = read(files(path, include=[pattern], text_field="body"))
    assert [d.text for d in found] == ROWS
    assert [d.source for d in found] == [f"{pattern}#{i:09d}" for i in (1, 2, 3)]


def test_compressed_text_is_text(tmp_path):
    write_rows(tmp_path)
    found = read(files(tmp_path, include=["*.txt.gz"]))
    assert [d.text for d in found] == [t.replace("\r\n", "\n") for t in ROWS]


def test_any_address_of_fsspec_reads_as_a_folder_does(tmp_path):
    write_rows(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.put(f"{tmp_path}/", "/rows/deep/", recursive=True)
    at = files("memory://rows", include=["**/*.jsonl*", "**/*.parquet"], text_field="body")
    here = files(tmp_path, include=["**/*.jsonl*", "**/*.parquet"], text_field="body")
    assert [d.text for d in read(at)] == [d.text for d in read(here)]
    assert [d.source for d in read(at)] == [f"deep/{d.source}" for d in read(here)]
    one = files("memory://rows/deep/a.jsonl", text_field="body")
    assert [d.text for d in read(one)] == ROWS
    for address, message in (("memory://none", "does not exist"), ("sftq://x/y", "Protocol not known")):
        with pytest.raises(InputError, match=rf"corpora\.mine\.path: {address}.*{message}"):
            read(files(address))


class Failing(fsspec.AbstractFileSystem):
    """A file system whose connection is lost after the first bytes of every file."""

    protocol = "failing"

    def isfile(self, path: str) -> bool:
        return False

    def find(self, path: str, *given: object, **options: object) -> list[str]:
        return [f"{path}/a.txt"]

    def open(self, path: str, *given: object, **options: object) -> io.BytesIO:
        class Lost(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell():
                    raise RuntimeError("connection lost")
                return super().read(4)

        return Lost(b"some text")


def test_a_connection_that_is_lost_names_the_file():
    fsspec.register_implementation("failing", Failing, clobber=True)
    with pytest.raises(
        InputError, match=r"^corpora\.mine: texts/a\.txt cannot be read \(RuntimeError: connection lost\)"
    ):
        read(files("failing://texts"))


def test_a_data_set_on_disk_is_read_by_the_datasets_library(tmp_path):
    datasets = pytest.importorskip("datasets", reason="pip install -e '.[hub]'")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"body": ROWS, "n": [1, 2, 3]})
    datasets.DatasetDict({"train": rows, "test": rows.select([1])}).save_to_disk(tmp_path / "set")
    corpus = {"kind": "hub", "path": str(tmp_path / "set"), "text_field": "body", "valid_share": 0.1}
    assert [d.text for d in read(HubCorpus(**corpus))] == ROWS
    assert [d.source for d in read(HubCorpus(**corpus, split="test"))] == ["test#000000001"]
    gaps = datasets.Dataset.from_dict({"body": ["one", None, "two"]})
    gaps.save_to_disk(tmp_path / "gaps")
    assert [d.text for d in read(HubCorpus(**corpus | {"path": str(tmp_path / "gaps")}))] == ["one", "", "two"]
    with pytest.raises(InputError, match=r"corpora\.mine: no row has the field 'x'; set text_field; there is body, n"):
        read(HubCorpus(**corpus | {"text_field": "x"}))
    with pytest.raises(InputError, match=r"corpora\.mine: row 1 has no text in the field 'n'; set text_field"):
        read(HubCorpus(**corpus | {"text_field": "n"}))
    with pytest.raises(InputError, match=r"corpora\.mine\.path: cannot be loaded"):
        read(HubCorpus(**corpus | {"path": str(tmp_path)}))


def test_without_the_datasets_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the datasets library: pip install"):
        read(HubCorpus(kind="hub", path="x", valid_share=0.1))


@given(st.lists(st.text("ab\n", max_size=30)), st.integers(1, 12))
def test_pieces_of_text_join_to_the_text_and_end_at_lines(tmp_path_factory, parts, cut):
    path = tmp_path_factory.mktemp("cut") / "long.txt"
    text = "".join(parts)
    path.write_text(text)
    pieces = [d.text for d in read(files(path, cut=cut))]
    assert "".join(pieces) == text
    for piece in pieces[:-1]:
        assert len(piece) == 10 * cut or (
            piece.endswith("\n") and "\n" not in piece[cut - 1 : -1] and len(piece) >= cut
        )


def test_a_cut_never_falls_into_a_character_or_a_line_end(tmp_path, monkeypatch):
    from skiptrace.corpora import text

    monkeypatch.setattr(text, "BLOCK", 3)
    (tmp_path / "a.txt").write_bytes("é∑\r\n𝄞x\r\nyz".encode())
    assert [d.text for d in read(files(tmp_path, cut=1))] == ["é∑\n", "𝄞x\n", "yz"]


@pytest.mark.parametrize("policy", ["replace", "skip"])
def test_files_that_are_not_utf8_are_replaced_or_left_out_and_counted(tmp_path, policy):
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9 au lait")
    (tmp_path / "good.txt").write_text("café")
    notes = Notes()
    found = list(readers.read(files(tmp_path, encoding_errors=policy), "mine", notes))
    assert [d.text for d in found] == (["caf\ufffd au lait", "café"] if policy == "replace" else ["café"])
    counted, other = (notes.replaced, notes.skipped) if policy == "replace" else (notes.skipped, notes.replaced)
    assert (counted, other) == (Tally(1, ["bad.txt"]), Tally())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "x"}\n{"text": 3}\n',
            r"^corpora\.mine: a\.jsonl: line 2 has a number, no text, in the field 'text'; set",
        ),
        ("a.jsonl", b'{"text": "x"}\n\n{', r"line 3 is not JSON \(Expecting property name .* at column 2\)$"),
        ("a.jsonl", b'["x", 3]', r"a\.jsonl: value 2 has a number, no text, in the field 'text'"),
        ("a.jsonl", b'["x"; 3]', r"a\.jsonl: not JSON after value 1: a comma or \] is missing"),
        ("a.jsonl", b'["x", "y"', r"a\.jsonl: not JSON after value 2: the array does not end"),
        ("a.jsonl", b'["x", {"text": }', r"a\.jsonl: not JSON at value 2 \(Expecting value"),
        ("a.jsonl", b'["x"]\n["y"]', r"a\.jsonl: not JSON: more follows the end of its array"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl: not JSON at value 1"),
        ("a.jsonl", b'{"text": "\\ud800"}', r"a\.jsonl#000000001: spells half a character"),
        ("a.jsonl", b'{"txt": "x", "id": 1}\n' * 3, r"no row has the field 'text'; set .*; there is txt, id$"),
        (
            "a.csv",
            b"id,body\n1,x\n",
            r"a\.csv: has no column 'text'; set text_field, or format: text .*; there is id, body",
        ),
        ("a.csv", b"id,text\n1,x,y\n", r"a\.csv: row 1 has 3 columns, not 2 as its first line"),
        ("a.csv", b'id,text\n1,"x\n', r"a\.csv: not delimited columns \(unexpected end of data\)"),
        ("a.jsonl", b'{"text": "\xff"}', r"a\.jsonl: not UTF-8 at byte 10"),
        (
            "a.txt.bz2",
            bz2.compress(b"x" * 99)[:-4],
            r"a\.txt\.bz2: cannot be read \(.*\); copy or download it again, or exclude it$",
        ),
        ("a.txt.zst", zstd.compress(b"x" * 99)[:-4], r"a\.txt\.zst: cannot be read \(Compressed file ended"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}', mtime=0)[:-9], r"a\.jsonl\.gz: cannot be read"),
        ("a.jsonl.zst", b"no", r"a\.jsonl\.zst: not JSON at value 1"),
        ("a.parquet", b"PAR1", r"a\.parquet: cannot be read"),
        ("a.parquet", b"no", r"a\.parquet: not Parquet, which its name promises"),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), r"a\.parquet\.gz: Parquet is compressed already"),
        ("a.arrow", b"ARROW1\0\0", r"a\.arrow: cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_the_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(files(tmp_path, include=["*"]))


def test_a_parquet_without_text_names_its_columns(tmp_path):
    pq.write_table(pa.table({"id": [1], "body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(
        InputError, match=r"no column of text 'text'; set text_field; there is id \(int64\), body \(string\)"
    ):
        read(files(tmp_path, include=["*"]))


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    secret.write_text("secret")
    (folder / "in.txt").symlink_to(folder / "a.txt")
    assert "in.txt" in [d.source for d in read(files(folder))]
    (folder / "out.txt").symlink_to(secret)
    with pytest.raises(InputError, match=r"out\.txt is a link out of the folder"):
        read(files(folder))
    assert read(files(folder, exclude=["out.txt"]))


@pytest.mark.parametrize("pattern", ["../*.txt", "/etc/*", "**/../*.txt", "../../**/*"])
def test_globs_do_not_leave_the_folder(folder, pattern):
    inside = folder / "deep"
    with pytest.raises(InputError, match=r"corpora\.mine\.include: no file in .*deep matches .*; there is '"):
        read(files(inside, include=[pattern]))


def test_strings_of_sources_and_of_json(tmp_path):
    (tmp_path / "a.py").write_text('x = f(1, "God`s Spirit", {"k": b"no"})\nraise SystemExit("never run")\n')
    (tmp_path / "b.json").write_text(json.dumps({"key": ["one", {"deep": "two"}, 3, None]}))
    found = read(files(tmp_path, include=["*"], extract="strings", replace={"`": "'"}))
    # Literals in the order of a walk through the tree, level by level.
    assert [sorted(d.text.split("\n")) for d in found] == [["God's Spirit", "k", "never run"], ["one", "two"]]
    (tmp_path / "c.py").write_text("def (:")
    (tmp_path / "d.json").write_text('{"key": ')
    notes = Notes()
    assert len(list(readers.read(files(tmp_path, include=["*"], extract="strings"), "mine", notes))) == 2
    assert notes.unparsed == Tally(2, ["c.py", "d.json"])
    with pytest.raises(InputError, match=r"c\.py: no strings can be taken from it .*set syntax_errors: skip"):
        read(files(tmp_path, include=["*"], extract="strings", syntax_errors="refuse"))


MODULE = '''"""Of the module.

    >>> f("one",
    ...   "two")
    one
    <BLANKLINE>
    two

After the example.
"""
text = "no docstring"
class A:
    "Of a class."
    def f(self):
        """Either a or b:

            indented
        as above.
        """
        def inner(): "Of a function inside."
    async def g(self): "Of a class."
'''


PLACES = """
"module"
match x:
    case 1:
        def f(): "in a case"
try:
    def g(): "in a try"
except E:
    class H:
        "in a handler"
        async def h(self):
            "in a class"
else:
    def i(): "in an else"; (lambda: "none")
finally:
    if x:
        pass
    elif y:
        for k in z:
            with a:
                while 1:
                    def j(): "deep"; ["none" for _ in k]
"""


def test_docstrings_are_found_wherever_a_definition_may_stand():
    def every(code: str) -> list[str]:
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, documented)]
        ordered = sorted((n for n in found if ast.get_docstring(n)), key=lambda n: n.body[0].lineno)
        return [str(ast.get_docstring(node)) for node in ordered]

    assert docstrings(PLACES) == every(PLACES)
    assert len(docstrings(PLACES)) == 7
    own = Path(__file__).read_text(encoding="utf-8")
    assert docstrings(own) == every(own)


def test_docstrings_are_taken_once_in_order_and_without_their_indentation(tmp_path):
    (tmp_path / "a.py").write_text(MODULE)
    (tmp_path / "b.py").write_text('def f():\n    "Of a class."\n\ndef g():\n    "More."\n')
    (tmp_path / "c.py").write_text("def (:")
    (tmp_path / "d.txt").write_text("kept whole")
    notes = Notes()
    found = readers.read(files(tmp_path, include=["*"], extract="docstrings", doctests="drop"), "mine", notes)
    rest = "Of a class.\n\nEither a or b:\n\n    indented\nas above.\n\nOf a function inside."
    assert [d.text for d in found] == [f"Of the module.\n\nAfter the example.\n\n{rest}", "More.", "kept whole"]
    assert notes.repeated == Tally(2, ["a.py", "b.py"]) and notes.unparsed == Tally(1, ["c.py"])
    whole = read(files(tmp_path, include=["a.py"], extract="docstrings"))[0].text
    assert whole == inspect.cleandoc(ast.literal_eval(MODULE[: MODULE.index("\ntext")])) + f"\n\n{rest}"


SENTENCES = '''def f():
    """Return either the least
    or the largest value.

    Parameters
    ----------
    axis : int, optional
        The axis along which the values are compared (see
        `g`), counted from the last
        if it is negative.
    .. math:: x = a_{ij} + b_{ij} + c_{ij} + d.

    The axis along which.
    """
'''


def test_sentences_are_the_running_text_of_docstrings(tmp_path):
    (tmp_path / "a.py").write_text(SENTENCES)
    (tmp_path / "b.py").write_text(SENTENCES + "    def g(): 'Here is more that is said in words.'\n")
    notes = Notes()
    found = readers.read(files(tmp_path, include=["*"], extract="docstrings", paragraphs="sentences"), "mine", notes)
    first, second = (d.text for d in found)
    assert first.split("\n") == [
        "Return either the least or the largest value.",
        "The axis along which the values are compared (see `g`), counted from the last if it is negative.",
    ]
    assert second == "Here is more that is said in words." and notes.repeated == Tally(2, ["b.py"] * 2)


@pytest.mark.parametrize(("key", "value"), [("doctests", "drop"), ("paragraphs", "sentences")])
def test_keys_of_docstrings_belong_to_docstrings(tmp_path, key, value):
    with pytest.raises(ValueError, match=f"{key} has no meaning without extract: docstrings"):
        files(tmp_path, **{key: value})


def made_card(folder: Path, found: list[Document]) -> Card:
    path = folder / "d.parquet"
    written = documents.write(found, 0.5, "c", Notes(), path)
    return card.with_leak(written, lambda split: documents.texts(path, split))


def test_the_card_counts_what_was_left_out(tmp_path):
    many = [Document(f"{i}", f"text number {i}") for i in range(20)]
    found = made_card(tmp_path, [*many, Document("again", "text number 3"), Document("blank", " \n"), many[0]])
    assert (found.duplicates, found.empty) == (2, 1)
    assert found.train.documents + found.valid.documents == 20
    assert found.train.characters + found.valid.characters == sum(len(d.text) for d in many)
    assert (found.longest_source, found.longest_characters) == ("10", 14)
    card.write(tmp_path / "card.json", found)
    assert card.read(tmp_path / "card.json") == found
    (tmp_path / "card.json").write_text('{"train": {}}')
    with pytest.raises(InputError, match="not a corpus card"):
        card.read(tmp_path / "card.json")


def test_a_split_that_leaks_is_counted(tmp_path):
    shared = ["a line that is long enough to be recognised, one", "a line that is long enough to be recognised, two"]
    sides = {split: [f"{i}" for i in range(40) if split_of(f"{i}", 0.5) == split] for split in ("train", "valid")}
    own = "a line that stands nowhere else in all of this text "
    texts = dict.fromkeys(sides["train"], "short") | {s: f"{own}{s}\nshort" for s in sides["valid"]}
    texts = {s: f"{t} {s}" for s, t in texts.items()}
    texts[sides["train"][0]] = "\n".join(["  " + shared[0], shared[1]])
    texts[sides["valid"][0]] = "\n".join([*shared, own + "0"])  # two thirds: leaks
    texts[sides["valid"][1]] = "\n".join([shared[0], own + "1"])  # half: does not
    found = made_card(tmp_path, [Document(s, t) for s, t in texts.items()])
    assert (found.leaking, found.lines_seen) == (1, 3)
    assert found.lines == len(sides["valid"]) - 2 + 3 + 2
