"""The pages in a real browser: nothing complains, every image loads, tables sort and filter, a telephone can read them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advarch.cli.main import main
from advarch.reports.write import write
from tests.reports import made_up_runs as made
from tests.reports.made_up_folders import lay_all

pytestmark = pytest.mark.slow
BINARY, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (BINARY and DRIVER):
        pytest.skip("no chromium and chromedriver here; tests/browser/install installs Debian's")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def look(browser: Any, path: Path, width: int) -> list[str]:
    """What is wrong with a page at that width."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())
    wrong = [entry["message"] for entry in browser.get_log("browser")]
    unseen = "return [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.alt)"
    wrong += [f"not loaded: {alt}" for alt in browser.execute_script(unseen)]
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    return wrong + ([f"{wide} pixels wide"] if wide > width else [])


def rows(browser: Any) -> list[str]:
    """The first cells of the visible rows of the first listing."""
    script = "return [...document.querySelector('.listing tbody').rows].filter(r => !r.hidden).map(r => r.cells[0].innerText)"
    return [str(name) for name in browser.execute_script(script)]


def test_pages(browser: Any, tmp_path: Path) -> None:
    root = lay_all(tmp_path / "outputs")
    assert main(["report", "--all", f"outputs={root}"]) == 0
    write(made.SWEEP, made.broken(), tmp_path / "alone")
    pages = [*sorted(root.rglob("*.html")), tmp_path / "alone" / "report.html"]
    assert len(pages) == 8
    assert {str(page): look(browser, page, 400) for page in pages} == {str(page): [] for page in pages}

    assert look(browser, tmp_path / "alone" / "report.html", 400) == []
    seen = "return document.querySelector('.listing td.num').getBoundingClientRect().right"
    assert browser.execute_script(seen) < 400
    # Tables in a closed run have no width; the others need no scrolling.
    cut = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    for page in pages:
        assert look(browser, page, 1280) == []
        assert browser.execute_script(cut) == 0, page

    assert look(browser, tmp_path / "alone" / "report.html", 1280) == []
    as_written = rows(browser)
    assert as_written[0] == "1-1-1" and len(as_written) == 16
    heads = {head.text: head for head in browser.find_elements("css selector", ".listing th button")}
    heads["parameters"].click()
    largest = rows(browser)
    assert largest[0] == "2-2-2" and largest != as_written and sorted(largest) == sorted(as_written)
    heads["parameters"].click()
    assert rows(browser)[0] == "1-1-1"
    box = browser.find_element("css selector", "input[type=search]")
    box.send_keys("running 40")
    assert rows(browser) == ["2-1-2"] * 2
    assert browser.find_element("css selector", "output").text == "2 of 16 rows"

    assert look(browser, root / "index.html", 1280) == []
    browser.find_element("css selector", "input[type=search]").send_keys("single")
    assert [name.splitlines()[0] for name in rows(browser)] == ["single"]
