"""The 3D tab."""

import io

import pytest
from PIL import Image
from visitor import expect, is_wide, until_changed


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
