"""Inject faults into trainings, give every part bad and odd input, and write what came of it to docs/RELIABILITY.md.

    python -m benchmarks.reliability                     # faults, and input to all parts but the app
    python -m benchmarks.reliability --app               # bad input to the app too
    python -m benchmarks.reliability --app_load FILE     # and a table of the load that `benchmarks.app_load` measured

The exit code is 1 where anything was lost, crashed, was refused without a word that helps, or was read wrongly.
"""

import argparse
import json
import multiprocessing
import shlex
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import transformers

from benchmarks.reliability import faults
from benchmarks.reliability.app_actions import try_app
from benchmarks.reliability.checkpoints import try_checkpoints
from benchmarks.reliability.command_lines import try_command_lines, try_launchers
from benchmarks.reliability.files import try_files
from benchmarks.reliability.meshes import try_meshes
from benchmarks.reliability.model_calls import try_model
from benchmarks.reliability.requests import try_handler
from benchmarks.reliability.runs import try_runs
from benchmarks.reliability.tally import Tally
from training.setup import machine, num_cores

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "docs" / "RELIABILITY.md"
STEPS, SAVE_EVERY = 60, 7
PARTS = {
    "command line": try_command_lines,
    "launchers (flags of the training behind its name)": try_launchers,
    "model (evaluation and training, dtypes, units)": try_model,
    "endpoint": try_handler,
    "data (file names, rows, containers, datasets)": try_files,
    "meshes": try_meshes,
    "checkpoints (configs, files, cards, dtypes, code)": try_checkpoints,
    "runs (second runs, resuming with other settings)": try_runs,
}
APP = {"app": try_app}


def run_faults(kills: int, seed: int) -> list[tuple[str, int, list[str]]]:
    """Every fault: what it was, how often, what was lost."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)  # one of the trainings runs as a user who may only look
        reference = faults.whole(place, STEPS, SAVE_EVERY)
        output, schedule = reference[0], (STEPS, SAVE_EVERY)
        return [
            ("SIGKILL at a random moment", *faults.kill_at_random(place, reference, *schedule, kills, seed)),
            (
                "SIGKILL while a state is written (before its files, its manifest, its renaming, after it)",
                *faults.kill_while_writing(place, output, *schedule, faults.MOMENTS),
            ),
            (
                "a file of the newest state cut in half, emptied, removed, one bit of it flipped",
                *faults.torn_states(place, output),
            ),
            ("a training resumed over a torn state", *faults.torn_then_resumed(place, output, *schedule)),
            (
                "disk full at the first state, at a later one; output read-only",
                *faults.failed_writing(place, output, *schedule),
            ),
            ("SIGINT, SIGTERM", *faults.interrupted(place, reference, *schedule)),
        ]


def fault_table(rows: list[tuple[str, int, list[str]]]) -> str:
    lines = ["| fault | runs | losses |", "|---|---:|---:|"]
    lines += [f"| {name} | {runs} | {len(lost)} |" for name, runs, lost in rows]
    lines.append(f"| all | {sum(runs for _, runs, _ in rows)} | {sum(len(lost) for _, _, lost in rows)} |")
    return "\n".join(lines)


def try_part(name: str) -> Tally:
    """What became of the inputs to one part, in a process that may have others beside it."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    tally = (PARTS | APP)[name]()
    print(f"{name}: {tally.tried} inputs, {len(tally.faults())} faults", file=sys.stderr, flush=True)
    return tally


def try_everything(arguments: argparse.Namespace) -> tuple[list[tuple[str, int, list[str]]], dict[str, Tally]]:
    """Faults, and what became of the inputs to every part by its name; `--jobs` of them at a time."""
    names = [*PARTS, *(APP if arguments.app else ())]
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        injected = pool.submit(run_faults, arguments.kills, arguments.seed)
        tallies = [pool.submit(try_part, name) for name in reversed(names)]  # the longest first
        return injected.result(), dict(zip(names, [tally.result() for tally in reversed(tallies)], strict=True))


def input_table(tallies: dict[str, Tally]) -> str:
    """A row for each part, and their sum."""
    columns = ("crashes", "unclear", "accepted", "wrong")
    lines = ["| input to | tried | crashes | unclear messages | bad, not refused | odd, read wrongly |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    counts = {name: [t.tried, *(len(getattr(t, column)) for column in columns)] for name, t in tallies.items()}
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    lines += [f"| {name} | " + " | ".join(map(str, numbers)) + " |" for name, numbers in counts.items()]
    return "\n".join(lines)


def load_table(report: dict) -> str:
    """The figures of `benchmarks.app_load`, one a row; numbers as they stand in its report."""
    lines = ["| load on the app | |", "|---|---:|"]
    figures = {name: value for name, value in report.items() if not isinstance(value, list | dict)}
    lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in figures.items()]
    return "\n".join(lines)


def report(rows: list[tuple[str, int, list[str]]], tallies: dict[str, Tally], load: str) -> str:
    """The page, from faults, inputs and a table of the load."""
    return f"""# Reliability

Written by `{shlex.join(["python", "-m", "benchmarks.reliability", *sys.argv[1:]])}` on {machine()}.

## Faults injected into trainings

Each training ({STEPS} steps of two batches, a state every {SAVE_EVERY} steps, fixed seed) is a process of its own;
after the fault it is resumed, and its losses, the order of its data, its final weights, running average, moments and
exported model are compared bit for bit with one that was left alone. A difference, a state that was lost, or a message
that does not name what happened counts as a loss.

{fault_table(rows)}

A full disk is the system's refusal to let a file grow (a limit of the process); read-only is a folder without write
permission.

## Bad and odd input

Bad input must be refused: by an error that names the flag, argument, key or file (and a non-zero exit code on the
command line). Odd input is valid and must be read as what it is: a file called `train_1.png` in a folder of others, a
clip that its container turns upright, overlapping bodies, positions at 1.0000001. Spoilt files of a dataset count as
odd: they must be named and left out, and all others used.

{input_table(tallies)}

## Load

{load}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs at random moments (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of these moments (default: %(default)s)")
    parser.add_argument("--app", action="store_true", help="bad input to the app too, which is started for it")
    parser.add_argument("--app_load", type=Path, help="JSON report of benchmarks.app_load")
    parser.add_argument(
        "--jobs", type=int, default=num_cores(), help="parts tried at a time; default: one a core (%(default)s)"
    )
    parser.add_argument("--output", type=Path, default=TARGET, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.app_load is not None and not arguments.app_load.is_file():
        parser.error(f"--app_load: expected a JSON file, got {arguments.app_load}, which is none")
    if arguments.jobs < 1:
        parser.error(f"--jobs: expected a number above 0, got {arguments.jobs}")
    rows, tallies = try_everything(arguments)
    load = (
        load_table(json.loads(arguments.app_load.read_text()))
        if arguments.app_load is not None
        else "Not measured in this run (`--app_load`)."
    )
    text = report(rows, tallies, load)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text)
    print(text)
    wrong = [f"{name}: {entry}" for name, _, lost in rows for entry in lost]
    for name, tally in tallies.items():
        wrong += [f"{name}, {fault}" for fault in tally.faults()]
    for entry in wrong:
        print(entry, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
