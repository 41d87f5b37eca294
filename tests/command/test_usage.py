"""The command itself: its help, its arguments, and where its output goes."""

import json
import sys

import pytest

from skiptrace.command.questions import QUESTIONS
from tests.pipeline.conftest import ROOT, Project, assert_one_line

NAMES = [question.__name__ for question in QUESTIONS]
SCRIPT = "import sys; sys.argv[0] = 'skiptrace'; from skiptrace.command.cli import main; main()"


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_imports_no_library_that_takes_seconds(name):
    told = "print([m for m in ('torch', 'dvc', 'pandas', 'numpy') if m in sys.modules], file=sys.stderr)"
    code = f"import sys\nfrom skiptrace.command.cli import main\ntry: main()\nfinally: {told}"
    done = Project(ROOT).call(sys.executable, "-c", code, *name.split(), "--help")
    assert done.returncode == 0 and all(shown in done.stdout for shown in ([name, "--help"] if name else NAMES))
    assert done.stderr == "[]\n"


def test_a_shell_completes_questions_and_their_options():
    def completed(words: str) -> set[str]:
        asked = {"_SKIPTRACE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return set(Project(ROOT).call(sys.executable, "-c", SCRIPT, **asked).stdout.split())

    assert completed("skiptrace ") == set(NAMES)
    assert completed("skiptrace top --m") == {"--model", "--most"}


@pytest.mark.parametrize(
    "arguments",
    [["top", "--model", "one"], ["explain", "a", "--model", "one"], ["lookup", "a", "--model", "one"],
     ["directions", "--model", "one"],
     
     ["compare", "HEAD"], ["export", "--model", "one", "--to", "transformer-lens", "--out", "made"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_outside_of_a_pipeline_the_answer_says_where_to_ask(ask, tmp_path, arguments):
    assert_one_line(ask(Project(tmp_path), *arguments), "params.yaml: not here; run this in the folder of a pipeline")


def test_what_needs_the_extra_pipeline_says_so(ask, reproduced, monkeypatch):
    monkeypatch.setitem(sys.modules, "skiptrace.command.doctor", None)
    monkeypatch.setattr("skiptrace.command.cli.PIPELINE", {"skiptrace"})
    assert_one_line(ask(reproduced, "doctor"), "skiptrace doctor needs skiptrace, which is not installed; pip install")


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
    assert (told.code, told.error) == (2, "") and all(name in told.out for name in NAMES)


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
