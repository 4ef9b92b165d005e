"""A visitor's way through the app in a real browser: paint, ask, sample, use every tab, on desktop and phone.

The models are tiny (`small_app.py`), and most tests share one page, as loading it takes most of the time.
"""

import io
import json
import re
import shutil
import signal
import threading

import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from small_app import served  # noqa: E402
from visitor import (  # noqa: E402
    PATIENCE,
    choose_model,
    clear,
    expect,
    image_of,
    is_wide,
    large,
    observed,
    open_share,
    opened,
    paint,
    pick,
    quiet,
    tool,
    until_changed,
    until_drawn,
    until_observed,
)

from demo import drawings, image_handlers, share  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
LONGEST = 3 * PATIENCE // 1000  # seconds for one test; how fast the app is, is measured by benchmarks/app_latency.py
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    # A browser on a crowded machine may lose a click or come late; what is broken fails three times.
    pytest.mark.flaky(reruns=2, reruns_delay=1),
]
SKETCH = 60  # values of the sketch that the page opens with, at least


@pytest.fixture(autouse=True)
def limited(request):
    """No test hangs, whatever it waits for."""

    def give_up(*_):
        raise TimeoutError(f"{request.node.name} did not end within {LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def url():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    # Without a graphics card the 3D views are drawn in software.
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
    flags.append("--disable-gpu-compositing")  # of the page itself, which is quicker without
    expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=flags, timeout=PATIENCE)
        yield started
        started.close()


@pytest.fixture(scope="module")
def desktop(browser, url):
    """The app at desktop size, opened once for most tests."""
    yield from _visitor(browser, url, "desktop")


@pytest.fixture(scope="module")
def phone(browser, url):
    """The app at a phone's size, in dark colours, opened once."""
    yield from _visitor(browser, url, "phone")


def _visitor(browser, url, size: str):
    scheme = "light" if size == "desktop" else "dark"
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    page = opened(context, url)
    yield page
    context.close()


@pytest.fixture
def cat(desktop):
    """The shared page, with the sketch of a cat and its samples, as it opens; samples follow each change."""
    desktop.errors.clear()
    desktop.get_by_role("tab", name="Image").click()
    desktop.locator("#auto input").check()
    desktop.locator('#image-examples [data-name="Sketch of a cat"] .pt-look').click()
    until_drawn(desktop)
    assert observed(desktop) > SKETCH
    yield desktop
    assert not desktop.errors


# How it opens.


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_cat_is_on_the_screen_before_any_touch(size, request):
    page = request.getfixturevalue(size)
    box, (_, height) = large(page).bounding_box(), page.evaluate("[innerWidth, innerHeight]")
    assert box["width"] >= 280 and box["y"] >= 0 and box["y"] + box["height"] <= height
    assert page.locator("#samples .pt-thumb").count() == 4
    assert observed(page) > SKETCH and not is_wide(page)
    assert page.locator("#pad .pt-brush input").input_value() == "3"
    assert page.locator("#checkpoint label").all_inner_texts() == ["Cats", "Digits", "Things"]
    expect(page.locator("#stop-image")).not_to_be_visible()


# The image tab.


def test_a_stroke_changes_mean_and_samples_and_the_result_stays_in_sight(cat):
    mean, sample = image_of(cat, "Mean").get_attribute("src"), large(cat).get_attribute("src")
    paint(cat, 0.5, 0.5)
    until_changed(image_of(cat, "Mean"), mean)
    until_changed(large(cat), sample)
    until_drawn(cat)


def test_the_result_stays_on_a_phone_while_one_paints(phone):
    phone.locator("#pad canvas").scroll_into_view_if_needed()
    before = large(phone).get_attribute("src")
    paint(phone, 0.5, 0.5)
    until_changed(large(phone), before)
    phone.evaluate("scrollTo(0, 400)")
    expect(phone.locator("#pad canvas")).to_be_in_viewport(ratio=0.9)
    expect(large(phone)).to_be_in_viewport(ratio=0.9)
    phone.evaluate("scrollTo(0, 0)")
    assert not is_wide(phone) and not phone.errors


