"""The command itself: its help, its arguments, and where its output goes."""

import json
import sys
import time
from importlib import import_module

import pytest

from skiptrace.command.cli import QUESTIONS
from tests.pipeline.conftest import assert_one_line


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_questions_help_is_what_its_function_says(name):
    question = getattr(import_module(QUESTIONS[name].module), name)
    assert QUESTIONS[name].help == question.__doc__.partition("\n")[0]


def test_the_list_of_questions_imports_none_of_them():
    """So that it comes at once; the seconds are for a busy machine."""
    from tests.pipeline.conftest import ROOT, Project

    listed = "print(sorted(sys.modules), file=sys.stderr)"
    code = f"import sys\nfrom skiptrace.command.cli import main\ntry: main()\nfinally: {listed}"
    started = time.monotonic()
    done = Project(ROOT).call(sys.executable, "-c", code, "--help")
    assert done.returncode == 0 and all(name in done.stdout for name in QUESTIONS)
    assert not {"'torch'", "'dvc'", "'pandas'", "'numpy'", "'pydantic'"} & set(done.stderr.strip("[]\n").split(", "))
    assert time.monotonic() - started < 5


def test_the_version_is_that_of_the_package(ask, reproduced):
    from importlib.metadata import version

    assert ask(reproduced, "--version").out == f"skiptrace {version('skiptrace')}\n"


def test_text_that_begins_with_a_hyphen_is_text(ask, reproduced):
    for text in ("->", "-", "-("):
        assert_one_line(
            ask(reproduced, "lookup", text, "--model", "one"),
            f"{text!r}: the vocabulary of this model has no token for it",
        )
    told = ask(reproduced, "explain", "--model", "two", "-> the", "--next", "->")
    assert told.code == 1 and "'->'" in told.error


def test_an_option_that_does_not_exist_comes_with_the_command_that_passes_it_as_text(ask, reproduced):
    told = ask(reproduced, "lookup", "--x y", "--model", "one")
    assert told.code == 2 and told.error.count("\n") == 1
    assert "; if it is text, write skiptrace lookup --model one -- '--x y'; see" in told.error
    assert_one_line(
        ask(reproduced, "lookup", "--model", "one", "--", "--x y"),
        "'--x': the vocabulary of this model has no token for it",
    )
    # Where no text is taken, nothing is said of it.
    assert "is text" not in ask(reproduced, "doctor", "--jsn").error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lookup"], "error: Missing argument 'TOKEN'; see skiptrace lookup --help\n"),
        (["lookup", "the", "--modle", "one"], "No such option: --modle (Possible options: --model"),
        (["lookup", "the", "--model", "one", "--json", "--csv"], "--json and --csv exclude each other"),
        (["explain", "x"], "error: Missing option '--model'; see skiptrace explain --help\n"),
        (["nothing"], "error: No such command 'nothing'; see skiptrace --help\n"),
    ],
)
def test_wrong_usage_is_one_line(ask, reproduced, arguments, message):
    told = ask(reproduced, *arguments)
    assert (told.code, told.out) == (2, "") and told.error.count("\n") == 1
    assert message in told.error


def test_nothing_asked_is_answered_with_the_list(ask, reproduced):
    told = ask(reproduced)
    assert (told.code, told.error) == (2, "") and all(name in told.out for name in QUESTIONS)


def test_an_argument_that_is_not_utf_8_is_named(ask, reproduced):
    told = ask(reproduced, "lookup", "a\udcff", "--model", "one")
    assert_one_line(told, "argument 'a\\udcff': not UTF-8; give text in UTF-8, or a token as id:123")


def test_a_table_comes_whole_where_standard_output_is_ascii(reproduced):
    question = ("lookup", "id:40", "--model", "two", "--min-count", "0")
    done = reproduced.call(sys.executable, "-m", "skiptrace", *question, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii() and "Tokens that occur fewer than 0 times" in done.stdout
    assert all(f"L{layer}H{head}" in done.stdout for layer in (0, 1) for head in (0, 1))


def test_an_argument_in_a_locale_of_its_own_is_read_as_utf_8(reproduced):
    question = ("explain", "--model", "two", "--json", "the mo\u00f6n", "--next", "id:5")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = reproduced.call(sys.executable, "-m", "skiptrace", *question, **locale)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["paths"]) == 9
