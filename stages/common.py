"""What all stages share: where data lives, and the name a stage is asked for."""

import argparse
from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("requirements.lock")
IMPORTS = Path("imports")  # tokenizers and checkpoints made elsewhere
IMPORTED = Path("data/imports")  # their content hashes, one file for each corpus and model
CORPORA = Path("data/corpora")
TOKENS = Path("data/tokens")
NGRAMS = Path("data/ngrams")
MODELS = Path("data/models")
CIRCUITS = Path("data/circuits")
TABLES = Path("data/tables")
EVIDENCE = Path("data/evidence")
COMPOSE = Path("data/compose")
SUPERPOSITION = Path("data/superposition")
DICTIONARY = Path("data/dictionary")
SCRATCH = Path("data/scratch")  # what an interrupted stage continues from; no DVC output
REPORTS = Path("reports")


def asked_for(kind: str, description: str | None) -> str:
    """The value of the stage's one option, such as `--corpus NAME` or `--model NAME`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{kind}", required=True, metavar="NAME", help=f"a key of {PARAMS}")
    return str(getattr(parser.parse_args(), kind))
