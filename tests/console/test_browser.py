"""The console in a real Chromium: by keyboard alone, for a screen reader, and with the slider."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.bundles import ITEMS
from tests.support.cli import COMMAND
from tests.support.console import HOSTILE, console_suite
from tests.support.processes import Process, free_port
from tests.support.suite import Suite
from tests.support.waiting import eventually

USER = "ann & bob"
PICTURES = os.environ.get("CONSOLE_PICTURES")
"""A folder that gets a picture of each page."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with console_suite(tmp_path_factory.mktemp("console")) as running:
        yield running


@pytest.fixture(scope="module")
def address(suite: Suite) -> Iterator[str]:
    """The console, started as a person starts it."""
    port = free_port()
    where = {
        f"GROUNDSWELL_{name.upper()}_ADDRESS": getattr(suite.targets, name)
        for name in ("ranker", "session", "profile")
    }
    arguments = [*COMMAND[1:], "console", "--port", str(port)]
    log = suite.folder / "console.log"
    with Process([*arguments, "--bundles", str(suite.bundles)], where, log) as process:
        eventually(lambda: "The console is at" in log.read_text(), 30)
        yield f"http://127.0.0.1:{port}"
        assert process.stop() == 0
    assert USER.partition(" ")[0] not in log.read_text()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        assert path, "no chromium: `make test-console` installs it"
        # Chromium's own sandbox needs rights that a container's root lacks.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """A page that must neither report an error nor break its policy."""
    opened = chromium.new_page(base_url=address, viewport={"width": 1280, "height": 1000})
    problems: list[str] = []
    opened.on("console", lambda said: problems.append(said.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.set_default_timeout(15_000)
    yield opened
    opened.close()
    assert [text for text in problems if "400 (Bad Request)" not in text] == []


def user_page(**more: str) -> str:
    return "/?" + urlencode({"user": USER, "size": "10", **more})


PATHS = {
    "user": user_page(),
    "mistake": "/?items=No+Such",
    "suite": "/suite",
    "why": "/why" + user_page(item="item-6")[1:],
}


def rows(page: Page) -> list[list[str]]:
    """The cells of the list."""
    found: list[list[str]] = page.eval_on_selector_all(
        "#list tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    return found


def ids(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "#list tbody a", "all => all.map(a => new URL(a.href).searchParams.get('item'))"
    )
    return found


def test_the_slider_orders_as_the_ranker_does_without_any_request(page: Page, suite: Suite) -> None:
    page.goto(user_page())
    served = rows(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for alpha in (0.0, 0.13, 0.5, 0.86, 1.0):
        page.locator("#alpha").fill(str(alpha))
        true = suite.client.recommend(USER, page_size=10, fusion_weight=alpha)
        assert ids(page) == [one.item_id for one in true.recommendations]
        scores = [float(row[7]) for row in rows(page)]
        # At its ends the slider stands for 1/1024 of the other vector.
        assert scores == pytest.approx([one.score for one in true.recommendations], abs=0.01)
    page.locator("#list-status").filter(has_text="All 10 places are exact").wait_for()
    assert page.locator("#list tbody svg rect").count() == 30
    page.get_by_role("button", name="As served").click()
    assert rows(page) == served
    assert requests == []


def test_every_part_is_reached_by_keyboard_alone(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(USER)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=USER).wait_for()
    press_tab_until(page, "alpha")
    before = ids(page)
    page.keyboard.press("Home")
    page.locator("#list-status").filter(has_text="α = 0.").wait_for()
    assert page.locator("#alpha").get_attribute("aria-valuetext") == "α 0"
    assert ids(page) != before
    page.keyboard.press("ArrowRight")
    press_tab_until(page, "item")
    page.keyboard.type(ITEMS[9][1])
    page.keyboard.press("Enter")
    page.get_by_text("It is not in the list: the user has seen it").wait_for()
    assert "alpha=0.01" in page.url


def press_tab_until(page: Page, name: str) -> None:
    """Go on to an element, and see on the way that the focus is always visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused, outline = page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none"
        if focused == name:
            return
    raise AssertionError(f"the focus never came to {name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PATHS)
def test_no_page_breaks_a_rule_of_accessibility(
    page: Page, scheme: Literal["light", "dark"], name: str
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(PATHS[name])
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}-{scheme}.png", full_page=True)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_a_screen_reader_finds_landmarks_names_and_tables(page: Page) -> None:
    page.goto(user_page(size="20"))
    tree = page.locator("body").aria_snapshot()
    for line in (
        "- banner",
        '- navigation "Pages"',
        "- main",
        f'- heading "{USER}" [level=1]',
        '- textbox "User id": ann & bob',
        'slider "Fusion weight α: the share of the short-term vector"',
        "- status",
        '- region "Interests"',
        "- contentinfo",
    ):
        assert line in tree, tree
    assert page.get_by_role("table", name="Score = short-term part").count() == 1
    assert page.get_by_role("rowheader", name=HOSTILE, exact=True).count() == 1
