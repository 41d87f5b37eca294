"""Where a pipeline keeps what it reads and writes, relative to its folder: known to stages and the command alone."""

from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("requirements.lock")
OTHER_LOCKS = (Path("requirements-build.lock"), Path("requirements-torch-cpu.lock"))
IMPORTS = Path("imports")  # tokenizers and checkpoints made elsewhere
IMPORTED = Path("data/imports")  # their content hashes, one file for each corpus and model
ARITHMETIC = Path("data/arithmetic")  # how the processor computes that dvc.lock was written on
CODE = Path("data/code")  # digests of the modules that each stage imports, one file a stage
CORPORA = Path("data/corpora")
TOKENS = Path("data/tokens")
NGRAMS = Path("data/ngrams")
MODELS = Path("data/models")
CIRCUITS = Path("data/circuits")
TABLES = Path("data/tables")
EVIDENCE = Path("data/evidence")
COMPOSE = Path("data/compose")
EXPLORE = Path("data/explore")
ACCOUNT = Path("data/account")
CONTROL = Path("data/control")
DIRECTIONS = Path("data/directions")
FEATURED = Path("data/features")
RULES = Path("data/rules")
SUPERPOSITION = Path("data/superposition")
DICTIONARY = Path("data/dictionary")
# Folders with one entry for each key of a group of params.yaml.
KEYED = {
    "corpora": (CORPORA, TOKENS, NGRAMS),
    "models": (MODELS, CIRCUITS, TABLES, EVIDENCE, COMPOSE, EXPLORE, DIRECTIONS, ACCOUNT, FEATURED, RULES),
    "dictionaries": (DICTIONARY,),
}
DOCUMENT = Path("data/document.json")  # what the report holds, before it is HTML or Markdown
SCRATCH = Path("data/scratch")  # what an interrupted stage continues from; no DVC output
TIMES = SCRATCH / "times"  # how long each stage took last, for `skiptrace doctor`; no output may hold a time
SHIPPED_TIMES = Path("docs/measured/times.json")  # where the figures of the README come from
DVC_LOCK = Path("dvc.lock")
SOUND_LOCK = SCRATCH / "sound.lock"  # the last complete dvc.lock: DVC empties its own before it writes it
REPORTS = Path("reports")