def test_what_depends_on_a_change_is_dimmed_at_once(cat):
    seen = cat.evaluate(
        """() => new Promise((done) => {
          const shown = document.querySelector('#samples');
          new MutationObserver(() => { if ('stale' in shown.dataset) done(true); }).observe(shown, {attributes: true});
          document.querySelector('#checkpoint input:not(:checked)').click();
          setTimeout(() => done(false), 5000);
        })"""
    )
    assert seen
    until_drawn(cat)
    assert cat.locator("#pad .pt-paper").is_visible()  # digits


def test_a_late_result_of_an_older_sketch_stays_dimmed(cat, monkeypatch):
    ready, newer, last = threading.Event(), threading.Event(), threading.Event()
    finish, marginals = drawings.finish, image_handlers.marginal_tiles

    def finish_late(*request):
        ready.set()
        newer.wait(LONGEST)
        return finish(*request)

    def answer_late(*request):
        last.wait(LONGEST)
        return marginals(*request)

    monkeypatch.setattr(drawings, "finish", finish_late)
    paint(cat, 0.1, 0.9)
    assert ready.wait(LONGEST)
    monkeypatch.setattr(image_handlers, "marginal_tiles", answer_late)
    paint(cat, 0.9, 0.1)
    expect(cat.locator("#samples[data-stale]")).to_have_count(1)
    newer.set()
    expect(cat.locator("#samples .pt-result")).to_have_attribute("data-share", "1")
    cat.wait_for_timeout(500)
    assert cat.locator("#samples[data-stale]").count() == 1
    last.set()
    until_drawn(cat)


def test_of_quick_strokes_none_is_lost_and_samples_follow(cat):
    """However late the browser's own word comes: nothing hangs half drawn."""
    tool(cat, "Clear")
    until_observed(cat, 0)
    for place in (0.2, 0.4, 0.6, 0.8):
        paint(cat, place, 0.3)
    until_observed(cat, 4)
    until_drawn(cat)


def test_undo_and_redo_go_back_and_forth(cat):
    empty, mean = clear(cat), image_of(cat, "Mean")
    paint(cat, 0.3, 0.4)
    painted = until_changed(mean, empty)
    paint(cat, 0.7, 0.4)
    twice = until_changed(mean, painted)
    for name, expected in (("Undo", painted), ("Undo", empty), ("Redo", painted), ("Redo", twice), ("Clear", empty)):
        tool(cat, name)
        expect(mean).to_have_attribute("src", expected)
    tool(cat, "Undo")
    expect(mean).to_have_attribute("src", twice)


def test_undo_takes_back_a_model_and_an_example(cat):
    quiet(cat)
    mean = image_of(cat, "Mean")
    sketch = mean.get_attribute("src")
    choose_model(cat, "Digits")
    digits = until_changed(mean, sketch)
    cat.locator('#image-examples [data-name="Ginger cat"] .pt-look').click()
    until_observed(cat, 96)
    expect(image_of(cat, "Truth")).to_be_visible()
    tool(cat, "Undo")
    expect(mean).to_have_attribute("src", digits)
    expect(cat.locator("#checkpoint").get_by_label("Digits", exact=True)).to_be_checked()
    tool(cat, "Undo")
    expect(mean).to_have_attribute("src", sketch)
    expect(cat.locator("#checkpoint").get_by_label("Cats", exact=True)).to_be_checked()
    tool(cat, "Redo")
    tool(cat, "Redo")
    until_observed(cat, 96)
    expect(image_of(cat, "Truth")).to_be_visible()


def test_the_last_stroke_wins(cat):
    clear(cat)
    brush = cat.locator("#pad .pt-brush input")
    brush.fill("4")
    paint(cat, 0.5, 0.5)
    until_observed(cat, 1)
    brush.fill("2")
    pick(cat, "black")
    paint(cat, 0.5, 0.5)
    until_observed(cat, 13)  # the black dab, and the 12 of 16 pixels of the other that it left
    brush.fill("4")
    paint(cat, 0.5, 0.5)
    until_observed(cat, 1)
    brush.fill("3")


