"""Which files a corpus is made of: links, strange files, versions; and what is found before work starts."""

import os
import socket
from importlib import metadata
from pathlib import Path

import pytest

from skiptrace.config.corpora import FilesCorpus, PackagesCorpus
from skiptrace.corpora import documents, readers, sources
from skiptrace.corpora.card import Notes, Tally
from skiptrace.errors import InputError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def files(path: Path | str, **changed: object) -> FilesCorpus:
    return FilesCorpus(**{"kind": "files", "path": str(path), "valid_share": 0.3} | changed)


def named(path: Path | str, notes: Notes | None = None, **changed: object) -> list[str]:
    found = readers.read(files(path, **changed), "mine", Notes() if notes is None else notes)
    return [document.source for document in found]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "root"
    for name in ("a.txt", "deep/b.txt", "deep/er/c.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    return root


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["path", "address"])
def test_linked_folders_are_followed(folder, scheme):
    (folder / "linked").symlink_to(folder / "deep")
    expected = ["a.txt", "deep/b.txt", "deep/er/c.txt", "linked/b.txt", "linked/er/c.txt"]
    assert named(f"{scheme}{folder}") == expected
    assert named(f"{scheme}{folder}", exclude=["deep/**"]) == ["a.txt", *expected[3:]]


def test_loops_of_links_end(folder):
    (folder / "self").symlink_to(folder)
    (folder / "deep" / "up").symlink_to("..")
    (folder / "other").mkdir()
    (folder / "other" / "one").symlink_to(folder / "deep")
    (folder / "deep" / "two").symlink_to(folder / "other")
    found = named(folder)
    assert {Path(name).name for name in found} == {"a.txt", "b.txt", "c.txt"} and len(found) < 20


def test_links_within_each_other_end(folder):
    for i in range(12):
        (folder / f"step{i}").mkdir()
        for name in ("x", "y"):
            (folder / f"step{i}" / name).symlink_to(folder / f"step{i + 1}")
    (folder / "step12").mkdir()
    (folder / "step12" / "d.txt").write_text("x")
    with pytest.raises(InputError, match=r"corpora\.mine: .*more than 8 linked folders in each other"):
        named(folder)


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["path", "address"])
def test_a_linked_folder_elsewhere_is_refused_where_it_could_hold_documents(folder, scheme):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "d.txt").write_text("x")
    (folder / "deep" / "out").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"corpora\.mine: .*deep/out is a link out of the folder; copy"):
        named(f"{scheme}{folder}")
    assert named(f"{scheme}{folder}", exclude=["deep/out/**"]) == ["a.txt", "deep/b.txt", "deep/er/c.txt"]
    assert named(f"{scheme}{folder}", include=["*.txt"]) == ["a.txt"]
    assert named(f"{scheme}{folder}", include=["deep/*.txt"]) == ["deep/b.txt"]


def test_a_link_to_nothing_is_named(folder):
    (folder / "gone.txt").symlink_to("nowhere")
    (folder / "round.txt").symlink_to("round.txt")
    with pytest.raises(InputError, match=r"gone\.txt is a link that leads nowhere; remove it or exclude it"):
        named(folder)
    with pytest.raises(InputError, match=r"round\.txt is a link that leads nowhere"):
        named(folder, exclude=["gone.txt"])
    assert len(named(folder, exclude=["gone.txt", "round.txt"])) == 3


def test_what_is_no_file_is_named_and_never_waited_for(folder):
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(InputError, match=r"pipe\.txt is a pipe, socket or device, not a file"):
        named(folder)
    with pytest.raises(InputError, match=r"corpora\.mine\.path: .*pipe\.txt is neither a file nor a folder"):
        named(folder / "pipe.txt", cut=10)
    (folder / "pipe.txt").unlink()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "door.txt"))
        with pytest.raises(InputError, match=r"door\.txt is a pipe, socket or device"):
            named(folder)
    with pytest.raises(InputError, match=r"/dev/zero is neither a file nor a folder"):
        named("/dev/zero", cut=10)


def test_names_may_be_strange(folder):
    long = "n" * 246 + ".txt"
    for name in (long, "line\nbreak.txt", "-rf.txt", "a b.txt"):
        (folder / name).write_text("x")
    assert {long, "line\nbreak.txt", "-rf.txt", "a b.txt"} < set(named(folder))
    with pytest.raises(InputError, match="does not exist"):
        named(f"{folder}/a\0b")


def test_what_globs_leave_out_is_counted(folder):
    for name in ("notes.md", "STORY.TXT", "bad\udce9.md"):
        (folder / name).write_text("x")
    notes = Notes()
    assert named(folder, notes, exclude=["deep/**"]) == ["a.txt"]
    assert notes.unselected == Tally(5, ["STORY.TXT", r"bad\udce9.md", "deep/b.txt", "deep/er/c.txt", "notes.md"])


