"""The field tab: every model of the field answers for a digit, or says why it cannot."""

import math

import pytest
import torch

from baselines.protocol import num_levels
from demo import field_actions, field_handlers
from demo.field_actions import CELLS, EVERYTHING, PATTERNS, POSITIONS, SAMPLES, Answer, Task, ask, example, known_by
from demo.field_handlers import Visit, cards, edit, hide, note, opening, recover, restore, run, state_of
from demo.field_models import ABOUT, OURS, SLOW, load, offered

QUICK = ("nade", "eonade")


@pytest.fixture
def few(monkeypatch):
    """Two models alone, and nothing remembered."""
    chosen = {name: offered()[name] for name in QUICK}
    for module in (field_actions, field_handlers):
        monkeypatch.setattr(module, "offered", lambda: chosen)
    monkeypatch.setattr(field_handlers, "_answered", type(field_handlers._answered)())
    return chosen


def visit(**changed) -> Visit:
    return Visit({**opening(), "pattern": PATTERNS[0], "seed": 0, **changed})


def test_the_field_is_on_offer_with_the_slow_ones_last():
    names = list(offered())
    assert set(QUICK) < set(names) <= set(ABOUT)
    assert [name for name in names if name in SLOW] == names[len(names) - len(set(SLOW) & set(names)) :]
    if OURS in names:
        assert names[0] == OURS


def test_the_weights_of_every_model_on_offer_fit_its_code():
    for name in offered():
        assert sum(parameter.numel() for parameter in load(name).parameters()), name


