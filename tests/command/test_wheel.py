"""The wheel, unpacked into an environment that lacks what only the pipeline needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT

# The wheel stands before the checkout, and packages of the pipeline cannot be imported. torch requires networkx and
# sympy, so that they are installed, but neither is imported.
CODE = """
import sys
HIDDEN = {"dvc", "dvc_data", "itables", "jinja2", "matplotlib", "networkx", "sympy", "stages"}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
sys.path.insert(0, WHEEL)
import skiptrace
assert skiptrace.__file__.startswith(WHEEL), skiptrace.__file__
"""
THREE_LINES = """
import numpy as np
model = skiptrace.Transformer(skiptrace.ModelConfig(d_vocab=30, d_model=8, n_ctx=6, n_layers=1, n_heads=2, d_head=3))
model.initialise(0)
model.requires_grad_(False)
texts, stream = [f"t{i}" for i in range(30)], np.arange(600) % 30

vocabulary = skiptrace.count_vocabulary(texts, stream)
rows = skiptrace.mine_skip_trigrams(model, vocabulary, min_count=1)
print(len(rows), list(rows.columns[:3]), skiptrace.__version__)
"""
COMMAND = """
from skiptrace.command.cli import main
sys.argv = ["skiptrace", *ASKED]
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files in a folder of their own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("skiptrace", "stages", "pyproject.toml", "README.md"):
        (source / name).symlink_to(ROOT / name)
    make = ["-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir"]
    subprocess.run([sys.executable, *make, str(folder), str(source)], check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    zipfile.ZipFile(file).extractall(folder / "installed")
    return folder / "installed"


def ask(wheel: Path, code: str, asked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    set_up = f"WHEEL, ASKED = {str(wheel)!r}, {asked!r}\n"
    command = [sys.executable, "-P", "-c", set_up + CODE + code]
    return subprocess.run(command, cwd=wheel, text=True, capture_output=True, check=False)


def test_the_wheel_holds_one_package_its_types_and_its_templates(wheel):
    assert {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"} == {"skiptrace"}
    assert (wheel / "skiptrace/py.typed").exists() and list(wheel.glob("skiptrace/report/templates/*.j2"))


def test_three_lines_go_from_a_model_to_its_skip_trigrams_without_the_pipeline(wheel):
    done = ask(wheel, THREE_LINES)
    assert done.returncode == 0, done.stderr
    rows, columns = done.stdout.split(" ", 1)
    assert int(rows) > 0 and columns.startswith("['rank', 'layer', 'head']")


def test_the_command_names_the_extra_that_a_question_needs(wheel):
    (wheel / "params.yaml").touch()
    for asked in (("doctor",), ("compare", "HEAD")):
        done = ask(wheel, COMMAND, asked)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert (
            f"skiptrace {asked[0]} needs dvc, which is not installed; pip install 'skiptrace[pipeline]'" in done.stderr
        )
    listed = ask(wheel, COMMAND, ("--help",))
    assert listed.returncode == 0 and "top" in listed.stdout
