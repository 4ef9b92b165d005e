"""Inject faults into trainings, give every part bad input, and write what came of it to docs/RELIABILITY.md.

    python -m benchmarks.reliability                     # faults, and bad input to command line, model and endpoint
    python -m benchmarks.reliability --app               # bad input to the app too
    python -m benchmarks.reliability --app_load FILE     # and a table of the load that `benchmarks.app_load` measured

The exit code is 1 where anything was lost, crashed or was refused without a word that helps.
"""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path

from benchmarks.reliability import faults
from benchmarks.reliability.inputs import Tally, try_all
from evaluation.tables import make_table, markdown
from training.setup import machine

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "docs" / "RELIABILITY.md"
STEPS, SAVE_EVERY = 60, 7


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
    """A line for each fault, and one for all."""
    lines = [[name, runs, len(lost)] for name, runs, lost in rows]
    return _table(["fault", "runs", "losses"], [*lines, ["all", *_sums(lines)]])


def input_table(tallies: dict[str, Tally]) -> str:
    """A line for each part that gets bad input, and one for all."""
    lines = [[name, t.tried, len(t.crashes), len(t.unclear), len(t.accepted)] for name, t in tallies.items()]
    columns = ["bad input to", "tried", "crashes", "unclear messages", "not refused"]
    return _table(columns, [*lines, ["all", *_sums(lines)]])


def load_table(report: dict) -> str:
    """The figures of `benchmarks.app_load`, one a row; numbers as they stand in its report."""
    figures = {name: value for name, value in report.items() if not isinstance(value, list | dict)}
    return _table(["load on the app", ""], [[name.replace("_", " "), str(value)] for name, value in figures.items()])


def _sums(lines: list[list]) -> list[int]:
    return [sum(part) for part in list(zip(*lines, strict=True))[1:]]


def _table(columns: list[str], lines: list[list]) -> str:
    return markdown(make_table(dict.fromkeys(columns, 0), lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs at random moments (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of these moments (default: %(default)s)")
    parser.add_argument("--app", action="store_true", help="bad input to the app too, which is started for it")
    parser.add_argument("--app_load", type=Path, help="JSON report of benchmarks.app_load")
    parser.add_argument("--output", type=Path, default=TARGET, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.app_load is not None and not arguments.app_load.is_file():
        parser.error(f"--app_load: expected a JSON file, got {arguments.app_load}, which is none")
    rows = run_faults(arguments.kills, arguments.seed)
    tallies = try_all(arguments.app)
    load = (
        load_table(json.loads(arguments.app_load.read_text()))
        if arguments.app_load is not None
        else "Not measured in this run (`--app_load`)."
    )
    text = f"""# Reliability

Written by `{shlex.join(["python", "-m", "benchmarks.reliability", *sys.argv[1:]])}` on {machine()}.

## Faults injected into trainings

Each training ({STEPS} steps of two batches, a state every {SAVE_EVERY} steps, fixed seed) is a process of its own;
after the fault it is resumed, and its losses, the order of its data, its final weights, running average, moments and
exported model are compared bit for bit with one that was left alone. A difference, a state that was lost, or a message
that does not name what happened counts as a loss.

{fault_table(rows)}

A full disk is the system's refusal to let a file grow (a limit of the process); read-only is a folder without write
permission.

## Bad input

Refused means: an error that names the flag, argument or key (and a non-zero exit code on the command line).

{input_table(tallies)}

## Load

{load}
"""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text)
    print(text)
    wrong = [f"{name}: {entry}" for name, _, lost in rows for entry in lost]
    for name, tally in tallies.items():
        for kind in ("crashes", "unclear", "accepted"):
            wrong += [f"{name}, {kind}: {entry}" for entry in getattr(tally, kind)]
    for entry in wrong:
        print(entry, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