def test_ink_on_digits_lies_on_paper_that_can_be_taken_away(cat):
    quiet(cat)
    choose_model(cat, "Digits")
    expect(cat.locator("#pad .pt-paper")).to_be_visible()
    tool(cat, "Clear")
    until_observed(cat, 0)
    paint(cat, 0.5, 0.5)
    expect(image_of(cat, "Mean")).not_to_have_attribute("alt", re.compile(" 0 observed"))
    assert observed(cat) > 30
    cat.locator("#pad .pt-paper input").uncheck()
    until_observed(cat, 9)
    cat.locator("#pad .pt-paper input").check()


def test_a_ghost_face_and_the_palette_guide_from_outlines_to_colours(cat):
    """The outline lies on an empty pad of cats, and goes as the picture is painted; colours say what they are for."""
    canvas = "document.querySelector('#pad canvas').toDataURL()"
    clear(cat)
    faced = cat.evaluate(canvas)
    for colour, use in (("leaf green", "eyes"), ("ginger", "fur")):
        pick(cat, colour)
        assert cat.locator("#pad .pt-colour").inner_text() == f"{colour}: {use}"
    choose_model(cat, "Things")
    expect(cat.locator("#pad .pt-colour")).not_to_have_text(re.compile(":"))
    assert cat.evaluate(canvas) != faced


def test_the_keyboard_paints_and_erases(cat):
    empty = clear(cat)
    pick(cat, "ginger")
    cat.locator("#pad canvas").focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        cat.keyboard.press(key)
    until_changed(image_of(cat, "Mean"), empty)
    expect(cat.locator("#pad .pt-said")).to_contain_text("Column 18, row 18, not observed")
    cat.keyboard.press("ArrowRight")
    expect(cat.locator("#pad .pt-said")).to_contain_text("an average of 3×3 pixels, ginger")
    cat.keyboard.press("ArrowLeft")
    cat.keyboard.press("Delete")
    expect(image_of(cat, "Mean")).to_have_attribute("src", empty)


def test_a_pixels_distribution_is_in_sight_named_in_words_and_goes_with_the_next_stroke(cat):
    cat.locator("#samples .pt-thumb").nth(1).click()
    expect(large(cat)).to_have_attribute("alt", "Sample 2 of 4")
    cat.locator("#samples .pt-large").click(position={"x": 20, "y": 20})
    expect(cat.locator("#density svg")).to_be_in_viewport(ratio=0.9)
    assert cat.locator("#density rect").count() == 8
    assert "#" not in cat.locator("#density").inner_text()
    expect(cat.locator("#save-gif")).to_be_enabled()
    tips = [each.get_attribute("title") for each in cat.locator(".pt-look").all()]
    assert len(set(tips)) == len(tips)  # no tooltip repeats another
    paint(cat, 0.2, 0.2)
    expect(cat.locator("#density svg")).to_have_count(0)  # it was of another sketch
    cat.locator("#samples .pt-thumb").first.click()


def test_every_setting_draws_again_by_typing_and_by_arrow_keys(cat):
    cat.locator("#number input[type=number]").fill("1")
    cat.locator("#number input[type=number]").press("Enter")
    expect(cat.locator("#samples .pt-thumb")).to_have_count(1)
    until_drawn(cat)
    for name in ("#seed input", "#temperature input[type=number]"):
        before = large(cat).get_attribute("src")
        cat.locator(name).fill("1")
        cat.locator(name).press("Enter")
        until_changed(large(cat), before)
        until_drawn(cat)
    quiet(cat)
    cat.locator("#resolution input[type=range]").focus()
    cat.keyboard.press("ArrowRight")
    expect(image_of(cat, "Mean")).to_have_attribute("alt", re.compile("33 × 33"))
    cat.locator("#number input[type=number]").fill("9999")
    cat.locator("#number input[type=number]").blur()
    expect(cat.locator("#number input[type=number]")).to_have_value("6")  # a number beyond the limit is mended
    for name in ("#number", "#seed"):  # an empty field counts as its first value
        cat.locator(f"{name} input").first.fill("")
        cat.locator(f"{name} input").first.blur()
    cat.locator("#resolution input[type=number]").fill("32")
    cat.locator("#resolution input[type=number]").press("Enter")
    cat.locator("#auto input").check()
    cat.locator("#number input[type=number]").fill("4")
    cat.locator("#number input[type=number]").press("Enter")
    until_drawn(cat)
    expect(cat.locator(".toast-body")).to_have_count(0)


