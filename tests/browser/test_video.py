"""The video tab."""

import re

from visitor import LONGEST, expect, is_wide, refuses

from demo import video_handlers


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


def test_a_late_sample_of_an_older_clip_stays_dimmed(desktop, gates, monkeypatch):
    late, newer = gates
    sampled_clip, observe = video_handlers.sampled_clip, video_handlers.observe

    def sample_late(*request):
        *parts, last = sampled_clip(*request)
        yield from parts
        late.wait(LONGEST)
        yield last

    def observe_late(*clip):
        newer.wait(LONGEST)
        return observe(*clip)

    desktop.get_by_role("tab", name="Video").click()
    dimmed, clips = desktop.locator("#player[data-stale]"), desktop.locator("#player figure")
    expect(clips.nth(2)).to_have_attribute("data-name", "Sample")
    monkeypatch.setattr(video_handlers, "sampled_clip", sample_late)
    desktop.get_by_role("button", name="Zero and three").click()
    expect(clips.nth(2)).to_have_attribute("data-name", re.compile("^Sample, "))
    expect(dimmed).to_have_count(0)
    monkeypatch.setattr(video_handlers, "observe", observe_late)
    desktop.locator("#video-pattern").get_by_label("Continue").check()
    expect(dimmed).to_have_count(1)
    late.set()
    expect(clips.nth(2)).to_have_attribute("data-name", "Sample")
    desktop.wait_for_timeout(500)
    assert dimmed.count() == 1
    newer.set()
    expect(dimmed).to_have_count(0)


def test_a_damaged_video_goes_out_of_its_field(desktop):
    desktop.get_by_role("tab", name="Video").click()
    expect(desktop.locator('#player figure[data-name="Sample"] canvas')).to_be_visible()
    refuses(desktop, "#clip", "cut.gif", "video: expected")
