"""Check all of params.yaml before any work starts, and note which files of others it names.

Reads   params.yaml
        the packages that corpora name, their paths, and the first bytes of the first files there
        dvc.lock   restored where an interrupted DVC left half of it
        imports/   tokenizers and checkpoints made elsewhere; those of the Hugging Face Hub are fetched there, once
        skiptrace/, stages/   the code of every stage
Writes  data/checked   always the same content: nothing downstream reruns because of it.
        data/arithmetic   a digest of how this processor computes, so that dvc.lock says where it was written
        data/code/<stage>.json   the digest of every module that a stage imports, on which it depends
        data/imports/tokenizers/<c>, models/<m>   the hashes of the files that a corpus or model takes from imports/,
            on which its stage depends: DVC cannot depend on a path that only some entries of params.yaml have

What other stages wrote for keys that are gone from params.yaml is removed (DVC's cache keeps it): `summarise` and
`document` depend on whole folders. One output is marked `persist` in dvc.yaml: without it DVC would take outputs from
its cache of runs where params.yaml goes back to what it was, and not run this stage.
"""

import os
import shutil
import sys
from pathlib import Path

from skiptrace import arithmetic
from skiptrace.circuits.factored import refuse_unknown
from skiptrace.command import closure
from skiptrace.command.repair import repair
from skiptrace.config.base import load
from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.models import ImportedModel, ModelParams
from skiptrace.config.pipeline import Pipeline, load_pipeline, require_tracked
from skiptrace.config.repository import MODEL, TOKENIZER, repository
from skiptrace.corpora import sources
from skiptrace.errors import InputError
from skiptrace.files import atomic_folder, fetched_by, refuse_stub, sha256, write_text
from skiptrace.layout import ARITHMETIC, CODE, IMPORTED, IMPORTS, KEYED, MODELS, PARAMS, SCRATCH, TOKENS
from stages.common import run, wrote

NEVER_EMPTY = {".json", ".safetensors", ".pth", ".pt", ".bin"}  # another file of an import may be


def main() -> None:
    """Check the parameters."""
    for line in repair():
        print(line, file=sys.stderr)
    pipeline = load_pipeline(PARAMS)
    require_tracked(PARAMS, Path("dvc.yaml"))
    refuse_unknown(load(ExpansionParams, "expansion", PARAMS).kinds)
    check_dictionaries(pipeline)
    sources.check(pipeline.corpora)
    forget(pipeline)
    noted = {key: listing(path, key) for key, path in taken(pipeline).items()}
    with atomic_folder(IMPORTED) as folder:
        for key, content in noted.items():
            group, name, _ = key.split(".")
            write_text(folder / group / name, content)
    with atomic_folder(CODE) as folder:
        for stage in closure.stages(Path()):
            write_text(folder / f"{stage}.json", closure.written(Path(), stage))
    write_text(Path("data/checked"), "params.yaml is well formed\n")
    write_text(ARITHMETIC, arithmetic.signature())
    wrote(PARAMS, f"well formed: {len(pipeline.corpora)} corpora, {len(pipeline.models)} models")


def forget(pipeline: Pipeline) -> None:
    """Remove what stages wrote for keys that params.yaml no longer has; what is empty then stays as an empty folder."""
    for group, roots in KEYED.items():
        for root in roots:
            root.mkdir(parents=True, exist_ok=True)
        known = getattr(pipeline, group).keys()
        for folder in sorted(folder for root in roots for folder in root.glob("*/") if folder.name not in known):
            print(f"params.yaml no longer names {folder.name}: removing {folder}")
            shutil.rmtree(folder)


def taken(pipeline: Pipeline) -> dict[str, str | None]:
    """What each tokenizer and model takes from imports/, by its key; what is on the Hub is fetched first."""
    found: dict[str, str | None] = {}
    for name, tokenizer in pipeline.tokenizers.items():
        key, place = f"tokenizers.{name}.path", tokenizer.place(IMPORTS)
        found[key] = None if place is None else fetched(tokenizer.path or "", TOKENIZER, place, key)
    for name, model in pipeline.models.items():
        key = f"models.{name}.import"
        if isinstance(model, ImportedModel):
            source = model.source
            found[key] = fetched(source.path, source.file or MODEL, source.place(IMPORTS), key)
        else:
            found[key] = None
    return found


