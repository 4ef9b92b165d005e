"""The 3D tab."""

import io
import threading

import pytest
import torch
from PIL import Image
from visitor import LONGEST, expect, is_wide, refuses, until_changed

from demo import example_shapes, shape_handlers
from demo.shape_actions import WHERE, observe


def test_shapes(desktop):
    desktop.get_by_role("tab", name="3D").click()
    expect(desktop.locator("#draw-shape")).to_be_visible()
    expect(desktop.locator("#shape-count").get_by_label("Observed points").first).to_have_value("256")
    desktop.get_by_role("button", name="Stool", exact=True).click()
    for name in ("points", "likely", "truth"):
        expect(desktop.locator(f"#shape-{name} canvas")).to_be_visible()
    expect(desktop.locator("#save-glb")).to_be_enabled()
    expect(desktop.locator("#shape-likely[data-stale]")).to_have_count(0)
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
    for name in ("points", "likely", "truth"):
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


def open_shape(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


@pytest.fixture
def held(desktop, gates, monkeypatch):
    """The 3D tab of the shared page, and what holds back the likely surface of a first change and of a second one."""
    desktop.get_by_role("tab", name="3D").click()
    expect(desktop.locator("#shape-slice img")).to_be_visible()
    expect(desktop.locator("#shape-likely[data-stale]")).to_have_count(0)
    likely_surface, waiting = shape_handlers.likely_surface, iter(gates)

    def surface_late(*request):
        next(waiting).wait(LONGEST)
        return likely_surface(*request)

    monkeypatch.setattr(shape_handlers, "likely_surface", surface_late)
    return desktop, *gates


@pytest.fixture
def drawn(monkeypatch):
    """What samples were asked to agree with, and what holds them back."""
    asked, gate = [], threading.Event()

    def surfaces(checkpoint, observed, *settings):
        asked.append(observed)
        yield 0.5
        gate.wait(LONGEST)
        yield [example_shapes.shape("Stool")] * 2

    monkeypatch.setattr(shape_handlers, "sampled_surfaces", surfaces)
    yield asked, gate
    gate.set()


def test_late_views_of_an_older_shape_stay_dimmed(held):
    page, first, second = held
    dimmed, view = page.locator(":is(#shape-likely, #shape-slice)[data-stale]"), page.locator("#shape-slice img")
    before = view.get_attribute("src")
    open_shape(page, "Table")
    expect(dimmed).to_have_count(2)
    expect(view).to_have_css("opacity", "0.45")
    open_shape(page, "Ladder-back")
    first.set()
    until_changed(view, before)
    page.wait_for_timeout(500)
    assert dimmed.count() == 2
    second.set()
    expect(dimmed).to_have_count(0)


def test_samples_asked_for_while_a_shape_loads_are_of_that_shape(held, drawn):
    (page, first, _), (asked, gate) = held, drawn
    gate.set()
    open_shape(page, "Table")
    page.locator("#draw-shape").click()
    page.wait_for_timeout(500)
    assert not asked
    first.set()
    expect(page.locator("#shape-sample-1 canvas")).to_be_visible()
    expected = observe(shape_handlers.example_distances("Table", "chairs"), 256, WHERE[0], 0)
    assert len(asked) == 1 and torch.equal(asked[0].positions, expected.positions)


def test_samples_that_a_change_stops_are_told_so(held, drawn):
    (page, first, _), (_, gate) = held, drawn
    page.locator("#draw-shape").click()
    expect(page.locator("#shape-state")).to_contain_text("50%")
    open_shape(page, "Stool")
    first.set()
    expect(page.locator("#shape-likely[data-stale]")).to_have_count(0)
    gate.set()
    expect(page.locator("#shape-state")).to_contain_text("Stopped by a change")
    expect(page.locator(".pt-stop").first).not_to_be_visible()
    assert page.locator("#shape-sample-1 canvas").count() == 0
    page.locator("#draw-shape").click()
    expect(page.locator("#shape-sample-1 canvas")).to_be_visible()
    expect(page.locator("#shape-state")).to_have_text("")


@pytest.mark.parametrize(("field", "message"), [("#mesh", "mesh: expected"), ("#scan", "point cloud: expected")])
def test_a_damaged_file_goes_out_of_its_field(desktop, field, message):
    desktop.get_by_role("tab", name="3D").click()
    expect(desktop.locator("#shape-slice img")).to_be_visible()
    refuses(desktop, field, "cut.ply", message)
