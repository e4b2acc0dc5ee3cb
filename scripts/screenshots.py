"""Pictures of a report as people see it: every tab on a desktop and on a phone, light and dark.

    rl-distill report runs/quickstart -o report.html
    python scripts/screenshots.py report.html [-o screenshots]

Needs the extra `dev` (Playwright) and a Chromium on the PATH. What the page says on its console is printed, and ends it with 1.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
THEMES = ("light", "dark")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="a page of rl-distill report")
    parser.add_argument("-o", "--output", type=Path, default=Path("screenshots"), metavar="FOLDER")
    options = parser.parse_args()
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None or not options.report.is_file():
        missing = f"there is no file {str(options.report)!r}" if browser else f"none of {', '.join(BROWSERS)} is on the PATH"
        print(f"error: {missing}", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    options.output.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for theme in THEMES:
            for name, (width, height) in WIDTHS.items():
                page = opened.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                page.on("console", lambda message: said.append(message.text))
                page.on("pageerror", lambda error: said.append(str(error)))
                page.goto(options.report.resolve().as_uri())
                for tab in tabs(page):
                    file = options.output / f"{tab}-{name}-{theme}.png"
                    show(page, tab)
                    page.screenshot(path=file)
                    print(file)
                page.close()
    print("\n".join(said), file=sys.stderr)
    return 1 if said else 0


def tabs(page: Any) -> list[str]:
    return [str(one.get_attribute("id")).removeprefix("tab-") for one in page.locator("[role=tab]").all()]


def show(page: Any, tab: str) -> None:
    """With everything in it drawn."""
    page.click(f"#tab-{tab}")
    page.wait_for_selector(f"#panel-{tab}[data-ready]")
    page.wait_for_function(f"[...document.querySelectorAll('#panel-{tab} .plot')].every(one => one.dataset.drawn)")


if __name__ == "__main__":
    sys.exit(main())
