"""What strokes on the pad leave observed: its script run by Node on a document of stubs."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")
WIDGETS = Path(__file__).parent.parent / "demo" / "widgets"
pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed; tests/browser tries the same")


@pytest.fixture(scope="module")
def steps() -> dict[str, dict]:
    """What the pad sends after each step of `pad_without_browser.js`."""
    script = Path(__file__).parent / "pad_without_browser.js"
    command = [NODE, script, *(WIDGETS / name for name in ("common.js", "ghost.js", "pad.js"))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_last_stroke_wins_and_what_it_does_not_cover_stays(steps):
    assert steps["a dab"]["dabs"] == [[15, 15, 4]]
    over = steps["a smaller dab on it"]
    assert over["dabs"] == [[16, 16, 2]] and over["cells"] == 12  # of 16 pixels the smaller dab covers 4
    again = steps["the same dab again"]
    assert again["dabs"] == [[15, 15, 4]] and again["cells"] == 0  # nothing counts twice


def test_of_a_large_dab_the_uncovered_quarters_stay_dabs(steps):
    dabs = steps["a corner of a large dab"]["dabs"]
    assert sorted(side for _, _, side in dabs) == [2, 2, 2, 2, 4, 4, 4]
    assert sum(side * side for _, _, side in dabs) == 64


def test_dabs_of_one_stroke_overlap_by_half(steps):
    assert steps["a stroke"]["dabs"] == [[left, 4, 3] for left in (4, 6, 8, 10, 12)]


def test_undo_and_redo_cover_strokes_and_models(steps):
    assert steps["undo"]["cells"] == 12 and steps["redo"]["dabs"] == [[15, 15, 4]]
    assert steps["undo"]["event"] == "input"
    assert (steps["undo a model"]["checkpoint"], steps["undo a model"]["event"]) == ("cats", "recall")
    assert (steps["redo a model"]["checkpoint"], steps["redo a model"]["event"]) == ("digits", "recall")


def test_ink_on_a_grey_pad_lies_on_paper_that_can_be_switched_off(steps):
    ink = steps["ink"]
    assert (ink["cells"], ink["ink"], ink["dabs"]) == (9, 9, []) and ink["paper"] > 30
    assert steps["no paper"]["paper"] == 0 and steps["no paper"]["cells"] == 9
    assert steps["a dab"]["paper"] == 0