@pytest.mark.parametrize("name", QUICK)
def test_a_completion_keeps_what_is_observed(name):
    task = Task(example(8), known_by("bottom half", 0))
    found = ask(name, task, 0)
    assert found.refusal is None and found.samples == SAMPLES
    assert torch.equal(found.sample[task.known], task.ink.float()[task.known])
    assert set(found.sample.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(found.probabilities[task.known], task.ink.float()[task.known])
    hidden = found.probabilities[~task.known]
    assert hidden.min() >= 0 and hidden.max() <= 1 and len(hidden.unique()) > 100
    assert torch.equal(ask(name, task, 0).sample, found.sample)
    assert not torch.equal(ask(name, task, 1).sample, found.sample)


def test_bits_are_those_of_the_hidden_truth():
    task = Task(example(3), known_by("bottom half", 0))
    order = task.known.int().argsort(descending=True, stable=True)
    positions, values = POSITIONS[order][None], task.ink.float()[order][None, :, None]
    known = int(task.known.sum())
    expected = load("nade").log_prob(positions[:, :known], values[:, :known], positions[:, known:], values[:, known:])
    assert ask("nade", task, 0).bits == pytest.approx(-expected.item() / math.log(2), rel=1e-5)


def test_a_model_of_one_order_says_why_it_cannot():
    task = Task(example(3), known_by("top half", 0))
    assert "comes first in its order" in ask("nade", task, 0).refusal
    assert ask("eonade", task, 0).bits > 0
    assert "4×4" in ask("joint-histogram", task, 0).refusal
    nothing_hidden = Task(example(3), torch.ones(CELLS, dtype=torch.bool))
    assert "hide some pixels" in ask("eonade", nothing_hidden, 0).refusal


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_hide_a_part(pattern):
    known = known_by(pattern, 0)
    assert known.shape == (CELLS,) and int(known.sum()) < CELLS
    assert bool(known.any()) == (pattern != "everything")


def test_the_likeliest_comes_first_and_is_marked(few):
    task = Task(example(3), known_by("bottom half", 0))
    answers = [
        Answer(name, None, bits, torch.zeros(CELLS), torch.zeros(CELLS))
        for name, bits in zip(QUICK, (9.0, 5.0), strict=True)
    ]
    shown = cards(task, [*answers, Answer("made", "It cannot.")])
    assert [card["best"] for card in shown] == [True, False, False]
    assert shown[0]["name"] == ABOUT["eonade"].name and shown[-1]["said"] == "It cannot."


def test_a_certain_model_has_no_bits_and_a_card_says_what_is_estimated():
    task, nothing = Task(example(3), known_by("bottom half", 0)), torch.zeros(CELLS)
    shown = cards(
        task,
        [
            Answer("nade", None, 3.0, nothing, nothing, 1.0, 1, estimated=True),
            Answer("eonade", None, -0.0, nothing, nothing, 1.0, 4),
            Answer("categorical-nade", None, None, nothing, nothing, 1.0, 4, estimated=True, levels=256),
            Answer("spatial-pixelcnn-16", None, None, nothing, nothing, 1.0, 4),
        ],
    )
    assert [card["said"] for card in shown] == [
        "0.0 bits · 4 samples in 1.00 s",
        "3.0 bits · 1 sample in 1.00 s · probability of ink estimated from 1 sample",
        "256 grey levels: bits do not compare · 4 samples in 1.00 s · probability of ink estimated from 4 samples",
        "no likelihood · 4 samples in 1.00 s",
    ]
    assert [ask(name, task, 0).estimated for name in ("nade", "eonade", "pixel-histogram")] == [True, False, False]


def test_a_model_of_other_data_says_so():
    task = Task(example(3), known_by("top half", 0))
    for name in offered():
        model = load(name)
        if num_levels(model) != 2:
            answer = ask(name, task, 0)
            assert "256 grey levels" in ABOUT[name].name or "It models curves" in answer.refusal, name


def test_answers_come_one_by_one_and_are_remembered(few):
    found = [update for update in run(visit()) if update.get("state") is not None]
    assert [len(update["answers"]["value"]) for update in found] == [1, 2]
    again = list(run(visit()))
    assert len(again) == 1 and again[0]["answers"]["value"] == found[-1]["answers"]["value"]


def test_a_model_that_had_no_time_is_asked_again(few, monkeypatch):
    monkeypatch.setattr(field_actions, "SLOW", ("eonade",))
    monkeypatch.setattr(field_actions, "ENOUGH", -1)
    *_, last = run(visit())
    late = last["answers"]["value"][-1]
    assert late["said"].startswith("It is slow: there was no time left") and late["name"] == ABOUT["eonade"].name
    monkeypatch.setattr(field_actions, "ENOUGH", 45)
    *_, last = run(visit())
    assert all(card["pictures"] for card in last["answers"]["value"])


def test_random_numbers_are_drawn_where_the_model_is(monkeypatch):
    """A generator of the CPU does not serve a model on a GPU."""
    devices = []

    class Recorded(torch.Generator):
        def __new__(cls, device=None):
            devices.append(device)
            return super().__new__(cls, device)

    task = Task(example(3), known_by("bottom half", 0))
    monkeypatch.setattr(field_actions.torch, "Generator", Recorded)
    for name in ("nade", OURS):
        ask(name, task, 0)
    assert len(devices) >= 3 and None not in devices


def test_who_asks_twice_is_answered_once(few):
    first = run(visit(session="someone"))
    assert len(next(first)["answers"]["value"]) == 1
    assert [list(update) for update in run(visit(session="someone"))] == [["state"]]
    other = run(visit(session="other"))
    assert "Waiting: 1 drawing comes first" in next(other)["state"]
    first.close()
    assert {who for who, _ in field_handlers._asking} == {"other"}
    assert len(list(other)[-1]["answers"]["value"]) == 2 and not field_handlers._asking


def test_cards_have_the_name_of_what_is_wanted(few):
    """The page tells by it whether they answer the last change."""
    seen = visit(edition=3)
    wanted = note(seen)["answers"]["wanted"]
    assert wanted["edition"] == 3 and {update["answers"]["task"] for update in run(seen)} == {wanted["name"]}
    assert note(visit(seed=1))["answers"]["wanted"]["name"] != wanted["name"]


def test_handlers_change_the_digit_alone_or_what_is_hidden_alone():
    hidden = hide(visit(pattern="left half"))
    assert hidden["ink"] == opening()["ink"] and hidden["known"] != opening()["known"]
    drawn = {"ink": "1" * CELLS, "known": "0" * CELLS}
    assert edit(visit(), drawn) == drawn | {"pattern": None}
    for wrong in ({"ink": "1"}, {"ink": "2" * CELLS, "known": "0" * CELLS}, {"ink": 5, "known": None}):
        with pytest.raises(ValueError, match="expected 784 digits 0 or 1"):
            edit(visit(), wrong)


def test_a_link_brings_back_the_same_digit():
    for pattern in ("centre", None):  # none: it was hidden by hand
        before = visit(pattern=pattern, seed=5, **Task(example(7), known_by("centre", 5)).texts())
        found = restore(state_of(before))
        assert {name: found[name] for name in ("ink", "known", "pattern", "seed")} == before.values
    for wrong in ({"pattern": "all"}, {"seed": -1}, {"ink": "01"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            recover(before.values | wrong)


def test_orders_are_moving_pictures():
    found = field_actions.order_pictures()
    assert {"Raster", "Hilbert curve", "Low discrepancy"} <= {name for name, _, _ in found}
    assert all(gif[:3] == b"GIF" for _, _, gif in found)


def test_models_of_other_data_answer_without_bits_or_say_why_they_cannot():
    task = Task(example(3), known_by("bottom half", 0))
    grey = ask("categorical-nade", task, 0)
    assert grey.refusal is None and grey.bits is None and len(grey.sample.unique()) > 2
    assert torch.equal(grey.sample[task.known], task.ink.float()[task.known])
    nothing = Task(example(3), known_by(EVERYTHING, 0))
    drawn = ask("spatial-pixelcnn", nothing, 0)  # which has no marginals
    assert drawn.refusal is None and drawn.sample.shape == drawn.probabilities.shape == (CELLS,)
    assert all("curves" in ask(name, task, 0).refusal for name in ("wavenet", "rnade"))
