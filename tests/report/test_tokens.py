import os
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.report.rendering.tokens import LONGEST, to_html, to_markdown, visible

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt;\u2028",
    "a|b`c`*d*_e_",
    "[x](javascript:1)",
]
# What a token may end first, do then, and leave open.
OPENERS = ["", '">', "'>", "</script>", "</code>", "-->", "]]>", "`", "${", "</td></tr></table>", "</title>", "\\"]
BODIES = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "<b>", "&lt;img&gt;",
    "<iframe src=javascript:alert(1)>", "[x](javascript:alert(1))", "alert(1)", "{{alert(1)}}", "onload=alert(1) ",
    "<style>*{display:none}</style>", "<base href=//x>", "=alert(1)", "<a href=//x>",
]  # fmt: skip
ENDS = ["", "<!--", "//", "\u2028", "`", "'"]
if seed := os.environ.get("SKIPTRACE_HOSTILE"):  # as many others, for the attack
    drawn = np.random.default_rng(int(seed))
    HOSTILE = ["".join(map(str, map(drawn.choice, (OPENERS, BODIES, ENDS)))) for _ in HOSTILE]
ANY = st.text(max_size=80) | st.sampled_from(HOSTILE)


class Reader(HTMLParser):
    """Collects the elements and the text of a fragment."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)

    def handle_data(self, data):
        self.text += data


def read(fragment: str) -> Reader:
    reader = Reader()
    reader.feed(fragment)
    reader.close()
    return reader


@given(ANY)
def test_a_token_in_html_is_one_element_that_reads_as_the_visible_token(token):
    reader = read(to_html(token))
    assert reader.elements == ["code"]
    assert reader.text == visible(token)


@given(ANY)
def test_a_token_in_markdown_is_one_element_without_markdown_syntax(token):
    fragment = to_markdown(token)
    if fragment.startswith("`"):
        assert fragment == f"`{visible(token)}`" and not set(fragment[1:-1]) & set("`|\\<&\n")
        return
    reader = read(fragment)
    assert reader.elements == ["code"]
    assert reader.text == visible(token)
    inner = fragment.removeprefix("<code>").removesuffix("</code>")
    assert not set(inner.replace("&#", "")) & set("`*_|<>[]\\~$@#\n")


@given(ANY)
def test_a_visible_token_is_short_and_leaves_no_blank(token):
    shown = visible(token)
    assert len(shown) <= LONGEST
    assert all(c.isprintable() and not c.isspace() for c in shown)


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "·the"),
        ("\n    ", "↵····"),
        ("\t", "⇥"),
        ("\u202eevil", "\\u202eevil"),
        ("\u200b", "\\u200b"),
        ("\x00", "\\x00"),
        ("é", "é"),
        ("e\u0301", "e\\u0301"),
        ("x" * 50, "x" * 39 + "…"),
    ],
)
def test_what_prints_as_nothing_is_shown(token, shown):
    assert visible(token) == shown
