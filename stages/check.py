"""Check all of params.yaml before any work starts.

Writes  data/checked   always the same content: nothing downstream reruns because of it.

Outputs of corpora and models that params.yaml no longer names are removed, so that the report
never shows a model that is gone (DVC's cache keeps them).
"""

import shutil
from pathlib import Path

from skiptrace.config.pipeline import load_pipeline
from skiptrace.errors import run
from skiptrace.files import write_text
from stages.common import CIRCUITS, CORPORA, MODELS, NGRAMS, PARAMS, TABLES, TOKENS


def main() -> None:
    """Check the parameters and forget what they no longer name."""
    pipeline = load_pipeline(PARAMS)
    for root in (CORPORA, TOKENS, NGRAMS):
        forget(root, set(pipeline.corpora))
    for root in (MODELS, CIRCUITS, TABLES):
        forget(root, set(pipeline.models))
    write_text(Path("data/checked"), "params.yaml is well formed\n")


def forget(root: Path, known: set[str]) -> None:
    """Remove the folders under `root` whose name is not `known`."""
    for folder in sorted(root.glob("*/")):
        if folder.name not in known:
            print(f"params.yaml no longer names {folder.name}: removing {folder}")
            shutil.rmtree(folder)


if __name__ == "__main__":
    run(main)
