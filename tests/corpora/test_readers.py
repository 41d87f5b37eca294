import glob
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.config.corpora import FilesCorpus, PackagesCorpus
from skiptrace.corpora import documents, readers
from skiptrace.corpora.documents import Document, split_of, to_table
from skiptrace.errors import InputError


def files(path: Path, **changed: object) -> FilesCorpus:
    return FilesCorpus(**{"kind": "files", "path": str(path), "valid_share": 0.3} | changed)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.txt", "b.md", "deep/c.txt", "deep/er/d.txt", "deep/skip/e.txt", ".hidden/f.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}\r\n", newline="")
    return tmp_path


def test_files_are_chosen_by_glob_sorted_and_named_by_their_path(folder):
    found = list(readers.read(files(folder, include=["**/*.txt"], exclude=["**/skip/**"]), "mine"))
    assert [d.source for d in found] == [".hidden/f.txt", "a.txt", "deep/c.txt", "deep/er/d.txt"]
    assert found[1].text == "text of a.txt\n"


def test_a_single_file_is_refused_since_it_cannot_be_split(folder):
    with pytest.raises(InputError, match=r"corpora\.mine\.path: .*b\.md is one file; give a folder"):
        list(readers.read(files(folder / "b.md"), "mine"))


def test_a_file_name_that_is_not_utf8_is_named(folder):
    (folder / "bad\udce9.txt").write_text("x")
    with pytest.raises(InputError, match=r"the file name 'bad\\udce9\.txt' is not UTF-8"):
        list(readers.read(files(folder), "mine"))


def test_a_file_that_is_not_utf8_is_named_with_its_first_wrong_byte(folder):
    (folder / "deep" / "bad.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InputError, match=r"deep/bad\.txt: not UTF-8 at byte 3"):
        list(readers.read(files(folder), "mine"))


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"corpora\.mine\.path: .*nowhere does not exist"):
        list(readers.read(files(tmp_path / "nowhere"), "mine"))


def package(*packages: str, **changed: object) -> PackagesCorpus:
    given = {"kind": "packages", "path": "x", "packages": packages, "include": ["**/*.py"], "valid_share": 0.1}
    return PackagesCorpus(**given | changed)


def test_a_package_gives_its_sources():
    import networkx

    corpus = package("networkx==3.6.1", include=["**/algorithms/cycles.py", "networkx/convert.py"])
    found = {d.source: d.text for d in readers.read(corpus, "code")}
    assert list(found) == ["networkx/networkx/algorithms/cycles.py", "networkx/networkx/convert.py"]
    assert found["networkx/networkx/convert.py"] == (Path(networkx.__file__).parent / "convert.py").read_text()


def test_another_installed_version_is_an_error():
    with pytest.raises(InputError, match=r"corpora\.code\.packages: networkx==3\.0 is asked for but 3\.6\.1 is inst"):
        list(readers.read(package("networkx==3.0"), "code"))


def test_a_package_that_is_not_installed_is_an_error():
    with pytest.raises(InputError, match=r"corpora\.code\.packages: no-such-thing==1 is not installed"):
        list(readers.read(package("no-such-thing==1"), "code"))


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
    assert {p for p in present if readers.matches(p, pattern)} == expected


def test_documents_keep_their_side_when_others_come_and_go():
    many = [Document(f"file{i}.txt", "x") for i in range(400)]
    table = to_table(many, 0.2, "c").to_pandas()
    sides = dict(zip(table["source"], table["split"], strict=True))
    fewer = to_table(many[::3], 0.2, "c").to_pandas()
    assert all(sides[s] == side for s, side in zip(fewer["source"], fewer["split"], strict=True))
    assert 0.1 < (table["split"] == "valid").mean() < 0.3
    assert table["doc_id"].tolist() == list(range(400))
    assert table["source"].is_monotonic_increasing


@given(st.text(max_size=20), st.floats(0.01, 0.5), st.floats(0.5, 0.99))
def test_a_larger_share_only_adds_to_the_validation_side(source, small, large):
    assert split_of(source, large) == "valid" or split_of(source, small) == "train"


@pytest.mark.parametrize("found", [[], [Document("a", ""), Document("b", " \n")]])
def test_an_empty_corpus_is_named(found):
    with pytest.raises(InputError, match=r"corpora\.mine: empty corpus"):
        to_table(found, 0.5, "mine")


def test_a_one_sided_split_is_named():
    with pytest.raises(InputError, match=r"corpora\.mine: none of its 1 documents falls into the (train|valid) split"):
        to_table([Document("a", "x")], 0.5, "mine")


def test_texts_of_one_split(tmp_path):
    from skiptrace.files import write_table

    many = [Document(f"{i}", f"text {i}") for i in range(50)]
    table = to_table(many, 0.3, "c")
    write_table(tmp_path / "d.parquet", table)
    both = documents.texts(tmp_path / "d.parquet", "train"), documents.texts(tmp_path / "d.parquet", "valid")
    assert sorted(both[0] + both[1]) == sorted(d.text for d in many)
    assert len(both[1]) == table["split"].to_pylist().count("valid")
