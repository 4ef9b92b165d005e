"""The image tab: paint, ask, sample."""

import re
import threading

from PIL import Image
from visitor import (
    LONGEST,
    choose_model,
    clear,
    expect,
    image_of,
    is_wide,
    large,
    observed,
    paint,
    pick,
    quiet,
    tool,
    until_changed,
    until_drawn,
    until_observed,
)

from demo import drawings, image_handlers


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


def test_of_quick_choices_of_a_model_the_last_one_counts(cat, gates, monkeypatch):
    refit, (begun, answered) = image_handlers.refit, gates

    def refit_late(*paint):
        begun.set()
        answered.wait(LONGEST)
        return refit(*paint)

    quiet(cat)
    monkeypatch.setattr(image_handlers, "refit", refit_late)
    choose_model(cat, "Digits")
    assert begun.wait(LONGEST)
    choose_model(cat, "Things")
    answered.set()
    cat.wait_for_function("JSON.parse(localStorage['pixeltransformer.image']).checkpoint === 'cifar10'")
    expect(cat.locator("#marginals[data-stale]")).to_have_count(0)
    expect(cat.locator("#checkpoint").get_by_label("Things", exact=True)).to_be_checked()


def test_an_answer_leaves_results_dimmed_while_a_later_change_of_the_same_control_waits(cat, gates, monkeypatch):
    marginals, waiting, (first, second) = image_handlers.marginal_tiles, iter(gates), gates

    def answer_late(*request):
        next(waiting).wait(LONGEST)
        return marginals(*request)

    quiet(cat)
    monkeypatch.setattr(image_handlers, "marginal_tiles", answer_late)
    cat.evaluate(
        """() => {
          const shown = document.querySelector("#marginals");
          const watch = () => { window.renewed ||= !("stale" in shown.dataset); };
          window.renewed = false;
          new MutationObserver(watch).observe(shown, { attributes: true });
        }"""
    )
    dimmed, size = cat.locator("#marginals[data-stale]"), cat.locator("#resolution input[type=number]")
    size.fill("40")
    expect(dimmed).to_have_count(1)
    size.fill("48")
    cat.wait_for_timeout(500)
    first.set()
    expect(image_of(cat, "Mean")).to_have_attribute("alt", re.compile("40 × 40"))
    cat.wait_for_timeout(500)
    assert not cat.evaluate("window.renewed")
    second.set()
    expect(image_of(cat, "Mean")).to_have_attribute("alt", re.compile("48 × 48"))
    expect(dimmed).to_have_count(0)


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
