import dataclasses
import re
from html.parser import HTMLParser

import pytest

from skiptrace.comparison.compare import compare
from skiptrace.comparison.render import LIMIT, html, markdown
from tests.report.test_tokens import HOSTILE


def test_both_forms_tell_what_changed(make_version):
    found = compare(make_version("before", 0), make_version("after", 50, n_ctx=64))
    for text in (html(found), markdown(found)):
        for said in ("before → after", "2 parameters changed", "2 of 3 metrics differ, 2 of them beyond", "t1"):
            assert said in text, said
        assert "64" in text and "3.5" in text
    page = html(found)
    assert page.count("<figure><figcaption>before</figcaption>") == 1  # loss.svg, not same.svg
    assert "1 of 2 figures" in page and "loss.svg" in page and "same.svg" not in page
    assert page.count('aria-label="Figure: Similarity of heads of ') == 2


def test_a_version_is_not_different_from_itself(make_version):
    found = compare(make_version("a", 0), make_version("b", 0))
    text = markdown(found)
    assert "0 parameters changed; 0 of 3 metrics differ" in text
    assert "the same heads" in text and "Gained" not in text


def test_seeds_of_the_same_parameters_set_the_floor(make_version):
    found = compare(make_version("a", 0), make_version("b", 50))
    one = next(model for model in found.models if model.name == "one")
    assert one.floor is not None and one.floor.pairs == 2
    assert -1 < one.floor.similarity < 1 and 0 <= one.floor.overlap < 1


def test_heads_are_told_by_their_scores(make_version):
    found = compare(make_version("a", 0), make_version("b", 0))
    one = next(model for model in found.models if model.name == "one")
    assert [(h.match.a, h.match.b) for h in one.heads] == [("L0H0", "L0H0"), ("L0H1", "L0H1"), ("L0H2", "L0H2")]
    for head in one.heads:
        assert head.scores_a == head.scores_b and head.scores_a.keys() == {"copying", "previous token"}
        assert head.kind_a in ("copying", "other")


class Strict(HTMLParser):
    """Refuses scripts, handlers and addresses that fetch."""

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith(("data:image/svg+xml;base64,", "#"))


@pytest.fixture
def hostile(make_version):
    texts = [*HOSTILE, *(f"t{i}" for i in range(23))][:23]
    changed = {"note": "<script>alert(1)</script>|`x`"}
    return compare(make_version("<b>a</b>", 0, texts), make_version("b|c", 5, texts, **changed))


def test_hostile_tokens_names_and_parameters_are_inert_in_html(hostile):
    page = html(hostile)
    Strict().feed(page)
    assert "<b>a" not in page and "alert(1)</script>" not in page


def test_hostile_tokens_names_and_parameters_are_inert_in_markdown(hostile):
    text = markdown(hostile)
    assert not re.search(r"<(?!/?code>)", text)
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|") and "`" not in re.sub(r"`[^`|<]*`", "", line)


def test_markdown_never_exceeds_its_limit(make_version):
    a = make_version("a", 0, ["&" * 30_000 + str(i) for i in range(23)])
    found = compare(a, make_version("b", 7, ["`" * 10_000 + str(i) for i in range(23)], steps=list(range(9000))))
    many = dataclasses.replace(found, models=found.models * 6, measures=found.measures * 300)
    for comparison, limit in ((found, LIMIT), (many, 4000), (many, 100)):
        assert len(markdown(comparison, limit).encode()) <= limit
    assert "sections did not fit" in markdown(many, 4000)
    longer = dataclasses.replace(found, measures=[m._replace(b=9.0) for m in found.measures * 40])
    assert "The first" in markdown(longer)
