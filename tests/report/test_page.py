"""The page in a real browser: every tool, on tokens that try to break out of it, without a network."""

import base64
import csv
import gzip
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote
from xml.etree import ElementTree

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from skiptrace.report.page import payload
from skiptrace.report.rendering import render
from skiptrace.report.rendering.tokens import FORMULA, visible
from tests.report.conftest import EXPLORATION, study_of
from tests.report.test_tokens import HOSTILE

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")

# Runs before the page's own scripts: whatever a token manages to execute leaves a trace.
TRAP = "window.alert = window.print = () => { window.caught = true; };"


@pytest.fixture(scope="module")
def address(built, hostile, tmp_path_factory) -> str:
    """The whole report on hostile tokens, as a file."""
    stream = np.random.default_rng(0).integers(0, 23, 500)
    files = {name: [f"data/tables/{name}.parquet"] for name in hostile.models}
    path = tmp_path_factory.mktemp("page") / "index.html"
    carried = payload.carried(built, study_of(hostile), {"mine": stream}, files)
    path.write_text(render.html(carried), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def visit(browser, address):
    """Open the page in a profile of its own; in the end, nothing may have gone wrong in it or left it."""
    contexts, faults = [], []

    def opened(hash_: str = "", **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.add_init_script(TRAP)
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda request: faults.extend(leaving(request.url)))
        page.goto(address + hash_)
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert not page.evaluate("window.caught")
        context.close()
    assert faults == []


def leaving(url: str) -> list[str]:
    return [] if url.startswith(("file:", "blob:", "data:")) else [f"request: {url}"]


@pytest.fixture(scope="module")
def two(address) -> dict:
    """What the page carries of model two, unpacked here."""
    text = Path(address.removeprefix("file://")).read_text(encoding="utf-8")
    archive = text.partition('data-model="two">')[2].partition("<")[0]
    return json.loads(gzip.decompress(base64.b64decode(archive)))


def rows(page, section: str) -> list[list[str]]:
    return page.locator(f"#{section} .dt-container tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )


def sort(header, direction: str) -> None:
    """Sort by a column, which DataTables does a moment after the click."""
    header.locator(".dt-column-order").click()
    playwright.expect(header).to_have_attribute("aria-sort", direction)


def skips_of_two(page):
    page.locator("#skip-trigrams .controls select").select_option("two")
    page.locator("#skip-trigrams table.skips tbody tr").first.wait_for()
    return page.locator("#skip-trigrams")


def test_hostile_tokens_are_text_everywhere(visit):
    page = visit()
    for script in HOSTILE:
        page.evaluate("hash => { location.hash = hash; }", f"source={quote(script)}&model=one")
        shown = page.locator("#explorer h3 code").first
        playwright.expect(shown).to_have_text(visible(script))
        page.locator("#skip-trigrams input[type=search]").fill(script)
        page.locator("#token").fill(f"!{script}")
        page.locator("#token").press("Enter")
        playwright.expect(page.locator("#explorer .note").first).to_contain_text("is no single token")
    assert page.locator("main script, main img, main iframe, main object, main :not(.card *) > b").count() == 0
    assert "\u202e" not in page.locator("main").inner_text()
    page.evaluate("location.hash = 'source=id:12&model=one'")
    playwright.expect(page.locator("#explorer h3 code").first).to_have_text("x" * 39 + "…")


def test_search_sort_and_filter_find_the_rows_of_the_payload(visit, two):
    page = visit()
    section, skips = skips_of_two(page), two["skips"]
    playwright.expect(section.locator(".dt-info")).to_have_text(f"1–15 of {len(skips['head'])} rows")
    sort(section.locator("th", has_text="QK"), "descending")
    largest = sorted(skips["mined"]["qk"], reverse=True)[:15]
    assert [row[6] for row in rows(page, "skip-trigrams")] == [f"{v / 100:.2f}" for v in largest]

    head, survives, copying = (
        section.locator(".filters label", has_text=label).locator("select") for label in ("Head", "Survives", "Copying")
    )
    chosen = skips["head"][0]
    head.select_option(two["heads"][chosen])
    assert {row[0] for row in rows(page, "skip-trigrams")} == {two["heads"][chosen]}
    expected = skips["head"].count(chosen)
    playwright.expect(section.locator(".dt-info")).to_contain_text(f"of {expected} rows")
    head.select_option("")
    survives.select_option("yes")
    playwright.expect(section.locator(".dt-info")).to_contain_text(f"of {sum(skips['survives'])} rows")
    survives.select_option("not checked")
    unchecked = len(skips["head"]) - len(skips["survives"])
    playwright.expect(section.locator(".dt-info")).to_contain_text(f"of {unchecked} rows")
    survives.select_option("")
    copying.select_option("yes")
    assert all(row[1] == row[3] for row in rows(page, "skip-trigrams"))
    copying.select_option("")
    # Undefined numbers come last, whichever way one sorts.
    lift, header = skips["checked"]["corpus_lift"], section.locator("th", has_text="Lift")
    section.locator(".filters input").nth(1).fill("0")
    defined = [v for v in lift if v is not None]
    playwright.expect(section.locator(".dt-info")).to_contain_text(f"of {len(defined)} rows")
    section.locator(".filters input").nth(1).fill("")
    for direction, best in (("descending", max(defined)), ("ascending", min(defined))):
        sort(header, direction)
        assert rows(page, "skip-trigrams")[0][10] == f"{best / 100:.2f}"
    section.locator("input[type=search]").fill("onerror=alert")
    found = rows(page, "skip-trigrams")
    assert found and all("onerror=alert" in "".join(row) for row in found)


def test_tables_of_the_page_sort_by_their_numbers_and_filter_by_their_words(visit):
    page = visit("#two-heads")  # of planted text: the address opens the folded control
    table = page.locator("#two-heads table").first
    table.scroll_into_view_if_needed()
    header = table.locator("th", has_text="Copying").first
    for direction, step in (("descending", -1), ("ascending", 1)):
        sort(header, direction)
        shown = [float(text) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]
        assert shown == sorted(shown)[::step] and len(set(shown)) > 1


def test_the_explorer_shows_every_head_and_what_its_links_say(visit, two):
    page = visit("#destination=id:5&model=two")
    playwright.expect(page.locator("#explorer h3 code").first).to_have_text("$x^2$")
    assert page.locator("#role").input_value() == "destination"
    heads = page.locator("#explorer .lookup tbody tr")
    assert heads.count() == 1 + 6
    attended, count = two["entries"][4]["attended"], EXPLORATION.entries
    place = two["shown"].index(5) * count
    links = heads.nth(4).locator("td").nth(3).locator("a.token")
    titles = links.evaluate_all("links => links.map(link => link.title)")
    assert titles == [f"id {i}" for i in attended["ids"][place : place + count]]
    values = heads.nth(4).locator("td").nth(3).locator(".value").all_inner_texts()
    assert values == [f"{v / 100:+.2f}" for v in attended["values"][place : place + count]]
    links.first.click()
    playwright.expect(page.locator("#explorer .note").first).to_contain_text(f"Token {attended['ids'][place]},")
    page.go_back()
    playwright.expect(page.locator("#explorer h3 code").first).to_have_text("$x^2$")


def test_the_explorer_shows_evidence_and_places_of_a_checked_row(visit, two):
    skips = two["skips"]
    row = next(i for i, places in enumerate(skips["places"]) if places)
    source = skips["ids"]["source"][row]
    page = visit(f"#source=id:{source}&model=two")
    effect = f"{skips['checked']['effect_nats'][row] / 100:+.2f} ±"
    told = page.locator("#explorer tr", has_text=effect).first
    assert told.locator("td").last.inner_text() == ("yes" if skips["survives"][row] else "no")
    assert page.locator("#explorer .places mark").count() >= 3


def test_an_address_that_leads_nowhere_says_what_there_is(visit):
    page = visit("#source=xyz&model=two")
    playwright.expect(page.locator("#explorer .note").first).to_contain_text("xyz is no single token of mine")
    for hash_, said in (
        ("out=a&model=nine", "there are zero, one, two"),
        ("nowhere", "nothing on this page is called nowhere"),
        ("source=a&colour=red", "colour is no part of it"),
        ("patterns=two&text=once%20upon%20a%20time", "no text of model two begins with once·upon·a·time"),
        ("patterns=two&head=L9H9", "model two has no head L9H9: there are L0H0"),
        ("maps=zero", "no model with heads is called zero: there are one, two"),
        ("skips=two&sort=QK:up&where=Head:L9H9", "the table has no QK:up, Head:L9H9"),
        ("table=none", "no table is called none"),
    ):
        page.evaluate("hash => { location.hash = hash; }", hash_)
        playwright.expect(page.locator(".astray")).to_contain_text(said)
    page.evaluate("location.hash = 'skip-trigrams'")
    playwright.expect(page.locator(".astray")).to_have_count(0)


def test_a_token_without_its_blank_is_opened_where_only_one_is_meant(visit):
    page = visit("#source=CMD()&model=two")
    playwright.expect(page.locator("#explorer h3 code").first).to_have_text("=cmd()")
    playwright.expect(page.locator("#explorer .note").first).to_contain_text("the only one like it is shown")


def test_a_table_is_shown_and_saved_as_its_address_says(visit, two):
    page, skips = visit("#skips=two&sort=OV:asc&where=Survives:yes&where=Effect%20%E2%89%A5:0"), two["skips"]
    effects, survives = skips["checked"]["effect_nats"], skips["survives"]
    kept = [i for i, (e, s) in enumerate(zip(effects, survives, strict=True)) if s and e is not None and e >= 0]
    kept.sort(key=lambda i: skips["mined"]["ov"][i])
    section = page.locator("#skip-trigrams")
    playwright.expect(section.locator(".dt-info")).to_contain_text(f"of {len(kept)} rows")
    assert "nats" in section.locator("th", has_text="Effect").get_attribute("title")
    with page.expect_download() as waiting:
        section.locator("button.save").click()
    saved = list(csv.DictReader(Path(waiting.value.path()).read_text(encoding="utf-8").splitlines(keepends=True)))
    assert [int(row["Source id"]) for row in saved] == [skips["ids"]["source"][i] for i in kept]
    assert [float(row["OV"]) for row in saved] == [skips["mined"]["ov"][i] / 100 for i in kept]
    assert not any(text.startswith(FORMULA) for row in saved for text in (row["Source"], row["Output"]))
    playwright.expect(section.locator(".note")).to_contain_text("data/tables/two.parquet")
    assert [row["Corpus"] for row in saved] == [skips["support"][i] for i in kept]
    assert [row["On text"] for row in saved] == [skips["use"][i] for i in kept]
    assert [row["Consistent"] for row in saved] == ["yes" if skips["consistent"][i] else "no" for i in kept]
    section.locator(".filters label", has_text="Survives").locator("select").select_option("no")
    assert "where=Survives%3Ano" in page.url and "sort=OV%3Aasc" in page.url


def test_the_card_of_a_head_has_an_address_and_says_what_the_tables_say(visit, two):
    page = visit("#head=two.L1H2")
    held = two["cards"][5]
    card = page.locator("#head-cards .card")
    assert card.locator("h3").inner_text().startswith("L1H2 of two")
    removed = held["removed"]
    assert f"{removed['value']:.4f}\u00a0±\u00a0{removed['error']:.4f}" in card.locator("p strong").inner_text()
    assert f"{held['scores']['prefix_matching']['value']:.2f}" in card.inner_text()
    assert card.locator(".bars:not(.low) span").count() == len(held["attention"])
    lines = card.get_by_role("region", name="Directions of the head").locator("tbody tr")
    assert lines.count() == sum(len(group["poles"]) for group in held["directions"])
    page.locator("#head-cards select").nth(1).select_option("0")
    page.wait_for_function("location.hash === '#head=two.L0H0'")
    card.get_by_role("link", name="texts with its attention").click()
    page.wait_for_function("location.hash === '#patterns=two&head=L0H0'")
    playwright.expect(page.locator(".astray")).to_have_count(0)


@pytest.mark.parametrize("head", ["two.L9H9", "nope.L0H0", "L0H0"])
def test_an_address_of_a_head_that_there_is_not_says_which_there_are(visit, head):
    page = visit(f"#head={head}")
    assert page.locator(".astray").inner_text().startswith("This address leads nowhere: ")


def test_a_map_tells_the_value_under_the_pointer(visit, two):
    page, corner = visit("#maps=two&head=L1H2"), two["corners"][5]["qk"]
    drawn = page.locator("#maps .maps > div", has_text="QK circuit of L1H2")
    drawn.locator("td[data-row='2'][data-column='1']").hover()
    value = corner["values"][2 * len(corner["column_ids"]) + 1] / 100
    playwright.expect(drawn.locator(".note").nth(1)).to_contain_text(f"{value:+.2f} (attention score)")
    links = drawn.locator("thead a.token").evaluate_all("links => links.map(link => link.title)")
    assert links == [f"id {i}" for i in corner["column_ids"]]


def test_a_figure_is_saved_with_its_caption(visit):
    page = visit("#one-heads")
    page.locator("#one-heads details.more", has_text="Copying").last.locator("summary").click()
    figure = page.locator("figure[data-name=copying_one]")
    with page.expect_download() as waiting:
        figure.locator("button.save").click()
    saved = ElementTree.fromstring(Path(waiting.value.path()).read_text(encoding="utf-8"))
    caption, space = figure.locator("figcaption strong").inner_text(), "{http://www.w3.org/2000/svg}"
    assert waiting.value.suggested_filename == "copying_one.svg"
    assert saved.find(f"{space}desc").text.startswith(caption)
    written = " ".join(text.text for text in saved.findall(f"{space}text"))
    assert written == " ".join(saved.find(f"{space}desc").text.split())


def test_axe_finds_nothing_wrong(visit):
    page = visit("#destination=id:5&model=two", reduced_motion="reduce")
    structure = {"rules": {"target-size": {"enabled": True}, "color-contrast": {"enabled": False}}}
    found = Axe().run(page, options=structure).response["violations"]
    # Contrast takes long to compute: one of each kind of part, in both colours.
    parts = "nav, #summary, #skip-trigrams, #patterns, #which-heads"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found += Axe().run(page, parts, {"runOnly": ["color-contrast"]}).response["violations"]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in found] == []


def test_patterns_follow_the_pointer_and_the_arrow_keys(visit, two):
    page = visit()
    page.locator("#patterns .controls select").first.select_option("two")
    section, text = page.locator("#patterns"), two["texts"][0]
    section.locator("button[data-head=L1H1]").click()
    assert section.locator("button[aria-pressed=true]").inner_text() == "L1H1"
    tokens = section.locator(".text span")
    assert tokens.count() == len(text["ids"])
    playwright.expect(section.locator("button[aria-pressed=true]")).to_have_text("L1H1")
    tokens.nth(2).hover()
    weights = text["patterns"][4][3:6]  # the third row of the triangle
    playwright.expect(section.locator(".said")).to_contain_text(f"{max(weights)}%")
    section.locator(".text").focus()
    page.keyboard.press("ArrowLeft")
    playwright.expect(tokens.nth(1)).to_have_attribute("aria-selected", "true")
    assert section.locator(".text").get_attribute("aria-activedescendant") == tokens.nth(1).get_attribute("id")
    section.locator(".controls select").last.select_option("destination")
    playwright.expect(section.locator(".said")).to_contain_text("is attended to by")


def test_a_pattern_says_why_a_head_attends_and_which_paths_predict(visit, two):
    page = visit()
    page.locator("#patterns .controls select").first.select_option("two")
    section, text = page.locator("#patterns"), two["texts"][0]
    section.locator("button[data-head=L1H1]").click()
    section.locator(".text span").nth(2).hover()
    best = text["paths"][2]
    playwright.expect(section.locator(".reasons li").first).to_contain_text(
        f"{best['logits'][0] / 100:+.2f}".replace("-", "−")
    )
    playwright.expect(section.locator(".reasons li").first).to_contain_text(best["names"][0])
    row, column = 3, 1
    section.locator(".pattern canvas").hover(position={"x": 92 + 14 * column + 7, "y": 92 + 14 * row + 7})
    reasons = text["reasons"][two["heads"].index("L1H1")]
    kept = len(reasons["which"]) // len(text["patterns"][0])
    cell = (row * (row + 1) // 2 + column) * kept
    lines = section.locator(".reasons li")
    playwright.expect(lines).to_have_count(kept)
    for i in range(kept):
        playwright.expect(lines.nth(i)).to_contain_text(reasons["terms"][reasons["which"][cell + i]])
        playwright.expect(lines.nth(i)).to_contain_text(f"{abs(reasons['above'][cell + i]) / 100:.2f}")


def test_a_pattern_has_an_address(visit, two):
    page = visit()
    page.locator("#patterns .controls select").first.select_option("two")
    last = len(two["texts"]) - 1
    page.locator("#patterns .controls select").nth(1).select_option(str(last))
    page.locator("#patterns button[data-head=L1H2]").click()
    playwright.expect(page.locator("#patterns button[aria-pressed=true]")).to_have_text("L1H2")
    written = page.url.partition("#")[2]
    assert parse_qs(written)["head"] == ["L1H2"] and not parse_qs(written)["text"][0].isdigit()
    page = visit(f"#{written}")
    assert page.locator("#patterns button[aria-pressed=true]").inner_text() == "L1H2"
    assert page.locator("#patterns .controls select").nth(1).input_value() == str(last)
    assert page.locator("#patterns .text span").count() == len(two["texts"][-1]["guesses"])


def test_everything_is_reached_and_done_by_keyboard(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#token").focus()
    page.keyboard.type("id:5")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#explorer h3 code").first).to_have_text("$x^2$")
    assert "source=" in page.url
    header = page.locator("#skip-trigrams th", has_text="Score")
    header.locator(".dt-column-order").focus()
    page.keyboard.press("Enter")
    playwright.expect(header).to_have_attribute("aria-sort", "descending")


def test_colours_follow_the_system_and_then_the_reader(visit):
    page = visit(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(20, 23, 29)"
    page.locator("#colours").select_option("light")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.evaluate(background) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out_of_the_page(visit, width):
    page = visit("#source=id:12&model=two", viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_what_is_printed_keeps_its_figures_and_its_marks_and_fits_the_paper(visit):
    page = visit()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 701
    assert not page.locator("nav").first.is_visible() and not page.locator("#skip-trigrams").is_visible()
    drawing = page.locator("figure[data-name=copying_one] svg")
    assert drawing.is_visible() and drawing.bounding_box()["width"] <= 700
    assert page.evaluate("getComputedStyle(document.documentElement).printColorAdjust") == "exact"


def test_a_model_is_chosen_by_its_button_and_by_an_address(visit):
    page = visit("#one-bigrams")
    assert page.locator("#one-bigrams h3").is_visible() and not page.locator("#zero-bigrams h3").is_visible()
    page.locator("#zero-layers label", has_text="zero").click()
    assert page.url.endswith("#zero-bigrams") and page.locator("#zero-bigrams h3").is_visible()
    last = page.locator("#one-heads details.more").last
    anchor = last.locator("table, figure").first
    assert not anchor.is_visible()
    last.locator("summary").click()
    assert anchor.is_visible()


def test_the_findings_stand_on_the_first_screen(visit):
    page = visit(viewport={"width": 1280, "height": 800})
    findings = page.locator("#summary .findings > li")
    assert findings.count() == 5
    for i in range(5):
        box = findings.nth(i).bounding_box()
        assert box["y"] + box["height"] <= 800
        assert page.locator(findings.nth(i).locator("a").get_attribute("href")).count() == 1


def test_pictures_are_taken_from_a_report(address, tmp_path):
    page = address.removeprefix("file://")
    subprocess.run([sys.executable, str(ROOT / "docs" / "pictures.py"), page, str(tmp_path)], check=True)
    taken = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(taken) == {"findings", "patterns"}
    assert {content[16:24] for content in taken.values()} == {struct.pack(">II", 1280, 800)}


def test_tables_can_be_read_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("#one-heads tbody tr").first.is_visible()
    assert page.locator("#zero-bigrams h3").is_visible() and not page.locator("#one-bigrams h3").is_visible()
    page.locator("#zero-layers label", has_text="one").click()
    assert page.locator("#one-bigrams h3").is_visible() and not page.locator("#zero-bigrams h3").is_visible()
    assert "needs JavaScript" in page.content()
    context.close()
