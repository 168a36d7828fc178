"""The report in a real browser: nothing is asked of a network or breaks, and it can be read, sorted and printed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs
from packed import draw_study
from playwright.sync_api import Browser, Page, sync_playwright
from test_report import CLASSES, HOSTILE

from msbatch.results.reduce import reduce
from msbatch.results.report.page import SECTIONS, write_report

CHROMIUM = Path("/usr/bin/chromium")

# Of every piece of text: its colour against what lies behind it, as WCAG 2 counts it.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => rgba(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let own = element; own; own = own.parentElement) {
      const colour = getComputedStyle(own).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [low, high] = [light(ink), light(behind(element))].sort((a, b) => a - b);
    found.push({ text: text.slice(0, 40), ratio: (high + 0.05) / (low + 0.05) });
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.is_file():
        if os.environ.get("MSBATCH_BROWSER") == "required":
            pytest.fail(f"{CHROMIUM} is missing, and MSBATCH_BROWSER asks for it")
        pytest.skip(f"no browser: install Debian's chromium, which is {CHROMIUM}")
    with sync_playwright() as program:
        started = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module", params=["patients", "cells", "hostile"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    if request.param == "hostile":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "CLASSES", CLASSES)
            run = draw_study(sizes=(4,) * 8, backbones=("a<b>&'\"$_",)).renamed(HOSTILE).write(folder)
    else:
        run = draw_study(sizes=(6,) * 12, by_cell=request.param == "cells", backbones=("resnet50", "vit")).write(folder)
    return write_report(run, reduce(run))


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """Open the report on a desktop screen; anything it says on the console, asks for or pops up is a failure."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    opened, heard = context.new_page(), []
    opened.on("console", lambda message: heard.append(message.text))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on("dialog", lambda dialog: heard.append(dialog.message))
    opened.on("request", lambda request: heard.append(request.url) if not request.url.startswith("data:") else None)
    opened.goto(report.as_uri())
    heard.remove(report.as_uri())
    yield opened
    context.close()
    assert heard == []


def test_all_is_there(page: Page) -> None:
    assert page.locator("h2").count() == len(SECTIONS)
    assert page.locator("svg").count() > 3
    broken = "images => images.filter(image => !image.complete || !image.naturalWidth).length"
    assert page.locator("img").count() > 10
    assert page.locator("img").evaluate_all(broken) == 0


def test_every_text_stands_out_from_its_ground(page: Page) -> None:
    found = page.evaluate(CONTRASTS)
    assert len(found) > 300
    assert [own for own in found if own["ratio"] < 4.5] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = "svgs => svgs.filter(svg => svg.getBoundingClientRect().right > innerWidth).length"
    assert page.locator("svg").evaluate_all(wide) == 0


def test_headings_sort_their_column_by_mouse_and_keyboard(page: Page) -> None:
    table = page.locator("figure.table", has_text="All folds").locator("table")
    heading = table.locator("th", has_text="mean logit")
    place = table.locator("th").all_inner_texts().index(heading.inner_text()) + 1
    orders = f"rows => rows.map(row => Number(row.cells[{place - 1}].dataset.order))"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    up = table.locator("tbody tr").evaluate_all(orders)
    assert up == sorted(up)
    assert up != sorted(up, reverse=True)
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert table.locator("tbody tr").evaluate_all(orders) == up[::-1]
    table.locator("th", has_text="patient").first.locator("button").click()
    assert table.locator("th[aria-sort]").count() == 1


def test_it_prints(page: Page) -> None:
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.startswith(b"%PDF")
    assert 4 <= printed.count(b"/Type /Page\n") <= 40


def test_without_scripts_it_is_as_complete(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(report.as_uri())
    assert plain.locator("th button").count() == 0
    assert plain.locator("h2").count() == len(SECTIONS)
    context.close()