def fetched(path: str, purpose: str, place: Path, key: str) -> str:
    """A path in imports/, with what the repository of the Hugging Face Hub holds that `path` may name."""
    found = repository(path)
    if found is None:
        return path
    from skiptrace.models import hub  # where it is used: torch takes seconds to import

    hub.fetch(found, purpose, place, SCRATCH, f"{PARAMS}: {key}")
    return place.as_posix()


def listing(path: str | None, key: str) -> str:
    """`hash  name` of each file at a path in imports/; nothing where there is no path.

    Of a single checkpoint, config.json beside it, and the parts that an index names, are files of it.

    Raises:
        InputError: the path is not there, or leads out of imports/, which DVC would not watch, or is or holds a link, a
            device, a git-lfs pointer, an empty file, or a name that is no text.
    """
    if path is None:
        return "made here\n"
    if not path.isprintable():
        raise InputError(f"{PARAMS}: {key}: {path!a} has characters that do not belong in a path")
    root = Path(path)
    if not root.resolve().is_relative_to(IMPORTS.resolve()) or root.resolve() != Path.cwd().resolve() / root:
        raise InputError(f"{PARAMS}: {key}: {path} is not in {IMPORTS}/, which DVC watches; copy it there")
    # Unlike Path.exists, this takes a name that is too long for one that is not there.
    files = [root] if os.path.exists(root) else []
    if files and root.is_dir():
        files = sorted(p for p in root.rglob("*") if not p.is_dir() or p.is_symlink())
    elif files and key.startswith("models."):
        pattern = f"{root.name.partition('.')[0]}-*" if root.name.endswith(".index.json") else root.name
        files = sorted({root, *root.parent.glob("config.json"), *root.parent.glob(pattern)})
    if not files:
        raise InputError(f"{PARAMS}: {key}: no file at {path}{fetched_by(root)}")
    return "".join(f"{_hashed(file, key)}  {file.as_posix()}\n" for file in files)


def _hashed(file: Path, key: str) -> str:
    """The hash of one file of an import.

    Raises:
        InputError: it is a link, no regular file, a stub, or its name is no text.
    """
    if file.is_symlink():
        raise InputError(f"{PARAMS}: {key}: {file} is a link, behind which DVC does not see; copy the file")
    if not file.is_file():
        raise InputError(f"{PARAMS}: {key}: {file} is no regular file; take it out of {IMPORTS}/")
    if not str(file).isprintable():
        raise InputError(f"{PARAMS}: {key}: {str(file)!a} has characters that do not belong in a path; rename it")
    if file.stat().st_size or file.suffix in NEVER_EMPTY:
        refuse_stub(file)
    return sha256(file)


def check_dictionaries(pipeline: Pipeline) -> None:
    """Compare the paths that `dictionaries` names for DVC with what the pipeline makes there.

    Raises:
        InputError: no model of the pipeline is there, it has no heads, or it reads another corpus.
    """
    for name, dictionary in pipeline.dictionaries.items():
        if not isinstance(dictionary, ModelDictionaryParams):
            continue
        key, model = f"{PARAMS}: dictionaries.{name}", pipeline.models.get(dictionary.model)
        if model is None or Path(dictionary.source) != MODELS / dictionary.model:
            known = ", ".join(str(MODELS / m) for m in pipeline.models)
            raise InputError(f"{key}.source: no model at {dictionary.source!r}; there is {known}")
        if isinstance(model, ModelParams) and model.n_layers == 0:
            raise InputError(f"{key}.source: model {dictionary.model} has no heads to take apart")
        if Path(dictionary.data) != TOKENS / model.corpus:
            tokens = TOKENS / model.corpus
            raise InputError(f"{key}.data: model {dictionary.model} reads {tokens}, not {dictionary.data!r}")


if __name__ == "__main__":
    run(main)
