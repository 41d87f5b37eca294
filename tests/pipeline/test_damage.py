"""Damage that DVC does not look for, since a file's time and size have stayed."""

import json
import os
import shutil
from pathlib import Path

from skiptrace.command.damage import remove, verify_outputs


def flip(path, at: int = -30) -> None:
    """Flip a bit where the file lies, links to it included, and leave its time."""
    about = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    path.chmod(about.st_mode)


def test_damage_is_found_wherever_it_is_and_what_was_removed_is_made_again(project, monkeypatch):
    monkeypatch.chdir(project.path)
    path = Path("data/ngrams/notes/bigrams.parquet")
    content = path.read_bytes()
    objects = project.path / ".dvc" / "cache" / "files" / "md5"
    cached = next(p for p in objects.rglob("*") if p.is_file() and p.read_bytes() == content)
    listing = next(p for p in objects.rglob("*.dir") if '"relpath": "bigrams.parquet"' in p.read_text())
    for place in (path, cached):  # a copy each instead of links, so that one can be damaged alone
        about = place.stat()
        shutil.copy2(place, place.with_name("copy"))
        os.replace(place.with_name("copy"), place)
        os.utime(place, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert verify_outputs().damaged == [] and verify_outputs().files > 100
    other = objects / "d4" / "1d8cd98f00b204e9800998ecf8427e"  # of another version: its log of runs may name it
    other.parent.mkdir(exist_ok=True)
    other.touch()
    assert verify_outputs().damaged == []
    other.write_bytes(bytes(40))
    assert verify_outputs().damaged == [other]
    other.unlink()
    for damaged in ([cached], [path], [cached, path], [listing]):
        for place in damaged:
            flip(place)
        assert verify_outputs().damaged == damaged
        for place in damaged:
            flip(place)
    flip(cached)
    flip(path)
    remove(verify_outputs().damaged)
    assert project.repro("ngrams@notes") == {"ngrams@notes"}
    assert path.read_bytes() == cached.read_bytes() == content
    assert verify_outputs().damaged == []


def test_damage_from_before_dvc_hashed_it_is_found_too(project, ask):
    path = project.path / "data" / "ngrams" / "notes" / "bigrams.parquet"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    flip(path)
    project.dvc("commit", "--force", "ngrams@notes")
    told = ask(project, "doctor", "--verify", "--json")
    found = next(check for check in json.loads(told.out)["checks"] if check["name"] == "outputs")
    assert told.code == 1 and found["state"] == "wrong"
    assert "2 of " in found["found"] and "`skiptrace doctor --verify --repair` removes them" in found["found"]
    told = ask(project, "doctor", "--verify", "--repair", "--json")
    assert told.code == 0 and "removed, `dvc repro` makes them again" in told.out
    assert project.repro("ngrams@notes") == {"ngrams@notes"}
    assert path.read_bytes() == content


def test_doctor_notices_and_restores_a_broken_lock(project, ask):
    (project.path / "dvc.lock").write_bytes(b"")
    told = ask(project, "doctor", "--json")
    assert told.code == 1
    checks = {check["name"]: check for check in json.loads(told.out)["checks"]}
    assert checks["dvc.lock"]["found"] == "dvc.lock is empty; `skiptrace doctor --repair` restores it"
    # What else reads it says so, and is not wrong because of it.
    assert checks["arithmetic"]["state"] == checks["disk"]["state"] == "fine"
    assert checks["arithmetic"]["found"].endswith("kernels; no complete dvc.lock says which it was written with")
    assert checks["disk"]["found"].endswith("GB free; no complete dvc.lock says what outputs take")
    told = ask(project, "doctor", "--repair", "--json")
    checks = {check["name"]: check for check in json.loads(told.out)["checks"]}
    assert told.code == 0 and "restored from data/scratch/sound.lock" in checks["dvc.lock"]["found"]
    assert "dvc.lock was written" in checks["arithmetic"]["found"]  # here, or on another kind of processor
    assert "the outputs of one version take" in checks["disk"]["found"]
