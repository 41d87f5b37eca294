"""Meanings and defaults are declared in the classes: the page of parameters and params.yaml say the same."""

import re
from importlib import util

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from skiptrace.config.pipeline import SINGLE
from tests.pipeline.conftest import ROOT

SPEC = util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
assert SPEC is not None and SPEC.loader is not None
reference = util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)
TEXT = (ROOT / "docs/measured/params.yaml").read_text()  # params.yaml itself is the user's


def comments() -> dict[str, str]:
    """What params.yaml says of each key, by its dotted name, lines that go on joined."""
    found: dict[str, str] = {}
    stack: list[str] = []
    last = ""
    for line in TEXT.splitlines():
        key, more = re.match(r"( *)(\w+):.*?(?<!\S)#\s?(.*)$", line), re.match(r" {20,}#\s?(.*)$", line)
        name = re.match(r"( *)(\w+):", line)
        if name:
            stack = [*stack[: len(name[1]) // 2], name[2]]
        if key:
            last = ".".join(stack)
            found[last] = key[3].strip()
        elif more and last:
            found[last] += f" {more[1].strip()}"
        else:
            last = ""
    return found


def test_the_page_of_parameters_is_what_the_classes_say():
    assert (ROOT / "docs" / "parameters.md").read_text() == reference.parameters(), "run make docs"


def test_the_page_of_tables_is_what_is_declared():
    assert (ROOT / "docs" / "tables.md").read_text() == reference.tables(), "run make docs"


@pytest.mark.parametrize("title", reference.GROUPS)
def test_every_parameter_has_a_meaning(title):
    def missing(kind: type[BaseModel]) -> list[str]:
        inner = [reference._group(field) for field in kind.model_fields.values()]
        lacking = [name for name, field in kind.model_fields.items() if not field.description]
        return lacking + [name for group in inner if group for name in missing(group)]

    assert missing(reference.GROUPS[title]) == []


@pytest.mark.parametrize("group", sorted(SINGLE.keys() - {"superposition"}))
def test_the_default_params_yaml_has_the_defaults_and_the_words_of_the_classes(group):
    kind, said = reference.GROUPS[group], comments()
    given = YAML(typ="safe").load(TEXT)[group]
    if group == "composition":
        del given["word_pairs"]  # families of this corpus
    assert kind().model_dump(mode="json", exclude={"word_pairs"}, exclude_none=True) == given
    for name, field in kind.model_fields.items():
        if field.default is not None:  # what follows from other keys is left out
            assert said[f"{group}.{name}"] == field.description, name


def test_what_is_left_out_of_superposition_keeps_its_default_at_any_depth():
    whole = reference.SuperpositionParams.model_validate({})
    assert whole == reference.SuperpositionParams.model_validate(reference.DEFAULTS)
    changed = reference.SuperpositionParams.model_validate({"norms": {"large": {"steps": 7}}, "phase": {"cells": 5}})
    assert (changed.norms.large.steps, changed.norms.large.seeds, changed.phase.cells) == (7, 3, 5)
    assert changed.norms.small == whole.norms.small and changed.sensing == whole.sensing
