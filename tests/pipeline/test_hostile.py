"""Revisions that somebody made to be compared: nothing of theirs is read from, or written to, anywhere else."""

import hashlib
import json
import re
import subprocess
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from skiptrace.command import revision as revisions
from skiptrace.errors import InputError
from tests.pipeline.conftest import Project, assert_one_line

BOMB = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghi"))


def revision(project: Project, files: dict[str, str], links: dict[str, str] | None = None) -> str:
    """A commit with these files instead of its own, which the workspace does not see."""
    index = {"GIT_INDEX_FILE": str(project.path / ".git" / "hostile")}

    def git(*command: str, text: str = "") -> str:
        done = subprocess.run(
            ["git", *command], cwd=project.path, env=project.environment(**index), input=text, text=True,
            capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("read-tree", "HEAD")
    for mode, changed in (("100644", files), ("120000", links or {})):
        for path, text in changed.items():
            blob = git("hash-object", "-w", "--stdin", text=text)
            git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}")
    return git("commit-tree", git("write-tree"), "-p", "HEAD", "-m", "hostile")


def with_model(project: Project, name: str, **changed: object) -> str:
    """The parameters with one model more."""
    params = project.params()
    params["models"][name] = params["models"]["one"] | changed
    return yaml.safe_dump(params, sort_keys=False)


@pytest.mark.parametrize("name", ["{}/out/x", "../../x", "a\0b"], ids=["absolute", "above", "NUL"])
def test_a_model_of_a_revision_has_a_name_and_no_path(ask, shared, tmp_path, name):
    name = name.format(tmp_path)
    told = ask(shared, "compare", revision(shared, {"params.yaml": with_model(shared, name)}))
    assert told.code == 1 and told.error.count("\n") == 1
    assert "a name is at most 100 letters, digits, _ and -" in told.error
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_a_revision_has_a_name_and_no_path(ask, shared):
    told = ask(shared, "compare", revision(shared, {"params.yaml": with_model(shared, "evil", corpus="../../../etc")}))
    assert_one_line(told, "params.yaml: models.evil.corpus: no name")


@pytest.mark.parametrize("file", ["params.yaml", "dvc.lock"])
def test_yaml_that_unfolds_without_end_is_refused_before_anybody_parses_it(ask, shared, file):
    assert_one_line(ask(shared, "compare", revision(shared, {file: BOMB})), f"{file}: its aliases")


ENDLESS = yaml.safe_dump(
    {
        "vars": ["bomb.yaml"],
        "stages": {
            "x": {"matrix": {axis: list(range(1000)) for axis in "abc"}, "cmd": "echo ${item.a}", "outs": ["x"]}
        },
    }
)


@pytest.mark.parametrize(
    "files",
    [
        {"other/more.dvc": BOMB, "deep/er/dvc.yaml": BOMB, "deep/dvc.lock": BOMB, "deep/params.yaml": BOMB},
        {"dvc.yaml": ENDLESS, "bomb.yaml": BOMB},
        {"other/x.dvc": yaml.safe_dump({"outs": [{"md5": "aa/../../../secret", "path": "x"}]})},
    ],
    ids=["bombs", "variables and a matrix without end", "a hash that is a path"],
)
def test_of_a_revision_dvc_parses_nothing(ask, shared, files):
    told = ask(shared, "compare", revision(shared, files), "HEAD", "--json")
    assert told.code == 0, told.error
    found = json.loads(told.out)
    assert found["notes"] == [] and len(found["models"]) == 3 and not any(m["difference"] for m in found["metrics"])


def test_a_lock_may_list_the_files_of_a_folder(ask, shared):
    """As DVC writes it where the remote keeps versions of files itself."""
    lock = yaml.safe_load((shared.path / "dvc.lock").read_text())
    for out in lock["stages"]["train@one"]["outs"]:
        if (md5 := out["md5"]).endswith(".dir"):
            listing = shared.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
            del out["md5"]
            out["files"] = json.loads(listing.read_text())
    assert any("files" in out for out in lock["stages"]["train@one"]["outs"])
    told = ask(shared, "compare", revision(shared, {"dvc.lock": yaml.safe_dump(lock)}), "HEAD", "--json")
    assert told.code == 0 and json.loads(told.out)["notes"] == [], told.error


