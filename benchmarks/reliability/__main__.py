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
from evaluation.tables import make_table, markdown
from training.setup import machine, num_cores

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "docs" / "RELIABILITY.md"


def fault_table(rows: Faults) -> str:
    cells = [[name, runs, len(lost)] for name, runs, lost in rows]
    cells.append(["all", sum(runs for _, runs, _ in rows), sum(len(lost) for _, _, lost in rows)])
    return markdown(make_table(dict.fromkeys(("fault", "runs", "losses"), 0), cells))


def input_table(tallies: dict[str, Tally]) -> str:
    """A row for each part, and their sum."""
    columns = ("crashes", "unclear", "accepted", "wrong")
    titles = ("input to", "tried", "crashes", "unclear messages", "bad, not refused", "odd, read wrongly")
    counts = {name: [t.tried, *(len(getattr(t, column)) for column in columns)] for name, t in tallies.items()}
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    return markdown(make_table(dict.fromkeys(titles, 0), [[name, *numbers] for name, numbers in counts.items()]))


def load_table(report: dict) -> str:
    """The figures of `benchmarks.app_load`, one a row; numbers as they stand in its report."""
    figures = {name: value for name, value in report.items() if not isinstance(value, list | dict)}
    rows = [[name.replace("_", " "), str(value)] for name, value in figures.items()]
    return markdown(make_table({"load on the app": 0, "": 0}, rows))


def report(rows: Faults, tallies: dict[str, Tally], load: str, note: str = "") -> str:
    """The page, from faults, inputs, a table of the load and a note on the run."""
    command = shlex.join(["python", "-m", "benchmarks.reliability", *sys.argv[1:]])
    return f"""# Reliability

Written by `{command}` on {machine()}.
{note}

## Faults injected into trainings

Each training ({STEPS} steps of two batches, a state every {SAVE_EVERY} steps, fixed seed) is a process of its own.
After the fault it is resumed. Its losses, the order of its data, and its final weights, running average, moments and
exported model must equal those of an undisturbed training bit for bit. A difference, a lost state, or a message that
does not name what happened counts as a loss.

{fault_table(rows)}

"Disk full" is a limit of the process on the size of files; "read-only" is a folder without write permission.

## Bad and odd input

Bad input must be refused by an error that names the flag, argument, key or file, and on the command line by a non-zero
exit code. Odd input is valid and must be read correctly: a file called `train_1.png` among other images, a clip that
its container rotates, overlapping bodies, positions at 1.0000001. Broken files of a dataset count as odd: they must be
named and left out, and all others used.

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
    parser.add_argument("--note", default="", help="a sentence on the run, below the heading")
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
    text = report(rows, tallies, load, arguments.note)
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
