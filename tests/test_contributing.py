"""The worked diffs of CONTRIBUTING.md apply to the code as it stands."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?^```diff\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("title", "diff"), RECIPES, ids=[title for title, _ in RECIPES])
def test_a_recipe_applies(title, diff):
    command = ["git", "apply", "--check", "-"]
    done = subprocess.run(command, cwd=ROOT, input=diff, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{title}: {done.stderr}"


def test_there_are_five():
    assert len(RECIPES) == 5
