"""The video tab."""

from visitor import expect, is_wide


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
