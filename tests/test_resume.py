"""A training that is killed, stopped or starved of disk goes on as if nothing had happened."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from small_training import arguments

import train_accelerate
from processes import python
from signals.polynomial import Polynomials
from training import reading, states
from training.arguments import Arguments
from training.batches import EpisodeBatches
from training.episodes import EpisodeSampler
from training.interruption import StoppedError
from training.journal import Journal, read_journal
from training.reading import Reader
from training.states import TornStateError, check_state, find_state, list_states, seal

FAULTS = """
import sys
from pathlib import Path
from benchmarks.reliability import faults
folder, steps, every = Path(sys.argv[1]), 16, 5
reference = faults.whole(folder, steps, every)
print(faults.kill_at_random(folder, reference, steps, every, kills=3, seed=1))
print(faults.kill_while_writing(folder, reference[0], steps, every, ["seal", "replace_folder"]))
print(faults.torn_states(folder, reference[0]))
print(faults.torn_then_resumed(folder, reference[0], steps, every))
print(faults.failed_writing(folder, reference[0], steps, every))
print(faults.interrupted(folder, reference, steps, every))
"""


def run(output: Path, **changes) -> Path:
    """A tiny training on polynomials."""
    sizes = dict(hidden_size=16, num_encoder_layers=1, num_decoder_layers=1, num_attention_heads=2)
    sizes |= dict(intermediate_size=16, max_context=10, buffer_size=4, max_queries=4, token_budget=64)
    rest = dict(mixed_precision="no", report_to="none", validation_contexts=[0], validation_images=1)
    rest |= dict(max_train_steps=6, save_every=2, validate_every=100)
    kind = changes.pop("signal", Polynomials(num_polynomials=100, validation_size=4))
    flags = {"output_dir": str(output), **sizes, **rest, **changes}
    return train_accelerate.train(Arguments(**flags), kind)


def test_killed_torn_full_and_stopped_trainings_end_like_one_left_alone(tmp_path):
    """Losses, order of the data, weights, average and moments equal bit for bit; nothing is lost."""
    done = python("-c", FAULTS, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and all(line.endswith(", [])") for line in lines), done.stdout


def test_state_holds_no_pickle_that_could_run_code(tmp_path):
    """accelerate would read objects registered with it with weights_only=False; none is."""
    run(tmp_path)
    names = {path.name for path in list_states(tmp_path)[-1].iterdir()}
    assert {"model.safetensors", "average.safetensors", "progress.json", "manifest.json"} <= names
    assert not [name for name in names if name.startswith("custom_checkpoint")]


def test_no_more_states_are_kept_than_asked_for_whatever_was_left_behind(tmp_path):
    (tmp_path / "state-1.partial").mkdir()
    (tmp_path / "state-1.old").mkdir()
    run(tmp_path, max_train_steps=8, max_checkpoints=3)
    names = sorted(path.name for path in tmp_path.glob("state-*"))
    assert names == ["state-4", "state-6", "state-8"]


def test_a_state_of_another_model_is_refused_in_a_sentence(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match="--resume: expected a state of this model and optimiser, got .*state-6"):
        run(tmp_path, resume="latest", hidden_size=32, max_train_steps=8)


def test_a_named_state_that_is_torn_is_refused_and_none_at_all_too(tmp_path):
    folder = tmp_path / "state-3"
    folder.mkdir()
    (folder / "a").write_text("12345")
    with pytest.raises(ValueError, match="--resume: expected an intact .*state-3: manifest.json is missing"):
        find_state(str(folder), tmp_path)
    with pytest.raises(ValueError, match="--resume: expected a training state in .*whose 1 are torn"):
        find_state("latest", tmp_path, lambda _: None)
    seal(folder)
    check_state(folder)
    (folder / "a").write_text("1234")
    with pytest.raises(TornStateError, match="a has 4 of 5 bytes"):
        check_state(folder)
    with pytest.raises(ValueError, match='--resume: expected "latest" or a folder'):
        find_state("nowhere", tmp_path)
    with pytest.raises(ValueError, match="--resume: expected a training state in .*found none"):
        find_state("latest", tmp_path / "empty")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_it_came_in(tmp_path, monkeypatch, number):
    write = Journal.write

    def signalled(journal, step, *rest, **more):
        if step == 3:
            os.kill(os.getpid(), number)
        write(journal, step, *rest, **more)

    monkeypatch.setattr(Journal, "write", signalled)
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match="state-4 holds all of it") as stopped:
        run(tmp_path, save_every=100)
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    assert [folder.name for folder in list_states(tmp_path)] == ["state-4"]
    monkeypatch.undo()
    run(tmp_path, resume="latest")
    assert [line["step"] for line in read_journal(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_state_that_cannot_be_written_leaves_those_before_it(tmp_path, monkeypatch):
    save = states.save_file
    calls = []

    def full(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(states, "save_file", full)
    with pytest.raises(OSError, match=r"--output_dir: cannot write .*state-4 \(No space left on device\).*\(state-2\)"):
        run(tmp_path, max_checkpoints=1)
    assert [folder.name for folder in tmp_path.glob("state-*")] == ["state-2"]
    check_state(tmp_path / "state-2")


def test_an_output_that_is_no_folder_is_told_before_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="--output_dir: expected a folder that can be written, got .*file"):
        run(tmp_path / "file" / "run")


def test_journal_goes_on_behind_the_resumed_step_and_bears_a_torn_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step, "nats": 1.5, "rate": 1}) + "\n" for step in (1, 2, 3)) + '{"ste')
    journal = Journal(tmp_path, 2)
    journal.write(3, float("nan"), 0.5, skipped=True)
    journal.close()
    assert [line["step"] for line in read_journal(path)] == [1, 2, 3]
    assert read_journal(path)[-1] == {"step": 3, "nats": None, "rate": 0.5, "skipped": True}


def losses(output: Path) -> list[int]:
    return [line["step"] for line in read_journal(output / "log.jsonl")]


def test_a_folder_with_another_run_is_refused_and_stays_as_it_is(tmp_path):
    run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="--output_dir: expected a folder without another run's work, got .*state-6"):
        run(tmp_path, seed=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(ValueError, match="--overwrite: expected false with --resume latest"):
        Arguments(output_dir="x", max_train_steps=1, overwrite=True, resume="latest").check()


def test_what_a_run_that_was_stopped_says_it_saved_is_there(tmp_path, monkeypatch):
    """After another run, of more steps, in the same folder."""
    run(tmp_path, max_train_steps=12, save_every=4)
    write = Journal.write

    def signalled(journal, step, *rest, **more):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        write(journal, step, *rest, **more)

    monkeypatch.setattr(Journal, "write", signalled)
    with pytest.raises(StoppedError, match="state-4 holds all of it"):
        run(tmp_path, seed=1, overwrite=True, max_train_steps=12, save_every=100)
    monkeypatch.undo()
    assert [folder.name for folder in list_states(tmp_path)] == ["state-4"] and losses(tmp_path) == [1, 2, 3, 4]
    run(tmp_path, seed=1, resume="latest", max_train_steps=5)
    assert losses(tmp_path) == [1, 2, 3, 4, 5]


def test_states_after_the_one_that_is_resumed_are_set_aside(tmp_path, capsys):
    run(tmp_path, max_train_steps=8, max_checkpoints=5)
    run(tmp_path, max_train_steps=7, save_every=3, max_checkpoints=2, resume=str(tmp_path / "state-4"))
    assert sorted(path.name for path in tmp_path.glob("state-*")) == [
        "state-6", "state-6.aside", "state-7", "state-8.aside"
    ]  # fmt: skip
    assert "set state-8 aside as state-8.aside" in capsys.readouterr().out and losses(tmp_path) == [*range(1, 8)]


def test_a_state_that_was_set_aside_is_resumed_at_its_own_step_and_stays(tmp_path):
    for name in ("state-2", "state-4", "state-4.aside", "state-6"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "progress.json").write_text(json.dumps({"step": int(name[6])}))
    resumed = tmp_path / "state-4.aside"
    (resumed / "mine").write_text("")
    own = states.clear_output(tmp_path, resumed, False, lambda _: None)
    assert own == [tmp_path / "state-2"] and (resumed / "mine").exists()
    assert sorted(path.name for path in tmp_path.glob("state-*")) == [
        "state-2", "state-4.aside", "state-4.aside-2", "state-6.aside"
    ]  # fmt: skip


def record(monkeypatch) -> list[int]:
    """Numbers of the batches that trainings see from now on."""
    make, seen = reading.make_episode, []

    def recorded(kind, batch, sizes, seed, number, *rest):
        seen.append(number)
        return make(kind, batch, sizes, seed, number, *rest)

    monkeypatch.setattr(reading, "make_episode", recorded)
    return seen


def test_another_accumulation_goes_on_with_the_next_batch(tmp_path, monkeypatch):
    seen = record(monkeypatch)
    run(tmp_path, max_train_steps=4)
    run(tmp_path, max_train_steps=6, gradient_accumulation_steps=3, resume="latest")
    run(tmp_path, max_train_steps=8, resume="latest")
    assert seen == list(range(12))


def test_other_batch_sizes_go_on_with_the_next_row():
    small = EpisodeSampler(seed=0, max_context=10, buffer=4, queries=4, token_budget=64)
    large = EpisodeSampler(seed=0, max_context=10, buffer=4, queries=4, token_budget=256)
    kind = Polynomials(num_polynomials=50)

    def reader(sampler: EpisodeSampler) -> Reader:
        return Reader(kind, kind.load(0)[0], sampler, torch.device("cpu"), 0, 1, 0)

    first = reader(small)
    first.count_step(2)
    rows = [row for _, batch in zip(range(2), EpisodeBatches(50, small), strict=False) for row in batch]
    assert first.row == len(rows)
    second = reader(large)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = iter(EpisodeBatches(50, large, start=second.batch, row=second.row))
    while len(rows) < 50:
        rows += next(rest)
    assert sorted(rows[:50]) == list(range(50))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "--seed: expected what the run of .*state-6 had, 0, got 1"),
        ({"signal": Polynomials(num_polynomials=90, validation_size=4)}, "--dataset_name: .*rows 100, got .*rows 90"),
    ],
)
def test_a_state_of_other_data_is_refused(tmp_path, changes, message):
    run(tmp_path)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, resume="latest", max_train_steps=8, **changes)


def test_images_of_another_size_do_not_go_on_with_old_bins(tmp_path, image_folder):
    train_accelerate.train(*arguments(image_folder, tmp_path / "run", report_to="none"))
    more = dict(max_train_steps=8, resume="latest", report_to="none")
    with pytest.raises(
        ValueError, match=r"--dataset_name: expected .*native_grid \[8, 8\].*got native_grid \[12, 12\]"
    ):
        train_accelerate.train(*arguments(image_folder, tmp_path / "run", image_size=[12], **more))
