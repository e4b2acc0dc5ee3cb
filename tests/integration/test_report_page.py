"""The page of a report in a real browser: both widths, both themes, keyboard, filters; nothing is loaded or complained of."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reported_runs import HOSTILE, reported_run, write_evaluation, write_gradients

from rl_distill.reporting.run_report import report

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SWITCHES += ["--disable-component-update", "--disable-sync"]
TABS = ["overview", "curves", "alarms", "costs", "benchmarks", "words", "trajectories", "gradients", "environment"]
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on the PATH")]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = [reported_run(folder / f"run{seed}", seed=seed) for seed in (0, 1)]
    write_evaluation(folder / "evaluations" / "run0", runs[0] / "final")
    write_gradients(runs[0])
    return report(runs, folder / "report.html", evaluations=folder / "evaluations").path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driving = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driving.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any, page_file: Path) -> Iterator[Any]:
    """`open_page(width, theme, hash)`; at the end nothing may have been said on the console, and nothing asked of a network."""
    complaints: list[str] = []
    contexts = []

    def opened(width: str = "desktop", theme: str = "light", hash: str = "") -> Any:
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        contexts.append(browser.new_context(viewport=size, color_scheme=theme))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
        page.goto(page_file.as_uri() + hash)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def show(page: Any, name: str) -> Any:
    """A tab with everything in it drawn."""
    page.click(f"#tab-{name}")
    page.wait_for_selector(f"#panel-{name}[data-ready]")
    page.wait_for_function(f"[...document.querySelectorAll('#panel-{name} .plot')].every(one => one.dataset.drawn)")
    return page.locator(f"#panel-{name}")


def field(page: Any, text: str) -> Any:
    return page.locator(f"#panel-trajectories label:has-text('{text}')").locator("select, input").first


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_tab_fits_and_is_in_the_colors_that_were_asked_for(open_page: Any, width: str, theme: str) -> None:
    page = open_page(width, theme)
    for name in TABS:
        panel = show(page, name)
        assert panel.inner_text().strip() and page.url.split("#")[-1].startswith(name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen"
    red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])
    assert red < 60 if theme == "dark" else red > 200
    drawn = [
        page.locator(f"#panel-{name} .plot svg.main-svg").count()
        for name in ("overview", "curves", "alarms", "costs", "benchmarks", "words", "gradients")
    ]
    assert all(drawn)


def test_tabs_go_by_the_keyboard_and_have_addresses(open_page: Any) -> None:
    page = open_page(hash="#alarms")
    page.wait_for_selector("#panel-alarms[data-ready]")
    page.focus("#tab-alarms")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#panel-costs[data-ready]")
    assert page.evaluate("document.activeElement.id") == "tab-costs" and page.url.endswith("#costs")
    page.keyboard.press("Home")
    page.wait_for_selector("#panel-overview:not([hidden])")
    assert page.get_attribute("#tab-overview", "aria-selected") == "true"


def test_a_table_is_sorted_by_its_heads_and_says_so(open_page: Any) -> None:
    page = open_page()
    show(page, "overview")
    table = page.locator("#panel-overview table").first
    table.locator("th button", has_text="trained tokens").press("Enter")
    assert table.locator("th[aria-sort='descending']").inner_text().startswith("trained tokens")
    table.locator("th button", has_text="run").click()
    assert table.locator("tbody tr td").first.inner_text() == "run0"


def test_runs_of_one_recipe_have_a_mean_over_their_seeds(open_page: Any) -> None:
    page = open_page()
    show(page, "overview")
    row = page.locator("#panel-overview table[aria-label*='seed only'] tbody tr").first
    assert "run0, run1" in row.inner_text() and "2 of 2" in row.inner_text() and "no interval" in row.inner_text()


def test_curves_are_smoothed_and_compared(open_page: Any) -> None:
    page = open_page()
    show(page, "curves")
    data = "document.querySelector('#panel-curves .plot').data.map(trace => trace.y)"
    before = page.evaluate(data)
    page.locator("#panel-curves input[type='range']").fill("0.9")
    page.wait_for_function(f"JSON.stringify({data}) !== {str(before).replace(' ', '')!r}")
    after = page.evaluate(data)
    assert len(after) == len(before) and [max(y) - min(y) for y in after] < [max(y) - min(y) for y in before]
    page.locator("#panel-curves label:has-text('run1') input").uncheck()
    page.wait_for_function(f"{data}.length === {len(before) // 2}")


def test_attempts_are_filtered_by_verdict_kind_and_length(open_page: Any) -> None:
    page = open_page()
    show(page, "trajectories")
    told = page.locator("#panel-trajectories [role='status']").first
    assert told.inner_text() == "1 to 24 of 24 attempts, 12 of them correct"
    field(page, "verdict").select_option("correct")
    assert told.inner_text() == "1 to 12 of 12 attempts, 12 of them correct"
    field(page, "kind").select_option("rollout")
    assert told.inner_text() == "1 to 4 of 4 attempts, 4 of them correct"
    field(page, "tokens from").fill("99")
    assert told.inner_text() == "No attempt is like that."


def test_what_a_student_said_stays_text(open_page: Any) -> None:
    page = open_page()
    title = page.title()
    show(page, "trajectories")
    field(page, "verdict").select_option("correct")
    field(page, "kind").select_option("held-out")
    page.locator("#panel-trajectories .list tbody tr").first.click()
    page.wait_for_function("document.getElementById('attempt').innerText.includes('onerror')")
    assert HOSTILE in page.locator("#attempt .said").first.text_content() and page.title() == title
    assert page.locator("#attempt img, #attempt script").count() == 0


def test_tokens_are_colored_and_read_by_the_keyboard(open_page: Any) -> None:
    page = open_page()
    show(page, "trajectories")
    field(page, "kind").select_option("rollout")
    page.locator("#panel-trajectories .list tbody tr").first.click()
    said = page.locator("#attempt .said[tabindex='0']")
    said.wait_for()
    depths = said.locator("span").evaluate_all("spans => spans.map(one => Number(one.style.getPropertyValue('--depth')))")
    assert depths == sorted(depths) and depths[-1] > depths[0] > 0  # of -0.5, -1.25 and -2 nats
    said.focus()
    page.keyboard.press("ArrowRight")
    assert "log-prob -0.50" in page.locator("#tip").inner_text() and "advantage" in page.locator("#tip").inner_text()
    field(page, "color by").select_option("behind")
    page.wait_for_selector("#attempt .said span.behind, #attempt .said span:not([class])")


def test_two_students_answers_to_a_problem_stand_side_by_side_with_what_differs(open_page: Any) -> None:
    page = open_page()
    show(page, "trajectories")
    field(page, "kind").select_option("held-out")
    rows = page.locator("#panel-trajectories .list tbody tr")
    rows.first.click()
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("c")
    page.wait_for_function("document.querySelectorAll('#attempt article').length === 2")
    names = page.locator("#attempt article").evaluate_all("found => found.map(one => one.getAttribute('aria-label'))")
    assert names[0] != names[1]
    asked = page.locator("#attempt label:has-text('beside it') select option").all_inner_texts()
    wanted = (
        next(text for text in asked if "wrong" in text)
        if "correct" in page.locator("#attempt .mark").first.inner_text()
        else asked[1]
    )
    page.locator("#attempt label:has-text('beside it') select").select_option(label=wanted)
    page.wait_for_selector("#attempt del, #attempt ins")
