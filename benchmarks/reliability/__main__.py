"""Inject faults into trainings, give every part bad and odd input, and write what came of it to docs/RELIABILITY.md.

    python -m benchmarks.reliability                     # faults, and input to all parts but the app
    python -m benchmarks.reliability --app               # bad input to the app too
    python -m benchmarks.reliability --app_load FILE     # and a table of the load that `benchmarks.app_load` measured

The exit code is 1 where anything was lost, crashed, was refused without a word that helps, or was read wrongly.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

from benchmarks.reliability.parts import SAVE_EVERY, STEPS, Faults, try_everything
from benchmarks.reliability.tally import Tally
from training.setup import machine, num_cores

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "docs" / "RELIABILITY.md"


def fault_table(rows: Faults) -> str:
    lines = ["| fault | runs | losses |", "|---|---:|---:|"]
    lines += [f"| {name} | {runs} | {len(lost)} |" for name, runs, lost in rows]
    lines.append(f"| all | {sum(runs for _, runs, _ in rows)} | {sum(len(lost) for _, _, lost in rows)} |")
    return "\n".join(lines)


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


def report(rows: Faults, tallies: dict[str, Tally], load: str) -> str:
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
    rows, tallies = try_everything(arguments.app, arguments.kills, arguments.seed, arguments.jobs)
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
