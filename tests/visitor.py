"""What a visitor does in the app's page, and what they wait for."""

import re

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

expect = sync_api.expect
PATIENCE = 120_000  # milliseconds for one wait: far more than a crowded machine takes
LONGEST = 3 * PATIENCE // 1000  # seconds for one test; how fast the app is, is measured by benchmarks/app_latency.py
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
SKETCH = 60  # values of the sketch that the page opens with, at least
LARGE = "#samples .pt-large img"


def opened(context, address: str):
    """A page of the app; an error of a script is kept in `page.errors`."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address, wait_until="domcontentloaded", timeout=PATIENCE)
    page.wait_for_selector(LARGE + "[src]", state="attached")
    return page


def image_of(page, name: str):
    return page.locator(f'#marginals figure[data-name="{name}"] img')


def large(page):
    return page.locator(LARGE)


def until_changed(locator, before: str, attribute: str = "src") -> str:
    expect(locator).not_to_have_attribute(attribute, before)
    return locator.get_attribute(attribute)


def until_drawn(page) -> None:
    """All samples are drawn, and of what is on the pad."""
    page.wait_for_function(
        """() => !document.querySelector(":is(#samples, #marginals, #levels)[data-stale], #samples [data-old=true]")
          && document.querySelector("#samples .pt-result")?.dataset.share === "1\"""",
        timeout=PATIENCE,
    )


def paint(page, x: float, y: float) -> None:
    """A dab; the pad tells of it at the next frame."""
    box = page.locator("#pad canvas").bounding_box()
    page.locator("#pad canvas").click(position={"x": x * box["width"], "y": y * box["height"]})
    page.evaluate("new Promise((done) => requestAnimationFrame(done))")


def tool(page, name: str) -> None:
    page.locator("#pad").get_by_role("button", name=name, exact=True).click()


def quiet(page) -> None:
    """Changes draw no samples from now on."""
    page.locator("#auto input").uncheck()


def clear(page) -> str:
    """An empty pad; its mean image."""
    quiet(page)
    tool(page, "Clear")
    until_observed(page, 0)
    return image_of(page, "Mean").get_attribute("src")


def pick(page, colour: str) -> None:
    page.locator("#pad").get_by_role("button", name=colour, exact=True).click()


def open_share(page) -> None:
    if not page.locator("#link-image").is_visible():
        page.locator("#share-image button").first.click()
    expect(page.locator("#link-image")).to_be_visible()


def observed(page) -> int:
    """How many values the mean that is shown was given."""
    return int(re.search(r"(\d+) observed", image_of(page, "Mean").get_attribute("alt")).group(1))


def until_observed(page, count: int) -> None:
    expect(image_of(page, "Mean")).to_have_attribute("alt", re.compile(f" {count} observed"))


def choose_model(page, name: str) -> None:
    page.locator("#checkpoint").get_by_label(name, exact=True).check()


def is_wide(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")


def told_once(page) -> None:
    """One notice, and no word of it on the controls that the failed request would have changed."""
    expect(page.locator(".toast-body")).to_have_count(1)
    expect(page.locator(".toast-title")).to_have_text("Please check")
    expect(page.locator("#tabs").get_by_text("Error", exact=True).filter(visible=True)).to_have_count(0)


def refuses(page, field: str, name: str, message: str) -> None:
    """A damaged file is told once, goes out of its field, and leaves nothing dimmed; the notice is closed."""
    file = {"name": name, "mimeType": "", "buffer": b"\x89PNG\r\n\x1a\nnothing"}
    page.locator(f"{field} input[type=file]").set_input_files(file)
    expect(page.get_by_text(message)).to_be_visible()
    told_once(page)
    expect(page.locator(f"{field} input[type=file]")).to_have_count(1)  # not while the field shows a file
    expect(page.locator("[data-stale]")).to_have_count(0)
    page.locator(".toast-close").first.click()
