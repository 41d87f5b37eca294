"""Take the README's pictures from the report, as a reader sees it.

Reads   reports/index.html
Writes  docs/findings.png, docs/patterns.png

Run by `make pictures`; drives the system's Chromium.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1280, "height": 800}


def deepest(page: Page) -> str:
    """The model with patterns that shows induction: `two` of the default ones, otherwise the last."""
    names = page.locator("#patterns .controls select").first.locator("option").all_inner_texts()
    return "two" if "two" in names else names[-1]


def findings(page: Page) -> None:
    """The first screen."""
    page.locator("h1").evaluate("heading => heading.scrollIntoView({behavior: 'instant'})")


def patterns(page: Page) -> None:
    """An induction head on a text in which a virtual head counts, or the last head of the deepest model."""
    section, heads = page.locator("#patterns"), page.locator("#patterns .thumbnails button")
    section.locator(".controls option").first.wait_for(state="attached")  # the page makes this tool after it is ready
    section.locator(".controls select").first.select_option(deepest(page))
    heads.last.wait_for()
    texts = section.locator(".controls select").nth(1)
    texts.select_option(index=min(4, texts.locator("option").count() - 1))
    induction = section.locator(".thumbnails button[data-head=L1H1]")
    (induction if induction.count() else heads.last).click()
    section.locator(".reading").evaluate("text => text.scrollIntoView({behavior: 'instant', block: 'end'})")


PICTURES: dict[str, Callable[[Page], None]] = {"findings": findings, "patterns": patterns}


def main(report: Path, folder: Path) -> None:
    """Photograph the report once for each picture."""
    chromium = shutil.which("chromium")
    if chromium is None or not report.exists():
        sys.exit(f"error: pictures take {report} (make report) and Chromium (apt-get install chromium)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for name, prepare in PICTURES.items():
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            page.goto(report.resolve().as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            prepare(page)
            page.screenshot(path=folder / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:] or ("reports/index.html", "docs")))