def test_an_upload_and_an_example_draw_and_the_most_uncertain_pixel_can_be_revealed(cat, tmp_path):
    before, place = large(cat).get_attribute("src"), "document.querySelector('#pad canvas').offsetTop"
    top = cat.evaluate(place)
    cat.locator('#image-examples [data-name="Three"] .pt-look').click()
    expect(image_of(cat, "Truth")).to_be_visible()
    drawn = until_changed(large(cat), before)
    until_drawn(cat)
    expect(cat.locator("#pad").get_by_role("button", name="Reveal", exact=True)).to_be_visible()
    assert cat.evaluate(place) == top  # the canvas stays where it was
    count = observed(cat)
    cat.locator("#hint").click()
    expect(cat.locator("#density")).to_contain_text("Most uncertain")
    cat.locator("#uncover").click()
    until_observed(cat, count + 1)
    drawn = until_changed(large(cat), drawn)
    cat.locator("#pattern").get_by_label("random pixels", exact=True).check()
    until_observed(cat, 64)
    truth = image_of(cat, "Truth").get_attribute("src")
    cat.locator("#upload input[type=file]").set_input_files("docs/app.png")
    until_changed(image_of(cat, "Truth"), truth)
    until_drawn(cat)
    count = observed(cat)
    tool(cat, "Reveal")
    cat.locator("#pad .pt-brush input").fill("3")
    paint(cat, 0.02, 0.02)
    expect(cat.locator("#pad canvas")).to_be_visible()
    until_drawn(cat)
    assert 0 < observed(cat) - count <= 9  # pixels themselves, not averages
    tool(cat, "Paint")


def test_the_share_card_shows_the_sketch_next_to_the_samples(cat):
    with cat.expect_download() as found:
        cat.locator("#samples .pt-save").click()
    card = Image.open(found.value.path())
    assert found.value.suggested_filename.endswith(".png") and card.width == 1096 and card.height > 700
    sketch, sample = card.crop((24, 64, 536, 576)), card.crop((560, 64, 1072, 576))
    assert len(sketch.getcolors(1 << 20)) > 5 and len(sample.getcolors(1 << 20)) > 5


def test_a_link_draws_the_same_elsewhere_and_leaves_the_address_bar_with_the_next_change(cat, browser):
    before = image_of(cat, "Mean").get_attribute("src")
    cat.locator("#seed input").fill("5")
    cat.locator("#seed input").press("Enter")
    paint(cat, 0.25, 0.6)
    painted = until_changed(image_of(cat, "Mean"), before)
    until_drawn(cat)
    open_share(cat)
    cat.locator("#link-image").click()
    cat.wait_for_function("location.search.includes('state=')")
    link, sample = cat.url, large(cat).get_attribute("src")
    tool(cat, "Undo")
    cat.wait_for_function("!location.search.includes('state=')")  # a reload would bring the link's state back
    tool(cat, "Redo")
    expect(image_of(cat, "Mean")).to_have_attribute("src", painted)
    until_drawn(cat)
    elsewhere = browser.new_context(viewport={"width": 1440, "height": 900})
    elsewhere.set_default_timeout(PATIENCE)
    other = opened(elsewhere, link)  # another visitor
    expect(image_of(other, "Mean")).to_have_attribute("src", painted)
    expect(large(other)).to_have_attribute("src", sample)
    assert not other.errors
    elsewhere.close()


