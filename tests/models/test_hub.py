"""Repositories of the Hugging Face Hub, fetched by its real client from a server that speaks the hub's protocol."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from skiptrace.config.models import check_model
from skiptrace.config.pipeline import Pipeline, load_pipeline
from skiptrace.config.repository import MODEL, TOKENIZER, Repository, repository
from skiptrace.errors import InputError
from skiptrace.models import formats, hub
from skiptrace.models.importing import import_model
from stages.check import listing, taken
from tests.models.conftest import write_gpt2, write_lens

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/attn_only_2l"


class Hub(ThreadingHTTPServer):
    """One repository, and what was asked of it; `broken` cuts the first transfer of so many bytes in two."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.gated = False
        self.lies = False
        self.broken = 0


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, hub = self.path.partition("?")[0], self.server
        hub.asked.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/api/models/someone/renamed"):
            self.answer(307, Location=path.replace("someone/renamed", NAME))
        elif not path.startswith((f"/api/models/{NAME}/", f"/{NAME}/resolve/")):
            self.answer(401, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        elif path.startswith("/api"):
            self.listing(path.rpartition("/")[2])
        else:
            self.file(path.removeprefix(f"/{NAME}/resolve/{COMMIT}/"))

    def listing(self, revision: str) -> None:
        if revision not in (COMMIT, "main"):
            self.answer(404, b"{}", X_Error_Code="RevisionNotFound", X_Error_Message="No revision")
            return
        siblings: list[dict[str, object]] = []
        for name, content in self.server.files.items():
            lfs = {"sha256": self.digest(content), "size": len(content), "pointerSize": 1}
            siblings.append(
                {"rfilename": name, "size": len(content)} | ({} if name.endswith(".json") else {"lfs": lfs})
            )
        found = {"_id": "0", "id": NAME, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
        self.answer(200, json.dumps(found | {"siblings": siblings}).encode(), Content_Type="application/json")

    def digest(self, content: bytes) -> str:
        return "f" * 64 if self.server.lies else hashlib.sha256(content).hexdigest()

    def file(self, name: str) -> None:
        content = self.server.files[name]
        if self.server.gated:
            self.answer(403, b"{}", X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
            return
        known = {"X_Repo_Commit": COMMIT, "ETag": f'"{self.digest(content)}"', "Accept_Ranges": "bytes"}
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked:
            known["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET" and len(content) == self.server.broken:
            self.server.broken = 0
            self.send_response(200)
            for header, value in (known | {"Content_Length": str(len(content))}).items():
                self.send_header(header.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.answer(206 if asked else 200, content[start:], **known)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    found = Hub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{found.server_port}")
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def put(server: Hub, folder: Path) -> None:
    server.files |= {path.name: path.read_bytes() for path in folder.iterdir()}


def fetch(tmp_path: Path, purpose: str = MODEL, name: str = NAME, revision: str = COMMIT) -> Path:
    asked = Repository(name, revision)
    folder = tmp_path / "imports" / asked.folder(purpose.replace("/", "_"))
    hub.fetch(asked, purpose, folder, tmp_path / "scratch", "models.m.import")
    return folder


def test_named_files_of_one_commit_are_fetched_once(server, tmp_path):
    write_lens(tmp_path / "theirs")
    put(server, tmp_path / "theirs")
    server.files |= {"README.md": b"a", "model_final.pth": server.files.pop("model.pth"), "model_init.pth": b"b"}
    server.files |= {"vocab.json": b"{}", "merges.txt": b"", "modeling.py": b"c", "checkpoints/early.pth": b"early"}
    folder = fetch(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model_final.pth"]
    assert import_model(folder, None, 0).d_vocab == 23
    assert not any((tmp_path / "scratch").rglob("*.pth"))
    assert sorted(p.name for p in fetch(tmp_path, TOKENIZER).iterdir()) == ["merges.txt", "vocab.json"]
    early = fetch(tmp_path, "checkpoints/early.pth")
    assert sorted(path.name for path in early.iterdir()) == ["config.json", "early.pth"]
    asked = len(server.asked)
    server.shutdown()
    assert fetch(tmp_path) == folder and len(server.asked) == asked  # no network any more
    assert not any(name.endswith((".py", ".md", "init.pth")) for _, name, _ in server.asked)


def test_what_params_name_is_fetched_into_imports_and_its_hashes_are_noted(server, tmp_path, monkeypatch):
    write_lens(tmp_path / "theirs")
    put(server, tmp_path / "theirs")
    monkeypatch.chdir(tmp_path)
    model = check_model({"corpus": "c", "import": f"hub:{NAME}@{COMMIT}"}, "models.m", tmp_path)
    noted = taken(Pipeline({}, {}, {"m": model}, {}))
    place = f"imports/hub/{NAME}/{COMMIT}/model"
    assert noted == {"models.m.import": place} and str(model.source.place(Path("imports"))) == place
    lines = listing(place, "models.m.import").splitlines()
    digest = hashlib.sha256(server.files["model.pth"]).hexdigest()
    assert lines[1] == f"{digest}  {place}/model.pth" and len(lines) == 2
    # A file that is named takes its config along, and an index its parts.
    assert len(listing(f"{place}/model.pth", "models.m.import").splitlines()) == 2


def test_the_lines_of_known_models_in_the_docs_are_well_formed(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (lines,) = re.findall(r"^```yaml known-models\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ours = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    pasted = yaml.safe_load(lines.replace("COMMIT", COMMIT))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(ours | {k: {**ours[k], **v} for k, v in pasted.items()}))
    pipeline = load_pipeline(tmp_path / "params.yaml")
    named = {repository(pipeline.models[name].source.path).name for name in pasted["models"]}
    table = page[page.index("| Repository |") : page.index("The lines to paste")]
    assert len(named) == 20 and {name.split("/")[0] for name in named} == set(
        re.findall(r"^\| `([\w-]+)/", table, re.MULTILINE)
    )
    assert pipeline.models["arena"].source.config in formats.KNOWN


def test_parts_come_by_their_index(server, tmp_path):
    write_gpt2(tmp_path / "theirs")
    put(server, tmp_path / "theirs")
    content = server.files.pop("model.safetensors")
    names = [n for n in json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]) if n != "__metadata__"]
    part = "model-00001-of-00001.safetensors"
    index = {"weight_map": dict.fromkeys(names, part)}
    server.files |= {part: content, "model.safetensors.index.json": json.dumps(index).encode()}
    assert import_model(fetch(tmp_path), None, 0).d_vocab == 23


def test_an_interrupted_download_continues_where_it_stopped(server, tmp_path, monkeypatch):
    server.files |= {"config.json": b"{}", "model.pth": bytes(range(250)) * 400}
    # A transfer that breaks, in the same process; then what another process left.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.broken = 100_000
    assert (fetch(tmp_path / "first") / "model.pth").read_bytes() == server.files["model.pth"]
    part = tmp_path / "second" / "scratch" / Repository(NAME, COMMIT).folder(MODEL)
    part.mkdir(parents=True)
    (part / "model.pth").write_bytes(server.files["model.pth"][:70_000])
    assert (fetch(tmp_path / "second") / "model.pth").read_bytes() == server.files["model.pth"]
    ranges = [asked for command, name, asked in server.asked if command == "GET" and name.endswith(".pth")]
    assert ranges == [None, "bytes=50000-", "bytes=70000-"]


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        ({}, {"name": "someone/missing"}, "no such repository, or a private one that needs your token"),
        ({}, {"name": "someone/renamed"}, rf"the repository is named {NAME} now; write hub:{NAME}@{COMMIT}"),
        ({}, {"revision": "main"}, rf"a branch or tag, which may change; it is hub:{NAME}@{COMMIT} today"),
        ({}, {"revision": "f" * 40}, "the repository has no such revision"),
        ({}, {"purpose": TOKENIZER}, r"no tokenizer\.json, nor vocab\.json and merges\.txt"),
        ({}, {"purpose": "other.pth"}, r"no file other\.pth in the repository; there is config\.json, model\.pth"),
        ({}, {"purpose": "config.json"}, r"config\.json has not the name of a checkpoint"),
        ({"gated": True}, {}, "gated: accept its terms on its page"),
        ({"lies": True}, {}, r"model\.pth arrived damaged: its SHA-256 is not what the hub says"),
        ({"files": {"a.pth": b"a", "b.pth": b"b"}}, {}, r"several checkpoints, a\.pth, b\.pth; .* the key file"),
        ({"files": {"README.md": b"a"}}, {}, "no checkpoint"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(server, tmp_path, change, asked, message):
    server.files = {"config.json": b"{}", "model.pth": b"x" * 100}
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(InputError, match=rf"^models\.m\.import: hub:\S+: {message}") as raised:
        fetch(tmp_path, **asked)
    assert "\n" not in str(raised.value) and not (tmp_path / "imports").exists()


def test_without_a_network_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="not fetched yet, and the hub cannot be reached") as raised:
        fetch(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["hub:a/b", "hub:../b@c", "hub:a/b@..", "hub:a/b/c@d", "hub:a/b@x/../../y", "hub:@"])
def test_a_name_that_is_none_is_refused_in_params(tmp_path, path):
    with pytest.raises(ValueError, match="expected hub:NAME@COMMIT"):
        repository(path)
    with pytest.raises(InputError, match=r"models\.m\.import: expected hub:NAME@COMMIT"):
        check_model({"corpus": "c", "import": path}, "models.m", tmp_path)
    with pytest.raises(InputError, match=r"models\.m\.import: file has no meaning beside a path"):
        check_model({"corpus": "c", "import": {"path": "imports/a", "file": "b"}}, "models.m", tmp_path)
