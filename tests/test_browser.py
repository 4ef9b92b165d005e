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
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE = 600_000  # milliseconds, for crowded machines; how fast the app is, is measured by benchmarks/app_latency.py
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")


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
    width, height = SIZES[request.param]
    scheme = "light" if request.param == "desktop" else "dark"
    opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened.set_default_timeout(PATIENCE)
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(serve())
    opened.wait_for_selector("#marginals img")
    yield opened
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    SHOTS.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=SHOTS / f"{name}.png", full_page=True)
    opened.close()
    assert not errors


def image_of(page, name: str):
    return page.locator(f'#marginals figure[data-name="{name}"] img')


def until_changed(locator, before: str) -> str:
    sync_api.expect(locator).not_to_have_attribute("src", before)
    return locator.get_attribute("src")


def paint(page, x: float, y: float) -> None:
    box = page.locator("#pad canvas").bounding_box()
    page.locator("#pad canvas").click(position={"x": x * box["width"], "y": y * box["height"]})


def is_wide(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")


def test_painting_changes_the_mean_and_undo_takes_it_back(page):
    empty = image_of(page, "Mean").get_attribute("src")
    paint(page, 0.3, 0.4)
    painted = until_changed(image_of(page, "Mean"), empty)
    paint(page, 0.7, 0.4)
    until_changed(image_of(page, "Mean"), painted)
    page.locator("#pad").get_by_role("button", name="Clear").click()
    sync_api.expect(image_of(page, "Mean")).to_have_attribute("src", empty)
    page.locator("#pad").get_by_role("button", name="Undo").click()
    page.locator("#pad").get_by_role("button", name="Undo").click()
    sync_api.expect(image_of(page, "Mean")).to_have_attribute("src", painted)
    assert not is_wide(page)


def test_the_keyboard_paints_and_erases(page):
    empty = image_of(page, "Mean").get_attribute("src")
    page.locator("#pad canvas").focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    until_changed(image_of(page, "Mean"), empty)
    sync_api.expect(page.locator("#pad .pt-said")).to_contain_text("Column 18, row 18")
    page.keyboard.press("Delete")
    sync_api.expect(image_of(page, "Mean")).to_have_attribute("src", empty)


def test_samples_and_a_pixels_distribution(page):
    page.locator("#auto input").uncheck()
    paint(page, 0.5, 0.5)
    page.locator("#draw-image").click()
    sync_api.expect(page.locator("#samples figure")).to_have_count(4)
    sync_api.expect(page.locator('#samples figure:first-child img[alt*="100%"]')).to_be_visible()
    page.locator("#marginals .pt-look").first.click(position={"x": 20, "y": 20})
    sync_api.expect(page.locator("#density svg")).to_be_visible()
    assert page.locator("#density rect").count() == 64
    sync_api.expect(page.locator("#density svg")).to_contain_text("mean")
    sync_api.expect(page.locator("#save-gif")).to_be_enabled()


def test_an_example_shows_everything_and_its_best_pixel_can_be_revealed(page):
    page.locator('#image-examples [data-name="Ginger cat"] .pt-look').click()
    sync_api.expect(image_of(page, "Truth")).to_be_visible()
    sync_api.expect(page.locator("#samples figure")).to_have_count(4)
    sync_api.expect(image_of(page, "Mean")).to_have_attribute("alt", "Mean image, 32 × 32 pixels, 96 observed")
    page.locator("#hint").click()
    sync_api.expect(page.locator("#density")).to_contain_text("Most informative")
    page.locator("#uncover").click()
    sync_api.expect(image_of(page, "Mean")).to_have_attribute("alt", "Mean image, 32 × 32 pixels, 97 observed")


def test_a_link_opens_the_same_picture_in_another_page(page, browser):
    empty = image_of(page, "Mean").get_attribute("src")
    paint(page, 0.25, 0.6)
    painted = until_changed(image_of(page, "Mean"), empty)
    page.locator("#share-image button").first.click()
    page.locator("#link-image").click()
    page.wait_for_url("**/?tab=image&state=*")
    another = browser.new_page()
    another.goto(page.url, timeout=PATIENCE)
    sync_api.expect(image_of(another, "Mean")).to_have_attribute("src", painted, timeout=PATIENCE)


def test_a_large_brush_gives_one_average_and_samples_come_from_coarse_to_fine(page):
    state = {
        "checkpoint": "scaled",
        "positions": [],
        "values": [],
        "samples": 2,
        "steps": 12,
        "order": "coarse-to-fine",
    }
    mean = image_of(page, "Mean")
    other = mean.get_attribute("src")  # of the checkpoint that is offered first
    page.locator("#share-image button").first.click()
    page.locator("#json-image textarea").fill(share.to_text("image", state))
    page.locator("#open-image").click()
    empty = until_changed(mean, other)
    sync_api.expect(page.locator("#pad .pt-brush input")).to_have_attribute("max", "8")
    sync_api.expect(mean).to_have_attribute("alt", "Mean image, 32 × 32 pixels, 0 observed")
    page.locator("#pad .pt-brush input").fill("6")
    sync_api.expect(page.locator("#pad .pt-brush")).to_have_attribute("title", re.compile("average of 6×6 pixels"))
    paint(page, 0.3, 0.4)
    until_changed(mean, empty)
    sync_api.expect(mean).to_have_attribute("alt", "Mean image, 32 × 32 pixels, 1 observed")
    sync_api.expect(page.locator("#levels figure")).to_have_count(4)
    sync_api.expect(page.locator("#levels figcaption b")).to_have_text(["4 × 4", "8 × 8", "16 × 16", "32 × 32"])
    page.locator("#pad").get_by_role("button", name="Erase").click()
    paint(page, 0.3, 0.4)
    sync_api.expect(mean).to_have_attribute("src", empty)
    assert not is_wide(page)


def test_polynomials(page):
    page.get_by_role("tab", name="Polynomial").click()
    curve = page.locator("#curves polyline.mean")
    before = curve.get_attribute("points")
    page.locator("#curves svg").click(position={"x": 120, "y": 60})
    sync_api.expect(curve).not_to_have_attribute("points", before)
    sync_api.expect(page.locator("#curves circle")).to_have_count(3)
    sync_api.expect(page.locator("#curves polyline.sample")).to_have_count(5)
    sync_api.expect(page.locator("#curves polyline.exact")).to_have_count(2)
    page.get_by_role("button", name="Three of a known curve").click()
    sync_api.expect(page.locator("#curves polyline.truth")).to_have_count(1)
    page.get_by_role("button", name="Ask for the density").click()
    page.locator("#curves svg").click(position={"x": 200, "y": 60})
    sync_api.expect(page.locator("#curve-density svg")).to_be_visible()
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
    page.locator("#draw-video").click()
    sync_api.expect(page.locator('#player figure[data-name="Sample"] canvas')).to_be_visible()
    page.locator("#player").get_by_role("button", name="Pause").click()
    sync_api.expect(page.locator("#player button")).to_have_text("Play")
    assert not is_wide(page)


def test_bad_input_in_the_page_is_told_and_the_page_goes_on(page):
    page.get_by_role("tab", name="Polynomial").click()
    page.locator("#points textarea").fill("one, two")
    page.locator("#points textarea").blur()
    sync_api.expect(page.get_by_text("points, line 1: expected two numbers")).to_be_visible()
    page.locator("#points textarea").fill("0.1, 2")
    page.locator("#points textarea").blur()
    sync_api.expect(page.locator("#curves circle")).to_have_count(1)
    page.get_by_role("tab", name="Image").click()
    page.locator("#share-image button").first.click()
    page.locator("#json-image textarea").fill("{")
    page.locator("#open-image").click()
    sync_api.expect(page.get_by_text("state: expected JSON")).to_be_visible()
    page.locator("#upload input[type=file]").set_input_files(
        {"name": "cut.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nnothing"}
    )
    sync_api.expect(page.get_by_text("picture: expected an image file")).to_be_visible()