def test_a_lost_connection_costs_no_stroke(cat):
    """What is painted without a server is there when the page comes back, as Gradio reloads it."""
    cat.context.set_offline(True)
    paint(cat, 0.9, 0.1)
    cat.wait_for_function(
        "JSON.parse(localStorage['pixeltransformer.image']).pad.dabs.some(([x, y]) => x > 25 && y < 5)"
    )
    pad = "JSON.parse(localStorage['pixeltransformer.image']).pad"
    count = cat.evaluate(f"{pad}.dabs.length + {pad}.cells.length")
    cat.context.set_offline(False)
    until_observed(cat, count)
    until_drawn(cat)


def test_a_damaged_link_is_told_and_a_link_can_name_a_tab_alone(browser, url):
    page = opened(browser, url + "/?tab=polynomial&state=abc")
    expect(page.get_by_text("This link cannot be opened")).to_be_visible()
    expect(page.locator("#curves polyline.mean")).to_be_visible()  # the tab that the link names
    expect(page.locator("#curves polyline.sample")).to_have_count(5)
    assert page.locator("#marginals img").count() == 2 and page.locator("#samples .pt-thumb").count() == 4
    assert not page.errors
    page.close()


def test_the_api_is_documented_at_its_own_address(browser, url):
    page = browser.new_page()
    page.goto(url + "/?view=api", wait_until="domcontentloaded", timeout=PATIENCE)
    expect(page.get_by_text("/infer_image").first).to_be_visible(timeout=PATIENCE)
    page.close()


def test_a_state_as_json_opens_with_its_averages_and_its_order(cat):
    state = {"checkpoint": "cifar10", "positions": [], "values": [], "samples": 2, "order": "coarse-to-fine"}
    open_share(cat)
    cat.locator("#json-image textarea").fill(share.to_text("image", state | {"speed": "fast"}))
    cat.locator("#open-image").click()
    until_observed(cat, 0)
    cat.locator("#pad .pt-brush input").fill("4")
    expect(cat.locator("#pad .pt-brush")).to_have_attribute("title", re.compile("average of 4×4 pixels"))
    paint(cat, 0.3, 0.4)
    until_observed(cat, 1)
    until_drawn(cat)
    expect(cat.locator("#levels figcaption b").last).to_have_text("32 × 32")
    expect(cat.locator("#levels figcaption b").first).not_to_have_text("32 × 32")
    cat.locator("#pad .pt-brush input").fill("3")


def told_once(page) -> None:
    """One notice, and no word of it on the controls that the failed request would have changed."""
    expect(page.locator(".toast-body")).to_have_count(1)
    expect(page.locator(".toast-title")).to_have_text("Please check")
    expect(page.locator("#tabs").get_by_text("Error", exact=True).filter(visible=True)).to_have_count(0)


def test_one_mistake_is_told_once_in_plain_words_and_the_page_goes_on(cat):
    open_share(cat)
    cat.locator("#json-image textarea").fill("{")
    cat.locator("#open-image").click()
    expect(cat.get_by_text("state: expected JSON")).to_be_visible()
    told_once(cat)
    cat.locator(".toast-close").first.click()
    text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"}
    cat.locator("#upload input[type=file]").set_input_files(text)
    expect(cat.locator(".toast-title.error")).to_have_text("Sorry")  # what Gradio itself refuses
    cat.locator(".toast-close.error").click()
    cat.locator("#upload input[type=file]").set_input_files(
        {"name": "cut.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nnothing"}
    )
    expect(cat.get_by_text("picture: expected an image file")).to_be_visible()
    told_once(cat)
    cat.locator(".toast-close").first.click()
    paint(cat, 0.5, 0.5)
    until_drawn(cat)


# The other tabs.


