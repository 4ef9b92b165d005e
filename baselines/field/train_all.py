"""Train all models one after another with the same minutes each, then compare them: one command, which can be stopped.

`python -m baselines.field.train_all --dataset_name ylecun/mnist --minutes 20`. A model whose export exists is not
trained again, one with training states goes on from the latest. `--publish true` copies all exports into
checkpoints/field.
"""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from transformers import HfArgumentParser

from baselines.autoregressive import MODELS
from baselines.field.export import publish
from signals.base import flag, flags
from training.states import list_states

SETS = ("binary", "grey", "colour", "curves", "pixeltransformer")
GREY = "pixel-histogram parametric-pixels categorical-nade gated-pixelcnn pixelcnn++ pixelsnail lmconv image-gpt"
GREY += " spatial-pixelcnn spatial-pixelcnn-16"
COLOUR = "pixelcnn++ pixelsnail lmconv"


@dataclass
class AllArguments:
    """Train all models of the field, the same minutes each, and compare them."""

    dataset_name: str = flag("Grey images: Hub dataset or folder.")
    colour_name: str | None = flag("Colour images; none: models of colour are left out.")
    minutes: float = flag("Minutes of training for each model.", 20.0)
    output_dir: str = flag("Folder that gets a folder for each model.", "runs/field")
    sets: list[str] = flags(f"Which of {', '.join(SETS)} to train.", list(SETS))
    only: list[str] = flags("Names of the models to train, as in the folder; default: all.", [])
    launcher: str = flag("Words before `-m baselines.train`.", "accelerate launch")
    compare: bool = flag("Write docs/FIELD.md in the end.", True)
    publish: bool = flag("Copy the exports into checkpoints/field.", False)
    list_only: bool = flag("Print the commands and do nothing.", False)

    def __post_init__(self):
        if not self.dataset_name:
            raise ValueError(f"--dataset_name: expected a Hub dataset or a folder, got {self.dataset_name!r}")
        if self.minutes <= 0:
            raise ValueError(f"--minutes: expected a number above 0, got {self.minutes}")
        if set(self.sets) - set(SETS):
            raise ValueError(f"--sets: expected some of {', '.join(SETS)}, got {' '.join(self.sets)}")


class Job(NamedTuple):
    """A model to train: the name of its folder, and the words after the launcher."""

    name: str
    words: list[str]


def jobs(arguments: AllArguments) -> list[Job]:
    """All trainings that the arguments ask for, PixelTransformer's last."""
    found: list[Job] = []
    data = ["--dataset_name", arguments.dataset_name]
    if "binary" in arguments.sets:
        for name, entry in MODELS.items():
            if not entry.curves and name != "categorical-nade":
                tiny = ["--image_size", "4"] * (name == "joint-histogram")
                found.append(Job(name, ["--model", name, *data, "--binarise", "true", *tiny]))
    if "grey" in arguments.sets:
        for name in GREY.split():
            only_grey = name == "categorical-nade"
            found.append(Job(name if only_grey else f"{name}-grey", ["--model", name, *data]))
    if "colour" in arguments.sets and arguments.colour_name:
        colours = ["--dataset_name", arguments.colour_name, "--channels", "colour"]
        found += [Job(f"{name}-colour", ["--model", name, *colours]) for name in COLOUR.split()]
    if "curves" in arguments.sets:
        found += [Job(name, ["--model", name]) for name, entry in MODELS.items() if entry.curves]
    if "pixeltransformer" in arguments.sets:
        found.append(Job("mnist-binary", ["--preset", "mnist-binary", *data]))
    names = {job.name for job in found}
    if set(arguments.only) - names:
        raise ValueError(f"--only: expected some of {', '.join(sorted(names))}, got {' '.join(arguments.only)}")
    return [job for job in found if not arguments.only or job.name in arguments.only]


def command(job: Job, arguments: AllArguments) -> list[str]:
    """The command line of a training, which goes on from the latest state if there is one."""
    folder = Path(arguments.output_dir) / job.name
    program = ["train_accelerate.py"] if "--preset" in job.words else ["-m", "baselines.train"]
    words = [*shlex.split(arguments.launcher), *program, *job.words]
    words += ["--max_train_minutes", f"{arguments.minutes:g}", "--output_dir", folder.as_posix()]
    return words + ["--resume", "latest"] * bool(list_states(folder))


def train_all(arguments: AllArguments) -> list[str]:
    """Run the trainings that are not done; names of those that failed.

    Raises:
        KeyboardInterrupt: where a training was interrupted; the same command goes on.
    """
    failed = []
    for job in jobs(arguments):
        folder = Path(arguments.output_dir) / job.name
        words = command(job, arguments)
        done = (folder / "export" / "config.json").is_file()
        print(f"{job.name}: {'done' if done else shlex.join(words)}", flush=True)
        if arguments.list_only:
            continue
        code = 0 if done else subprocess.run(words).returncode
        if code in (130, 143, -2, -15):
            raise KeyboardInterrupt
        if code:
            failed.append(job.name)
        elif arguments.publish and "--preset" not in job.words:
            publish(folder / "export", Path("checkpoints/field") / job.name)
    return failed


def compare(arguments: AllArguments) -> int:
    """Write the table of all exports and of the shipped PixelTransformer; the exit code."""
    words = [sys.executable, "-m", "baselines.field", "--folder", arguments.output_dir]
    words += ["--dataset_name", arguments.dataset_name, "--also", "checkpoints/mnist"]
    words += ["--colour_name", arguments.colour_name] if arguments.colour_name else []
    return subprocess.run(words).returncode


def main() -> None:
    """As the command line says; models that failed are named in the end."""
    try:
        parser = HfArgumentParser(
            AllArguments, allow_abbrev=False, prog="python -m baselines.field.train_all", description=__doc__
        )
        (arguments,) = parser.parse_args_into_dataclasses()
        failed = train_all(arguments)
    except KeyboardInterrupt:
        print("baselines.field.train_all: stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError) as error:
        sys.exit(f"baselines.field.train_all: {error}")
    code = compare(arguments) if arguments.compare and not arguments.list_only else 0
    if failed:
        sys.exit(f"baselines.field.train_all: these failed and are not in the table: {', '.join(failed)}")
    sys.exit(code)


if __name__ == "__main__":
    main()
