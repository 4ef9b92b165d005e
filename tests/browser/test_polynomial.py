"""The polynomial tab."""

import re

import pytest
from visitor import LONGEST, expect, until_changed

from demo import polynomial_handlers


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


def test_points_that_are_entered_before_wrong_ones_are_refused_are_drawn(desktop, gates, monkeypatch):
    read_points, (begun, refused) = polynomial_handlers.read_points, gates

    def read_late(*points):
        begun.set()
        refused.wait(LONGEST)
        return read_points(*points)

    desktop.get_by_role("tab", name="Polynomial").click()
    desktop.get_by_role("button", name="Two points").click()
    expect(desktop.locator("#curves circle")).to_have_count(2)
    monkeypatch.setattr(polynomial_handlers, "read_points", read_late)
    points = desktop.locator("#points textarea")
    points.fill("one, two")
    points.blur()
    assert begun.wait(LONGEST)
    points.fill("0.1, 2")
    points.blur()
    desktop.wait_for_timeout(500)
    refused.set()
    expect(desktop.get_by_text("points, line 1: expected two numbers")).to_be_visible()
    desktop.locator(".toast-close").first.click()
    expect(desktop.locator("#curves circle")).to_have_count(1)
    expect(desktop.locator("#curves[data-stale]")).to_have_count(0)


def test_numbers_in_plots_can_be_read_on_a_phone(phone):
    phone.get_by_role("tab", name="Polynomial").click()
    number = phone.locator("#curves svg text").first
    expect(number).to_be_visible()
    scale = phone.locator("#curves svg").bounding_box()["width"] / 720  # of the plot's units
    assert scale * float(number.evaluate("text => parseFloat(getComputedStyle(text).fontSize)")) >= 10
