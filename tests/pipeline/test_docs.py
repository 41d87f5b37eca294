"""The worked examples of docs/, run as they stand, one page after the other, in a reproduced project."""

import re
from importlib import util

import pytest

from tests.pipeline.conftest import ROOT, Project

FENCE = re.compile(r"^```(sh|yaml)(?: needs=(\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def merged(old: object, new: object) -> object:
    """Mappings joined key by key; entries of a group that are there already are exchanged whole."""
    return {k: {**old.get(k, {}), **v} for k, v in new.items()} | {k: v for k, v in old.items() if k not in new}


@pytest.mark.parametrize("page", ["corpora.md", "models.md"])
def test_the_examples_of_a_page_work(project: Project, page):
    import yaml

    blocks = FENCE.findall((ROOT / "docs" / page).read_text())
    assert len(blocks) > 5
    for kind, needs, text in blocks:
        if needs and util.find_spec(needs) is None:
            continue
        if kind == "yaml":
            project.write_params(merged(project.params(), yaml.safe_load(text)))
            continue
        done = project.call("bash", "-euc", text)
        assert done.returncode == 0, text + done.stdout + done.stderr
