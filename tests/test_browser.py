"""A visitor's way through the app in a real browser: paint, ask, sample, use every tab, on desktop and phone."""

import os
import re
import shutil
from pathlib import Path

import pytest
from app_server import serve

from demo import share

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = Path(os.environ.get("SCREENSHOTS", "artifacts/screenshots"))
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
PATIENCE = 180_000  # milliseconds; how fast the app is, is measured by benchmarks/app_latency.py
# They take many minutes, so a run of all tests leaves them out: set BROWSER_TESTS=1 and name this file.
WANTED = BROWSER is not None and bool(os.environ.get("BROWSER_TESTS"))
pytestmark = pytest.mark.skipif(not WANTED, reason="no chromium is installed, or BROWSER_TESTS is not set")


@pytest.fixture(scope="module")
def browser():
    # Without a graphics card the 3D views are drawn in software.
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    sync_api.expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield started
        started.close()


@pytest.fixture(params=SIZES)
def page(browser, request):
    """The app, opened, at both sizes; an error of a script fails the test."""
    yield from opened_page(browser, request, request.param)


@pytest.fixture
def desktop(browser, request):
    """The app, opened, at desktop size alone: for what does not depend on the size."""
    yield from opened_page(browser, request, "desktop")


def opened_page(browser, request, size: str):
    width, height = SIZES[size]
    scheme = "light" if size == "desktop" else "dark"
    opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened.set_default_timeout(PATIENCE)
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(serve())
    opened.wait_for_selector("#samples .pt-large img[src]")
    yield opened
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    SHOTS.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=SHOTS / f"{name}.png", full_page=True)
    opened.close()
    assert not errors


def image_of(page, name: str):
    return page.locator(f'#marginals figure[data-name="{name}"] img')


def large(page):
    return page.locator("#samples .pt-large img")


def until_changed(locator, before: str, attribute: str = "src") -> str:
    sync_api.expect(locator).not_to_have_attribute(attribute, before)
    return locator.get_attribute(attribute)


def until_drawn(page) -> None:
    """All samples are drawn, and of what is on the pad."""
    page.wait_for_selector('#samples .pt-result[data-share="1"]')
    sync_api.expect(page.locator("#samples [data-old=true]")).to_have_count(0)
    sync_api.expect(page.locator("#samples[data-stale]")).to_have_count(0)


def paint(page, x: float, y: float) -> None:
    box = page.locator("#pad canvas").bounding_box()
    page.locator("#pad canvas").click(position={"x": x * box["width"], "y": y * box["height"]})


def tool(page, name: str) -> None:
    page.locator("#pad").get_by_role("button", name=name, exact=True).click()


def clear(page) -> None:
    """An empty pad, no samples drawn, and its mean."""
    page.locator("#auto input").uncheck()
    before = image_of(page, "Mean").get_attribute("src")
    tool(page, "Clear")
    until_changed(image_of(page, "Mean"), before)


def observed(page) -> int:
    """How many values the mean that is shown was given."""
    return int(re.search(r"(\d+) observed", image_of(page, "Mean").get_attribute("alt")).group(1))


def until_observed(page, count: int) -> None:
    sync_api.expect(image_of(page, "Mean")).to_have_attribute("alt", re.compile(f" {count} observed"))


def choose_model(page, name: str) -> None:
    page.locator("#checkpoint").get_by_label(name, exact=True).check()


