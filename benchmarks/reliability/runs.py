"""Second runs into a folder, and resuming with other settings: refused before anything is lost, or done rightly."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import train_accelerate
from benchmarks.reliability.tally import Tally, quiet
from signals.polynomial import Polynomials
from training import reading
from training.arguments import Arguments
from training.journal import NAME, read_journal
from training.states import list_states

STEPS = 4
FLAGS = dict(
    hidden_size=16, num_encoder_layers=1, num_decoder_layers=1, num_attention_heads=2, intermediate_size=16, num_bins=2,
    max_context=10, buffer_size=4, max_queries=4, token_budget=64, mixed_precision="no", report_to="none",
    validation_contexts=[0], validation_images=1, save_every=2, validate_every=100, max_train_steps=STEPS,
)  # fmt: skip
DATA = dict(num_polynomials=100, validation_size=4)


def run(output: Path | str, data: dict | None = None, **changes) -> Path:
    """A training of a few steps on polynomials."""
    arguments = Arguments(**{"output_dir": str(output), **FLAGS, **changes})
    arguments.check()
    return train_accelerate.train(arguments, Polynomials(**DATA | (data or {})))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def batches() -> Iterator[list[int]]:
    """Numbers of the batches that trainings see meanwhile."""
    make, seen = reading.make_episode, []

    def recorded(kind, batch, sizes, seed, number, *rest):
        seen.append(number)
        return make(kind, batch, sizes, seed, number, *rest)

    reading.make_episode = recorded
    try:
        yield seen
    finally:
        reading.make_episode = make


def try_runs() -> Tally:
    """All of this module."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        with quiet():
            run(whole)
        _second_runs(tally, whole)
        _other_settings(tally, whole)
        _continued(tally, whole)
    return tally


def _second_runs(tally: Tally, whole: Path) -> None:
    """Without --resume a folder with work in it is refused, however it is named, and stays as it is."""
    link = whole.with_name("link")
    link.symlink_to(whole)
    names = {"the same": whole, "with a slash": f"{whole}/", "with dots": f"{whole}/../whole", "a link": link}
    settings = {
        "the same flags": {},
        "another seed": {"seed": 1},
        "more steps": {"max_train_steps": 99},
        "other sizes": {"hidden_size": 32},
        "a state kept": {"max_checkpoints": 1},
    }
    before = contents(whole)
    for name, output in names.items():
        for case, changes in settings.items():
            word = r"^--output_dir: expected a folder without another run's work, got .*state-4.*--resume.*--overwrite"
            tally.refuse(f"{case}, folder {name}", lambda o=output, changes=changes: run(o, **changes), word)
    exported = whole.with_name("exported")
    shutil.copytree(whole / "export", exported / "export")
    tally.refuse("an exported model alone", lambda: run(exported), "^--output_dir: expected .*export")
    tally.answer("the folder after all of these", lambda: contents(whole) == before)


def _other_settings(tally: Tally, whole: Path) -> None:
    """What a state cannot go on with is named by its flag."""
    before = contents(whole)
    settings: dict[str, tuple[dict, dict]] = {
        "seed": ({}, {"seed": 1}),
        "dataset_name: .*rows": ({"num_polynomials": 90}, {}),
        "resume: expected a state of this model.*(hidden|size|shape)": ({}, {"hidden_size": 32}),
        "resume: expected a state of this model": ({}, {"num_bins": 3}),
        "resume: expected a state of this model and": ({}, {"num_encoder_layers": 2}),
        "resume: expected a state of this model and optimiser": ({}, {"optimizer": "adamw"}),
        "overwrite: expected false": ({}, {"overwrite": True}),
        "resume: expected .*state-99": ({}, {"resume": str(whole / "state-99")}),
        "resume: expected .*export": ({}, {"resume": str(whole / "export")}),
        "resume: expected .*log": ({}, {"resume": str(whole / NAME)}),
        "resume: expected .*newest": ({}, {"resume": "newest"}),
    }
    for word, (data, changes) in settings.items():
        flags = {"resume": "latest", "max_train_steps": 6} | changes
        case = ", ".join(f"{name} {str(value)[-12:]}" for name, value in (data | changes).items())
        tally.refuse(f"resumed with {case}", lambda d=data, f=flags: run(whole, d, **f), f"^--{word}")
    tally.answer("the folder after all of these", lambda: contents(whole) == before)


def _continued(tally: Tally, whole: Path) -> None:
    """What may change between two parts of a run goes on with the next batch and a journal without gaps."""
    settings = {
        "nothing else": {},
        "another accumulation": {"gradient_accumulation_steps": 2},
        "another rate": {"learning_rate": 1e-4},
        "states of other steps": {"save_every": 1, "max_checkpoints": 5},
        "other validation": {"validate_every": 1, "validation_contexts": [0, 2]},
    }
    for number, (case, changes) in enumerate(settings.items()):
        for state in ("latest", "state-2"):
            folder = whole.with_name(f"continued-{number}-{state}")
            shutil.copytree(whole, folder)
            flags = {"max_train_steps": 6, "resume": state if state == "latest" else str(folder / state)} | changes
            first = STEPS if state == "latest" else 2
            wanted = list(range(first, first + (6 - first) * changes.get("gradient_accumulation_steps", 1)))

            def right(folder=folder, flags=flags, wanted=wanted) -> bool:
                with batches() as seen:
                    run(folder, **flags)
                steps = [line["step"] for line in read_journal(folder / NAME)]
                return seen == wanted and steps == list(range(1, 7)) and list_states(folder)[-1].name == "state-6"

            tally.answer(f"resumed from {state} with {case}", right)
    before = contents(whole)

    def elsewhere() -> bool:
        run(whole.with_name("elsewhere"), resume=str(whole / "state-4"), max_train_steps=6)
        return contents(whole) == before and list_states(whole.with_name("elsewhere"))[-1].name == "state-6"

    def anew() -> bool:
        folder = whole.with_name("anew")
        shutil.copytree(whole, folder)
        run(folder, overwrite=True, seed=1, max_train_steps=3, save_every=100)
        steps = [line["step"] for line in read_journal(folder / NAME)]
        return [state.name for state in list_states(folder)] == ["state-3"] and steps == [1, 2, 3]

    tally.answer("resumed into another folder", elsewhere)
    tally.answer("another run with --overwrite", anew)
