"""A step whose loss or gradients are not finite is left out, counted and told; many in a row end the training."""

import json

import pytest
import torch
from safetensors.torch import load_file

import train_accelerate
from processes import launch
from test_resume import run
from training import reading
from training.journal import read_journal
from training.losses import weighted_loss


def poison(monkeypatch, steps: tuple[int, ...], value: float = float("nan")) -> None:
    """Values of these batches are not finite."""
    make = reading.make_episode

    def poisoned(signal, batch, sizes, seed, number, *rest):
        episode = make(signal, batch, sizes, seed, number, *rest)
        if number in steps:
            episode["query_values"] = torch.full_like(episode["query_values"], value)
        return episode

    monkeypatch.setattr(reading, "make_episode", poisoned)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_poisoned_batch_is_skipped_counted_and_told(tmp_path, monkeypatch, capsys, value):
    poison(monkeypatch, (2,), value)
    folder = run(tmp_path)
    lines = read_journal(tmp_path / "log.jsonl")
    assert [line.get("skipped", False) for line in lines] == [False, False, True, False, False, False]
    assert "step 3: loss" in capsys.readouterr().out
    assert json.loads((tmp_path / "state-6" / "progress.json").read_text())["skipped"] == 1
    assert "1 steps were left out" in (folder / "README.md").read_text()
    for file in (folder / "model.safetensors", tmp_path / "state-6" / "model.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(file).values())


def test_a_skipped_step_changes_no_weight(tmp_path, monkeypatch):
    poison(monkeypatch, (1,))
    run(tmp_path, max_train_steps=2, save_every=1)
    before, after = (load_file(tmp_path / f"state-{step}" / "model.safetensors") for step in (1, 2))
    assert all(torch.equal(before[name], after[name]) for name in before)
    average = [load_file(tmp_path / f"state-{step}" / "average.safetensors") for step in (1, 2)]
    assert all(torch.equal(average[0][name], average[1][name]) for name in average[0])


def test_infinite_gradients_of_a_finite_loss_are_left_out_too(tmp_path, monkeypatch):
    calls = []

    def steep(output, *arguments):
        loss = weighted_loss(output, *arguments)
        calls.append(1)
        if len(calls) == 3:  # finite, with an infinite slope
            means = output.distribution.means
            loss = loss + torch.sqrt((means - means.detach()).sum().abs())
        return loss

    monkeypatch.setattr(train_accelerate, "weighted_loss", steep)
    run(tmp_path)
    lines = read_journal(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines if line.get("skipped")] == [3] and lines[2]["nats"] is not None


def test_a_training_gone_wrong_stops_with_advice(tmp_path, monkeypatch):
    poison(monkeypatch, tuple(range(4, 100)))
    with pytest.raises(FloatingPointError, match="no finite loss in the 20 steps before 24: look for NaN .*--resume"):
        run(tmp_path, max_train_steps=50)


POISON_ONE = """
import torch
from training import reading
make = reading.make_episode
def poisoned(signal, batch, sizes, seed, number, *rest):
    episode = make(signal, batch, sizes, seed, number, *rest)
    if number == 5:  # of two processes only the second sees it, in step 3
        episode["query_values"] = episode["query_values"] * float("nan")
    return episode
reading.make_episode = poisoned
"""


def test_two_processes_skip_the_same_step(tmp_path):
    launch(tmp_path, 2, POISON_ONE, output_dir=str(tmp_path / "run"), max_train_steps=5, save_every=2)
    lines = read_journal(tmp_path / "run" / "log.jsonl")
    assert [line["step"] for line in lines if line.get("skipped")] == [3] and len(lines) == 5
    assert all(torch.isfinite(t).all() for t in load_file(tmp_path / "run" / "export" / "model.safetensors").values())