def test_polynomials(desktop):
    desktop.get_by_role("tab", name="Polynomial").click()
    curve, svg = desktop.locator("#curves polyline.mean"), desktop.locator("#curves svg")
    expect(desktop.locator("#curves polyline.sample")).to_have_count(5)  # before any touch
    before = curve.get_attribute("points")
    box = svg.bounding_box()
    for part in (0.3, 0.4, 0.7, 0.8):  # quick clicks: none is lost, each point is there at once
        desktop.mouse.click(box["x"] + part * box["width"], box["y"] + 0.3 * box["height"])
    assert desktop.locator("#curves circle").count() == 6
    until_changed(curve, before, "points")
    expect(desktop.locator("#points textarea")).to_have_value(re.compile(r"^(.+\n){5}.+$"))
    expect(desktop.locator("#curves polyline.sample")).to_have_count(5)
    expect(desktop.locator("#curves polyline.exact")).to_have_count(2)
    # In one step: the plot may be drawn anew at any time.
    spot = "(({x, y}) => ({x, y}))([...document.querySelectorAll('#curves circle')].at(-1).getBoundingClientRect())"
    point = desktop.evaluate(spot)
    before = curve.get_attribute("points")
    desktop.mouse.move(point["x"] + 5, point["y"] + 5)
    desktop.mouse.down()
    desktop.mouse.move(point["x"] + 5, point["y"] + 105, steps=4)
    moved = desktop.evaluate(spot)
    desktop.mouse.up()
    assert moved["y"] - point["y"] == pytest.approx(100, abs=4)
    until_changed(curve, before, "points")
    assert desktop.locator("#curves circle").count() == 6


def test_the_density_of_a_polynomial_follows_the_pointer(desktop):
    desktop.get_by_role("tab", name="Polynomial").click()
    desktop.get_by_role("button", name="Ask for the density").click()
    box = desktop.locator("#curves svg").bounding_box()
    titles = []
    for part in (0.3, 0.6):
        desktop.mouse.move(box["x"] + part * box["width"], box["y"] + 50)
        expect(desktop.locator("#curve-density")).to_contain_text(f"x = {2 * (720 * part - 40) / 670 - 1:.2f}"[:7])
        titles.append(desktop.locator("#curve-density figcaption").inner_text())
    assert titles[0] != titles[1]
    desktop.get_by_role("button", name="Three of a known curve").click()
    expect(desktop.locator("#curve-density svg")).to_have_count(0)  # it was of other points
    expect(desktop.locator("#curves polyline.truth")).to_have_count(1)
    desktop.get_by_role("button", name="Add a point").click()
    desktop.locator("#points textarea").fill("one, two")
    desktop.locator("#points textarea").blur()
    expect(desktop.get_by_text("points, line 1: expected two numbers")).to_be_visible()
    desktop.locator(".toast-close").first.click()
    desktop.locator("#points textarea").fill("0.1, 2")
    desktop.locator("#points textarea").blur()
    expect(desktop.locator("#curves circle")).to_have_count(1)


def test_shapes(desktop):
    desktop.get_by_role("tab", name="3D").click()
    expect(desktop.locator("#draw-shape")).to_be_visible()
    expect(desktop.locator("#shape-count").get_by_label("Observed points").first).to_have_value("256")
    desktop.get_by_role("button", name="Stool", exact=True).click()
    for name in ("points", "mean", "truth"):
        expect(desktop.locator(f"#shape-{name} canvas")).to_be_visible()
    expect(desktop.locator("#save-glb")).to_be_enabled()
    expect(desktop.locator("#shape-mean[data-stale]")).to_have_count(0)
    view = desktop.locator("#shape-slice img")
    before = view.get_attribute("src")
    desktop.locator("#shape-axis").get_by_label("z", exact=True).check()
    flat = until_changed(view, before)
    desktop.locator("#shape-slice .pt-look").click(position={"x": 30, "y": 30})
    until_changed(view, flat)  # the point that was clicked is observed, and shown
    expect(desktop.locator(".pt-stop").first).not_to_be_visible()
    assert not is_wide(desktop) and not desktop.errors


