"""The pictures of the app in docs/, taken in a real browser.

`python -m benchmarks.pictures` serves the app, goes through its tabs with Debian's chromium, and writes
`docs/app*.png`.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

import app

PATIENCE = 300_000  # milliseconds for one wait
# Name, tab, width and height in pixels, colours, and what has to be there (a script that says so) before it is taken.
PICTURES = [
    ("app", "Image", (1440, 940), "light", None),
    ("app-phone", "Image", (390, 844), "dark", None),
    ("app-polynomial", "Polynomial", (1440, 940), "light", "document.querySelector('#curves .sample')"),
    ("app-shape", "3D", (1440, 900), "light", "document.querySelector('#shape-sample-2 canvas')"),
    ("app-video", "Video", (1440, 940), "light", "document.querySelector('#player [data-name=\"Sample\"] canvas')"),
    ("app-field", "Field", (1440, 940), "light", "document.querySelectorAll('#field-answers .pt-card').length > 19"),
]
SETTLED = """() => document.querySelector('#samples .pt-result')?.dataset.share === "1"
  && !document.querySelector('#samples[data-stale], .pt-working')"""
RENEWED = "() => !document.querySelector('#shape-likely[data-stale]')"
REST = 8000  # milliseconds for what fades in, and for 3D views, which software draws slowly


def take(browser: Browser, url: str, folder: Path, name: str, tab: str, size: tuple, scheme: str, there: str) -> None:
    """One picture of the app as a new visitor finds it."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(url, wait_until="domcontentloaded", timeout=PATIENCE)
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    if tab != "Image":
        page.get_by_role("tab", name=tab, exact=True).click()
        if tab == "3D":
            draw_a_stool(page)
        page.wait_for_function(f"() => {there}", timeout=PATIENCE)
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    page.wait_for_timeout(REST)
    page.screenshot(path=folder / f"{name}.png")
    context.close()


def draw_a_stool(page: Page) -> None:
    """Another shape than the first, and samples of it."""
    page.locator("#shape-likely canvas").wait_for()
    page.get_by_role("button", name="Stool", exact=True).click()
    page.wait_for_timeout(500)
    page.wait_for_function(RENEWED, timeout=PATIENCE)  # another shape takes samples away
    page.locator("#draw-shape").click()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "docs")
    parser.add_argument("--only", nargs="+", help="names of some pictures, such as app-phone; default: all")
    arguments = parser.parse_args()
    blocks = app.build()
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    # Without a graphics card the 3D views are drawn in software.
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags, timeout=PATIENCE)
        for picture in PICTURES:
            if arguments.only is None or picture[0] in arguments.only:
                take(browser, url, arguments.output, *picture)
                print(f"{picture[0]}.png")
        browser.close()
    blocks.close()


if __name__ == "__main__":
    main()