@pytest.mark.parametrize("lock", ["stages: [1]", "stages: {a: {outs: [{path: x}]}}", "stages: {a: {outs: {b: c}}}"])
def test_a_lock_that_names_no_outputs_is_one_line(ask, shared, lock):
    assert_one_line(ask(shared, "compare", revision(shared, {"dvc.lock": lock})), "dvc.lock: an output has no path")


def test_what_the_cache_holds_under_a_hash_is_compared_with_it(ask, project):
    path = project.path / "data/models/one/model.safetensors"
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    cached = project.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    content = bytearray(cached.read_bytes())
    cached.unlink()
    content[-1] ^= 1
    cached.write_bytes(content)
    told = ask(project, "compare", "HEAD", "HEAD")
    assert_one_line(told, f"HEAD: data/models/one/model.safetensors: damaged, {cached} is not what its name says")


def test_what_is_fetched_of_a_revision_is_bounded(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project.path)
    with closing(revisions.Revision("HEAD", tmp_path)) as found:
        found.check()
        monkeypatch.setattr(found, "_left", 2000)
        with pytest.raises(InputError, match=r"HEAD: .*model.safetensors: more than 4 GB have to be fetched"):
            found.fetch(Path("data/models/one/model.safetensors"))
    with closing(revisions.Revision(revisions.WORKSPACE, tmp_path / "own")) as found:
        found.check()
        monkeypatch.setattr(found, "_left", 2000)
        assert found.fetch(Path("data/models/one/model.safetensors")).stat().st_size > 2000