def test_an_empty_corpus_says_what_was_left_out(folder):
    (folder / "blank.md").write_text(" \n")
    notes = Notes()
    found = readers.read(files(folder, include=["*.md"]), "mine", notes)
    with pytest.raises(InputError, match=r"no file that matches include has text; 3 do not match, such as 'a\.txt'"):
        documents.write(found, 0.5, "mine", notes, folder.parent / "documents.parquet")


def test_globs_that_select_nothing_are_known_before_work_starts(folder):
    with pytest.raises(
        InputError, match=r"^corpora\.mine\.include: no file in .* matches \*\.text; there is 'a\.txt'$"
    ):
        sources.check({"mine": files(folder, include=["*.text"])})


def test_a_file_that_is_refused_is_named_with_its_corpus(folder):
    (folder / "a.txt").write_text("PK\x03\x04")
    with pytest.raises(InputError, match=r"^corpora\.mine: a\.txt: a zip archive"):
        sources.check({"mine": files(folder)})


def test_a_separator_makes_one_file_many_documents(folder):
    with pytest.raises(InputError, match=r"is one file; give a folder.*or set cut or separator"):
        named(folder / "a.txt")
    assert named(folder / "a.txt", separator=" of ") == ["a.txt#000000001", "a.txt#000000002"]


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Install a package, as far as its metadata and one file go."""
    info = tmp_path / f"prose-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: prose\nVersion: {version}\n")
    (info / "RECORD").write_text("prose/a.txt,,\n")
    (tmp_path / "prose").mkdir()
    (tmp_path / "prose" / "a.txt").write_text("x")
    monkeypatch.syspath_prepend(tmp_path)


def packages(*wanted: str, **changed: object) -> PackagesCorpus:
    given = {"kind": "packages", "path": "/", "packages": wanted, "include": ["**/*.txt"], "valid_share": 0.1}
    return PackagesCorpus(**given | changed)


@pytest.mark.parametrize(
    ("installed", "asked", "same"),
    [
        ("2.13.0+cpu", "2.13.0", True),
        ("2.13.0", "2.13.0", True),
        ("2.13", "2.13.0", True),
        ("2.13.0rc1", "2.13.0rc1", True),
        ("2.13.0+cpu", "2.13.0+cu126", False),
        ("2.13.0", "2.13.0+cpu", False),
        ("2.13.0.post1", "2.13.0", False),
        ("2.13.0rc1", "2.13.0", False),
    ],
)
def test_versions_are_equal_as_installers_say(tmp_path, monkeypatch, installed, asked, same):
    package(tmp_path, monkeypatch, installed)
    corpus = packages(f"prose=={asked}")
    if same:
        assert [d.source for d in readers.read(corpus, "mine", Notes())] == ["prose/prose/a.txt"]
        sources.check({"mine": corpus})
        return
    message = rf"corpora\.mine\.packages: prose=={asked} is asked for but .* is installed".replace("+", r"\+")
    for attempt in (lambda: list(readers.read(corpus, "mine", Notes())), lambda: sources.check({"mine": corpus})):
        with pytest.raises(InputError, match=message):
            attempt()


def test_the_installed_torch_is_the_one_asked_for():
    version = metadata.version("torch").partition("+")[0]
    assert sources.package_files(f"torch=={version}", packages("x==1", include=["torch/version.py"]), "mine")


@pytest.mark.parametrize("wrong", ["prose==", "prose==2.*", "prose==new", "==1", "prose"])
def test_a_package_is_pinned_to_one_version(wrong):
    with pytest.raises(ValueError, match="each package must read name==version"):
        packages(wrong)


def test_a_package_of_which_nothing_matches_is_named(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "1.0")
    with pytest.raises(InputError, match=r"corpora\.mine\.packages: no file of prose==1\.0 matches include"):
        sources.check({"mine": packages("prose==1.0", include=["*.py"])})


def zipped(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"PK\x03\x04")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: None, None),
        (lambda folder: (folder / "a.txt").write_text(POINTER), r"a\.txt: a pointer of git-lfs"),
        (lambda folder: (folder / "a.txt").unlink() or (folder / "a.txt").symlink_to("x"), "leads nowhere"),
        (zipped, r"a\.txt: a zip archive, not text"),
        (lambda folder: folder.rename(folder.parent / "gone"), r"corpora\.mine\.path: .*root does not exist"),
    ],
    ids=["sound", "pointer", "link", "archive", "gone"],
)
def test_what_would_stop_reading_is_found_before_it(folder, change, message):
    change(folder)
    if message is None:
        sources.check({"mine": files(folder)})
        return
    with pytest.raises(InputError, match=message):
        sources.check({"mine": files(folder)})
    with pytest.raises(InputError, match=message):
        named(folder)


def test_what_is_skipped_or_elsewhere_is_no_reason_to_stop(folder):
    zipped(folder)
    sources.check({"mine": files(folder, encoding_errors="skip"), "far": files("memory://nowhere")})
