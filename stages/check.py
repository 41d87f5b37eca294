"""Check all of params.yaml before any work starts.

Writes  data/checked   always the same content: nothing downstream reruns because of it.
"""

from pathlib import Path

from skiptrace.config.pipeline import load_pipeline
from skiptrace.errors import run
from skiptrace.files import write_text
from stages.common import PARAMS


def main() -> None:
    """Check the parameters."""
    load_pipeline(PARAMS)
    write_text(Path("data/checked"), "params.yaml is well formed\n")


if __name__ == "__main__":
    run(main)
