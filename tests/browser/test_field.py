"""The field tab."""

import re
from collections import OrderedDict

from visitor import LONGEST, expect

from demo import field_handlers


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


def test_late_cards_of_an_older_digit_stay_dimmed(desktop, gates, monkeypatch):
    late, newer = gates
    ask_all, known_by = field_handlers.ask_all, field_handlers.known_by

    def ask_late(*task):
        first, *others = ask_all(*task)
        yield first
        late.wait(LONGEST)
        yield from others

    def hide_late(*pattern):
        newer.wait(LONGEST)
        return known_by(*pattern)

    monkeypatch.setattr(field_handlers, "_answered", OrderedDict())
    monkeypatch.setattr(field_handlers, "ask_all", ask_late)
    monkeypatch.setattr(field_handlers, "known_by", hide_late)
    desktop.get_by_role("tab", name="Field", exact=True).click()
    cards, dimmed = desktop.locator("#field-answers .pt-card"), desktop.locator("#field-answers[data-stale]")
    desktop.get_by_role("button", name="7", exact=True).click()
    expect(cards).to_have_count(1)
    expect(dimmed).to_have_count(0)
    desktop.locator("#field-pattern").get_by_label("top half", exact=True).check()
    expect(dimmed).to_have_count(1)
    late.set()
    expect(cards).to_have_count(2)
    desktop.wait_for_timeout(500)
    assert dimmed.count() == 1
    newer.set()
    expect(desktop.locator("#field-answers .pt-refuses")).to_have_count(1)
    expect(dimmed).to_have_count(0)