def is_wide(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")


def test_a_whole_cat_is_on_the_screen_before_any_touch(page):
    box, (_, height) = large(page).bounding_box(), page.evaluate("[innerWidth, innerHeight]")
    assert box["width"] >= 280 and box["y"] >= 0 and box["y"] + box["height"] <= height
    assert page.locator("#samples .pt-thumb").count() == 4
    assert observed(page) > 50 and not is_wide(page)
    assert page.locator("#pad .pt-brush input").input_value() == "3"
    sync_api.expect(page.locator("#stop-image")).not_to_be_visible()


def test_a_stroke_changes_mean_and_samples_and_the_old_ones_are_dimmed_until_then(page):
    mean, sample = image_of(page, "Mean").get_attribute("src"), large(page).get_attribute("src")
    paint(page, 0.5, 0.5)
    until_changed(image_of(page, "Mean"), mean)
    until_changed(large(page), sample)
    until_drawn(page)
    page.locator("#pad canvas").scroll_into_view_if_needed()
    sync_api.expect(large(page)).to_be_in_viewport(ratio=0.9)
    assert not is_wide(page)


def test_what_depends_on_a_change_is_dimmed_at_once(desktop):
    seen = desktop.evaluate(
        """() => new Promise((done) => {
          const shown = document.querySelector('#samples'), found = [];
          new MutationObserver(() => { if ('stale' in shown.dataset) done(true); }).observe(shown, {attributes: true});
          document.querySelector('#checkpoint input:not(:checked)').click();
          setTimeout(() => done(false), 2000);
        })"""
    )
    assert seen
    until_drawn(desktop)
    assert desktop.locator("#pad .pt-paper").is_visible()  # digits


def test_painting_changes_the_mean_and_undo_and_redo_go_back_and_forth(desktop):
    clear(desktop)
    mean = image_of(desktop, "Mean")
    empty = mean.get_attribute("src")
    paint(desktop, 0.3, 0.4)
    painted = until_changed(mean, empty)
    paint(desktop, 0.7, 0.4)
    twice = until_changed(mean, painted)
    for name, expected in (("Undo", painted), ("Undo", empty), ("Redo", painted), ("Redo", twice), ("Clear", empty)):
        tool(desktop, name)
        sync_api.expect(mean).to_have_attribute("src", expected)
    tool(desktop, "Undo")
    sync_api.expect(mean).to_have_attribute("src", twice)


def test_undo_takes_back_a_model_and_an_example(desktop):
    desktop.locator("#auto input").uncheck()
    mean = image_of(desktop, "Mean")
    sketch = mean.get_attribute("src")
    choose_model(desktop, "Digits")
    digits = until_changed(mean, sketch)
    desktop.locator('#image-examples [data-name="Ginger cat"] .pt-look').click()
    until_observed(desktop, 96)
    sync_api.expect(image_of(desktop, "Truth")).to_be_visible()
    tool(desktop, "Undo")
    sync_api.expect(mean).to_have_attribute("src", digits)
    sync_api.expect(desktop.locator("#checkpoint").get_by_label("Digits", exact=True)).to_be_checked()
    tool(desktop, "Undo")
    sync_api.expect(mean).to_have_attribute("src", sketch)
    sync_api.expect(desktop.locator("#checkpoint").get_by_label("Cats", exact=True)).to_be_checked()
    tool(desktop, "Redo")
    tool(desktop, "Redo")
    until_observed(desktop, 96)
    sync_api.expect(image_of(desktop, "Truth")).to_be_visible()


def test_the_last_stroke_wins(desktop):
    clear(desktop)
    brush = desktop.locator("#pad .pt-brush input")
    brush.fill("4")
    paint(desktop, 0.5, 0.5)
    until_observed(desktop, 1)
    brush.fill("2")
    desktop.get_by_role("button", name="black", exact=True).click()
    paint(desktop, 0.5, 0.5)
    until_observed(desktop, 13)  # the black dab, and the 12 of 16 pixels of the other that it left
    brush.fill("4")
    paint(desktop, 0.5, 0.5)
    until_observed(desktop, 1)


def test_ink_on_digits_lies_on_paper_that_can_be_taken_away(desktop):
    desktop.locator("#auto input").uncheck()
    choose_model(desktop, "Digits")
    until_changed(image_of(desktop, "Mean"), image_of(desktop, "Mean").get_attribute("src"))
    tool(desktop, "Clear")
    until_observed(desktop, 0)
    paint(desktop, 0.5, 0.5)
    sync_api.expect(image_of(desktop, "Mean")).not_to_have_attribute("alt", re.compile(" 0 observed"))
    assert observed(desktop) > 30
    desktop.locator("#pad .pt-paper input").uncheck()
    until_observed(desktop, 9)


def test_the_keyboard_paints_and_erases(desktop):
    clear(desktop)
    empty = image_of(desktop, "Mean").get_attribute("src")
    desktop.locator("#pad canvas").focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        desktop.keyboard.press(key)
    until_changed(image_of(desktop, "Mean"), empty)
    sync_api.expect(desktop.locator("#pad .pt-said")).to_contain_text("Column 18, row 18, not observed")
    desktop.keyboard.press("ArrowRight")
    sync_api.expect(desktop.locator("#pad .pt-said")).to_contain_text("an average of 3×3 pixels, ginger")
    desktop.keyboard.press("ArrowLeft")
    desktop.keyboard.press("Delete")
    sync_api.expect(image_of(desktop, "Mean")).to_have_attribute("src", empty)


def test_samples_and_a_pixels_distribution(page):
    page.locator("#samples .pt-thumb").nth(1).click()
    sync_api.expect(large(page)).to_have_attribute("alt", "Sample 2 of 4")
    page.locator("#samples .pt-large").click(position={"x": 20, "y": 20})
    sync_api.expect(page.locator("#density svg")).to_be_visible()
    assert page.locator("#density rect").count() == 64
    sync_api.expect(page.locator("#density svg")).to_contain_text("mean")
    sync_api.expect(page.locator("#save-gif")).to_be_enabled()
    paint(page, 0.2, 0.2)
    sync_api.expect(page.locator("#density svg")).to_have_count(0)  # it was of another sketch


def test_every_setting_draws_again(desktop):
    until_drawn(desktop)
    desktop.locator("#number input[type=number]").fill("1")
    desktop.locator("#number input[type=number]").press("Enter")
    sync_api.expect(desktop.locator("#samples .pt-thumb")).to_have_count(1)
    until_drawn(desktop)
    for name in ("#seed input", "#temperature input[type=number]"):
        before = large(desktop).get_attribute("src")
        desktop.locator(name).fill("1")
        desktop.locator(name).press("Enter")
        until_changed(large(desktop), before)
        until_drawn(desktop)


def test_an_upload_and_an_example_draw_and_the_most_uncertain_pixel_can_be_revealed(desktop):
    before = large(desktop).get_attribute("src")
    desktop.locator('#image-examples [data-name="Three"] .pt-look').click()
    sync_api.expect(image_of(desktop, "Truth")).to_be_visible()
    drawn = until_changed(large(desktop), before)
    until_drawn(desktop)
    count = observed(desktop)
    desktop.locator("#hint").click()
    sync_api.expect(desktop.locator("#density")).to_contain_text("Most uncertain")
    desktop.locator("#uncover").click()
    until_observed(desktop, count + 1)
    drawn = until_changed(large(desktop), drawn)
    desktop.locator("#upload input[type=file]").set_input_files("docs/app.png")
    until_observed(desktop, 64)
    until_changed(large(desktop), drawn)
    until_drawn(desktop)


def test_a_link_opens_the_same_picture_in_another_page_and_draws_it(page, browser):
    before = image_of(page, "Mean").get_attribute("src")
    paint(page, 0.25, 0.6)
    painted = until_changed(image_of(page, "Mean"), before)
    until_drawn(page)
    page.locator("#share-image button").first.click()
    page.locator("#link-image").click()
    page.wait_for_url("**/?tab=image&state=*")
    another = browser.new_page()
    another.goto(page.url, timeout=PATIENCE)
    sync_api.expect(image_of(another, "Mean")).to_have_attribute("src", painted, timeout=PATIENCE)
    sync_api.expect(large(another)).to_have_attribute("src", large(page).get_attribute("src"), timeout=PATIENCE)
    another.close()


def test_a_damaged_link_is_told_and_the_page_opens_as_ever(browser):
    page = browser.new_page()
    page.goto(serve() + "/?tab=image&state=abc", timeout=PATIENCE)
    sync_api.expect(page.get_by_text("This link cannot be opened")).to_be_visible(timeout=PATIENCE)
    assert page.locator("#marginals img").count() == 2 and page.locator("#samples .pt-thumb").count() == 4
    page.close()


def test_a_link_can_name_a_tab_alone(browser):
    page = browser.new_page()
    page.goto(serve() + "/?tab=polynomial", timeout=PATIENCE)
    sync_api.expect(page.locator("#curves polyline.mean")).to_be_visible(timeout=PATIENCE)
    page.close()


def test_a_large_brush_gives_one_average_and_samples_come_from_coarse_to_fine(desktop):
    state = {"checkpoint": "scaled", "positions": [], "values": [], "samples": 2, "order": "coarse-to-fine"}
    mean = image_of(desktop, "Mean")
    other = mean.get_attribute("src")  # of the checkpoint that is offered first
    desktop.locator("#share-image button").first.click()
    desktop.locator("#json-image textarea").fill(share.to_text("image", state | {"speed": "fast"}))
    desktop.locator("#open-image").click()
    empty = until_changed(mean, other)
    sync_api.expect(desktop.locator("#pad .pt-brush input")).to_have_attribute("max", "8")
    sync_api.expect(mean).to_have_attribute("alt", "Mean image, 32 × 32 pixels, 0 observed")
    desktop.locator("#pad .pt-brush input").fill("6")
    sync_api.expect(desktop.locator("#pad .pt-brush")).to_have_attribute("title", re.compile("average of 6×6 pixels"))
    paint(desktop, 0.3, 0.4)
    until_changed(mean, empty)
    until_observed(desktop, 1)
    sync_api.expect(desktop.locator("#levels figcaption b")).to_have_text(["4 × 4", "8 × 8", "16 × 16", "32 × 32"])
    tool(desktop, "Erase")
    desktop.locator("#pad .pt-brush input").fill("8")
    paint(desktop, 0.3, 0.4)
    sync_api.expect(mean).to_have_attribute("src", empty)


def test_polynomials(page):
    page.get_by_role("tab", name="Polynomial").click()
    curve = page.locator("#curves polyline.mean")
    sync_api.expect(page.locator("#curves polyline.sample")).to_have_count(5)  # before any touch
    before = curve.get_attribute("points")
    page.get_by_role("button", name="Ask for the density").click()
    page.locator("#curves svg").click(position={"x": 200, "y": 60})
    sync_api.expect(page.locator("#curve-density svg")).to_be_visible()
    page.get_by_role("button", name="Add a point").click()
    page.locator("#curves svg").click(position={"x": 120, "y": 60})
    until_changed(curve, before, "points")
    sync_api.expect(page.locator("#curve-density svg")).to_have_count(0)  # it was of other points
    sync_api.expect(page.locator("#curves circle")).to_have_count(3)
    sync_api.expect(page.locator("#curves polyline.sample")).to_have_count(5)
    sync_api.expect(page.locator("#curves polyline.exact")).to_have_count(2)
    page.get_by_role("button", name="Three of a known curve").click()
    sync_api.expect(page.locator("#curves polyline.truth")).to_have_count(1)
    assert not is_wide(page)


def test_shapes(page):
    page.get_by_role("tab", name="3D").click()
    page.get_by_role("button", name="Stool", exact=True).click()
    for name in ("points", "mean", "truth"):
        sync_api.expect(page.locator(f"#shape-{name} canvas")).to_be_visible()
    sync_api.expect(page.locator("#save-glb")).to_be_enabled()
    assert not is_wide(page)


def test_videos(page):
    page.get_by_role("tab", name="Video").click()
    page.get_by_role("button", name="Two and eight").click()
    sync_api.expect(page.locator('#player figure[data-name="Mean"] canvas')).to_be_visible()
    sync_api.expect(page.locator('#player figure[data-name="Sample"] canvas')).to_be_visible()  # without a click
    page.locator("#player").get_by_role("button", name="Pause").click()
    sync_api.expect(page.locator("#player button")).to_have_text("Play")
    assert not is_wide(page)


def test_bad_input_in_the_page_is_told_and_the_page_goes_on(desktop):
    desktop.get_by_role("tab", name="Polynomial").click()
    desktop.locator("#points textarea").fill("one, two")
    desktop.locator("#points textarea").blur()
    sync_api.expect(desktop.get_by_text("points, line 1: expected two numbers")).to_be_visible()
    desktop.locator("#points textarea").fill("0.1, 2")
    desktop.locator("#points textarea").blur()
    sync_api.expect(desktop.locator("#curves circle")).to_have_count(1)
    desktop.get_by_role("tab", name="Image").click()
    desktop.locator("#share-image button").first.click()
    desktop.locator("#json-image textarea").fill("{")
    desktop.locator("#open-image").click()
    sync_api.expect(desktop.get_by_text("state: expected JSON")).to_be_visible()
    desktop.locator("#upload input[type=file]").set_input_files(
        {"name": "cut.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nnothing"}
    )
    sync_api.expect(desktop.get_by_text("picture: expected an image file")).to_be_visible()
