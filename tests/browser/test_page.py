"""How the page opens, and what is the same for all tabs: links, notices, accessibility."""

import json
import re

import pytest
from visitor import (
    LONGEST,
    PATIENCE,
    SIZES,
    SKETCH,
    expect,
    image_of,
    is_wide,
    large,
    observed,
    open_share,
    opened,
    paint,
    refuses,
    told_once,
    tool,
    until_changed,
    until_drawn,
    until_observed,
)

from demo import saving, share


def test_a_whole_cat_is_on_the_screen_before_any_touch(untouched):
    page = untouched
    box, (_, height) = large(page).bounding_box(), page.evaluate("[innerWidth, innerHeight]")
    assert box["width"] >= 280 and box["y"] >= 0 and box["y"] + box["height"] <= height
    assert page.locator("#samples .pt-thumb").count() == 4
    assert observed(page) > SKETCH and not is_wide(page)
    assert page.locator("#pad .pt-brush input").input_value() == "3"
    assert page.locator("#checkpoint label").all_inner_texts() == ["Cats", "Digits", "Things"]
    expect(page.locator("#stop-image")).not_to_be_visible()


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


@pytest.mark.parametrize("last", ["image", "video"])
def test_a_tab_that_is_chosen_while_the_page_loads_stays_open(browser, url, gates, monkeypatch, last):
    read_saved, (loaded, _) = saving.read_saved, gates

    def read_late(text):
        loaded.wait(LONGEST)
        return read_saved(text)

    monkeypatch.setattr(saving, "read_saved", read_late)
    context = browser.new_context()
    context.add_init_script(f"localStorage['{saving.TAB}'] ??= '{last}'")  # where the visitor was last
    page = opened(context, url)
    page.wait_for_timeout(2000)
    page.get_by_role("tab", name="3D").click()
    loaded.set()
    expect(page.locator("#shape-slice img")).to_be_visible()
    page.wait_for_timeout(1000)
    expect(page.get_by_role("tab", name="3D")).to_have_attribute("aria-selected", "true")
    context.close()


def test_a_damaged_link_is_told_and_a_link_can_name_a_tab_alone(browser, url):
    page = opened(browser, url + "/?tab=polynomial&state=abc")
    expect(page.get_by_text("This link cannot be opened")).to_be_visible()
    expect(page.locator("#curves polyline.mean")).to_be_visible()  # the tab that the link names
    expect(page.locator("#curves polyline.sample")).to_have_count(5)
    assert page.locator("#marginals img").count() == 2 and page.locator("#samples .pt-thumb").count() == 4
    assert not page.errors
    page.close()


def test_a_tab_that_a_link_names_or_that_was_open_last_is_open_and_filled(browser, url):
    context = browser.new_context()
    page = opened(context, url + "/?tab=video")
    expect(page.get_by_role("tab", name="Video")).to_have_attribute("aria-selected", "true")
    expect(page.locator('#player figure[data-name="Sample"] canvas')).to_be_visible()
    page.get_by_role("tab", name="3D").click()
    expect(page.locator("#shape-slice img")).to_be_visible()
    page.close()
    page = opened(context, url)
    expect(page.get_by_role("tab", name="3D")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#shape-slice img")).to_be_visible()
    assert not page.errors
    context.close()


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
    expect(cat.locator("#upload input[type=file]")).to_have_count(1)
    refuses(cat, "#upload", "cut.png", "picture: expected an image file")
    paint(cat, 0.5, 0.5)
    until_drawn(cat)


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