def test_3d_views_are_drawn_in_dark_colours_too(phone):
    """Each when it comes into sight: those further down are empty until then."""
    phone.get_by_role("tab", name="3D").click()
    for name in ("points", "mean", "truth"):
        canvas = phone.locator(f"#shape-{name} canvas")
        canvas.scroll_into_view_if_needed()
        for _ in range(60):
            with Image.open(io.BytesIO(canvas.screenshot())) as seen:
                inside = seen.crop((20, 60, seen.width - 20, seen.height - 20)).convert("RGB")
            if len(inside.getcolors(1 << 20)) > 20:
                break
            phone.wait_for_timeout(500)
        else:
            pytest.fail(f"the view of {name} stays empty")
    below, above = (phone.locator(place).bounding_box()["y"] for place in ("#shape-sample-1", "#draw-shape"))
    assert above < below  # what fills the empty views stands over them


def test_numbers_in_plots_can_be_read_on_a_phone(phone):
    phone.get_by_role("tab", name="Polynomial").click()
    number = phone.locator("#curves svg text").first
    expect(number).to_be_visible()
    scale = phone.locator("#curves svg").bounding_box()["width"] / 720  # of the plot's units
    assert scale * float(number.evaluate("text => parseFloat(getComputedStyle(text).fontSize)")) >= 10


def test_videos(desktop):
    desktop.get_by_role("tab", name="Video").click()
    desktop.get_by_role("button", name="Two and eight").click()
    expect(desktop.locator('#player figure[data-name="Mean"] canvas')).to_be_visible()
    expect(desktop.locator('#player figure[data-name="Sample"] canvas')).to_be_visible()  # without a click
    questions = desktop.locator("#video-pattern label").all_inner_texts()
    assert [question.strip() for question in questions] == ["Scattered pixels", "Continue", "Fill in between"]
    # Who asked for little motion sees the clips stand still until they play them.
    expect(desktop.locator("#player button")).to_have_text("Play")
    desktop.locator("#player button").click()
    expect(desktop.locator("#player button")).to_have_text("Pause")
    desktop.locator("#player button").click()
    expect(desktop.locator("#video-count .pt-log-title")).to_have_text("Random pixels")
    assert not is_wide(desktop) and not desktop.errors


def test_the_field_completes_a_digit_or_says_why_it_cannot(desktop):
    desktop.errors.clear()
    desktop.get_by_role("tab", name="Field", exact=True).click()
    cards, answers = desktop.locator("#field-answers .pt-card"), desktop.locator("#field-answers")
    expect(cards.filter(has_text="bits")).to_have_count(2)
    before = cards.first.inner_text()
    board = desktop.locator("#field-board canvas")
    expect(board).to_be_visible()
    box = board.bounding_box()
    desktop.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.8 * box["height"])
    expect(answers.locator(".pt-probability span").first).to_have_text(re.compile(r"^\d+ %$"))
    expect(answers.locator(".pt-pointed")).to_contain_text("column 15, row 23")
    desktop.mouse.down()  # a stroke hides what it covers: here it was hidden already, further up it was not
    desktop.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.2 * box["height"], steps=4)
    desktop.mouse.up()
    refusing = desktop.locator("#field-answers .pt-refuses")
    expect(refusing).to_contain_text("comes first in its order")
    expect(cards.filter(has_text="bits")).to_have_count(1)
    desktop.locator("#field-pattern").get_by_label("bottom half", exact=True).check()
    expect(cards.filter(has_text="bits")).to_have_count(2)
    expect(answers).not_to_have_attribute("data-stale", "")
    assert cards.first.inner_text().split(" ·")[0] == before.split(" ·")[0]
    board.focus()
    board.press("ArrowDown")
    expect(desktop.locator("#field-board .pt-said")).to_have_text(re.compile("^Column 15, row 16, "))
    assert not desktop.errors


@pytest.mark.parametrize("size", SIZES)
def test_no_serious_fault_of_accessibility_on_any_tab(size, request):
    """axe-core, at desktop size in light colours, at a phone's in dark ones; contrast is one of its rules."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = request.getfixturevalue(size)
    found = {}
    for name in ("Image", "Polynomial", "3D", "Video", "Field"):
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        for fault in axe.Axe().run(page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                found[name, fault["id"]] = [node["html"][:200] for node in fault["nodes"]][:4]
        assert not is_wide(page)
    assert not found, json.dumps({" ".join(key): value for key, value in found.items()}, indent=1)