def test_a_hash_that_is_a_path_opens_no_file_of_this_machine(ask, project, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("<svg>secret</svg>")
    # Content lies at <cache>/files/md5/<2>/<rest of the hash>.
    up = "/".join([".."] * 40)
    lock = (project.path / "dvc.lock").read_text()
    for path in ("reports/report.md", "data/tables/one/heads.parquet"):
        hostile = re.sub(rf"(path: {path}\n(?: .*\n)*?      md5: )[0-9a-f]+", rf"\1'aa{up}{secret}'", lock)
        assert hostile != lock
        told = ask(project, "compare", revision(project, {"dvc.lock": hostile}), "--html", "page.html")
        assert_one_line(told, "is no MD5 hash")
        assert not (project.path / "page.html").exists()


def test_a_list_of_files_that_names_other_files_is_refused(ask, project, tmp_path):
    """The listing of a folder is content of the cache, and so from whoever pushed it."""
    secret = tmp_path / "secret.svg"
    secret.write_text("<svg>secret</svg>")
    text = f'[{{"md5": "aa{"/".join([".."] * 40)}{secret}", "relpath": "secret.svg"}}]'
    md5 = hashlib.md5(text.encode()).hexdigest()
    cached = project.path / ".dvc/cache/files/md5" / md5[:2] / f"{md5[2:]}.dir"
    cached.parent.mkdir(exist_ok=True)
    cached.write_text(text)
    lock = yaml.safe_load((project.path / "dvc.lock").read_text())
    out = next(out for out in lock["stages"]["report"]["outs"] if out["path"] == "reports/figures")
    out["md5"] = f"{md5}.dir"
    told = ask(project, "compare", revision(project, {"dvc.lock": yaml.safe_dump(lock)}), "--html", "page.html")
    assert_one_line(told, "is no MD5 hash")
    assert not (project.path / "page.html").exists()


def with_content(project: Project, path: str, content: bytes) -> str:
    """A commit whose dvc.lock has other content of an output, which DVC's cache holds."""
    md5 = hashlib.md5(content).hexdigest()
    cached = project.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(content)
    lock = yaml.safe_load((project.path / "dvc.lock").read_text())
    next(out for stage in lock["stages"].values() for out in stage["outs"] if out["path"] == path)["md5"] = md5
    return revision(project, {"dvc.lock": yaml.safe_dump(lock)})


MANY = pa.repeat(pa.scalar(0, pa.int32()), 2000)
BOMBS = {
    "texts": pa.DictionaryArray.from_arrays(MANY, ["x" * 10**6]),
    "large texts": pa.DictionaryArray.from_arrays(MANY, pa.array(["x" * 10**6], pa.large_string())),
    "texts in lists": pa.ListArray.from_arrays([0, 2000], pa.DictionaryArray.from_arrays(MANY, ["x" * 10**6])),
    "numbers": pa.repeat(False, 130_000_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_table_of_a_revision_that_unfolds_without_end_stops_at_a_limit(ask, shared, tmp_path, kind):
    path = tmp_path / "heads.parquet"
    pq.write_table(pa.table({"name": BOMBS[kind]}), path, compression="zstd", store_schema="large" in kind)
    assert path.stat().st_size < 10**6
    told = ask(shared, "compare", with_content(shared, "data/tables/one/heads.parquet", path.read_bytes()))
    assert_one_line(told, "data/tables/one/heads.parquet: unfolds to more than 1 GB; check the revision out")


def test_twins_without_end_are_not_all_looked_for(ask, shared):
    params = shared.params()
    params["models"]["one"]["twins"] = 10**12
    assert ask(shared, "compare", revision(shared, {"params.yaml": yaml.safe_dump(params)}), "HEAD").code == 0


def test_a_link_in_a_revision_is_not_followed(ask, project):
    lock = yaml.safe_load((project.path / "dvc.lock").read_text())
    del lock["stages"]["summarise"]
    links = {"reports/metrics.json": str(project.path / "reports" / "metrics.json")}
    told = ask(project, "compare", revision(project, {"dvc.lock": yaml.safe_dump(lock)}, links))
    assert_one_line(told, "metrics.json: not readable as JSON")


def test_the_settings_of_a_revision_are_not_used(ask, project, tmp_path):
    """They could name a cache or a remote of somebody else."""
    other = tmp_path / "other"
    config = (project.path / ".dvc" / "config").read_text()
    config = config.replace("[cache]", f"[cache]\n    dir = {other}") + f"['remote \"evil\"']\n    url = {other}\n"
    name = revision(project, {".dvc/config": config.replace("[core]", "[core]\n    remote = evil")})
    told = ask(project, "compare", name, "HEAD", "--json")
    assert told.code == 0 and '"notes": []' in told.out, told.error
    assert not other.exists()


def test_what_a_revision_says_does_not_steer_the_terminal(ask, project):
    params = project.params()
    params["corpora"]["notes"]["include"] = ["\x1b]0;owned\x07*.txt"]
    name = revision(project, {"params.yaml": yaml.safe_dump(params)})
    told = ask(project, "compare", name)
    assert told.code == 0 and "\x1b" not in told.out + told.error and "\\x1b]0;owned\\x07*.txt" in told.out


def test_a_branch_whose_name_is_a_command_runs_nothing(project):
    from tests.pipeline.conftest import ROOT

    (project.path / "Makefile").write_text((ROOT / "Makefile").read_text())
    name = "x\"$(touch${IFS}pwned)`touch pwned`$(shell touch pwned);touch pwned;'"
    make = ("make", "--assume-old=.venv/.installed", "--assume-old=report", "ci-report")
    for done in (project.call(*make, f"BASE={name}"), project.call(*make, BASE=name)):
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (project.path / "pwned").exists()
        text = Path(project.path / "reports" / "comparison.md").read_text()
        assert text.startswith(f"# No comparison with {name}\n")
    assert project.call(*make, "BASE=--json").returncode == 0  # the name of a revision, and no option
