"""All parts of the reliability report, each tried in a process of its own, several at a time."""

import multiprocessing
import sys
import tempfile
import warnings
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

Faults = list[tuple[str, int, list[str]]]  # what each was, how often, what was lost

STEPS, SAVE_EVERY = 40, 6
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


FAULTS = {  # how each is called with a folder, the undisturbed training, the number of SIGKILLs and a seed
    "SIGKILL at a random moment": lambda root, whole, kills, seed: faults.kill_at_random(
        root, whole, STEPS, SAVE_EVERY, kills, seed
    ),
    "SIGKILL while a state is written (before its files, its manifest, its renaming, after it)": (
        lambda root, whole, *_: faults.kill_while_writing(root, whole[0], STEPS, SAVE_EVERY, faults.MOMENTS)
    ),
    "a file of the newest state cut in half, emptied, removed, one bit of it flipped": (
        lambda root, whole, *_: faults.torn_states(root, whole[0])
    ),
    "a training resumed over a torn state": (
        lambda root, whole, *_: faults.torn_then_resumed(root, whole[0], STEPS, SAVE_EVERY)
    ),
    "disk full at the first state, at a later one; output read-only": (
        lambda root, whole, *_: faults.failed_writing(root, whole[0], STEPS, SAVE_EVERY)
    ),
    "SIGINT, SIGTERM": lambda root, whole, *_: faults.interrupted(root, whole, STEPS, SAVE_EVERY),
}


def run_faults(name: str, *given) -> tuple[int, list[str]]:
    """How often a fault of `FAULTS` was tried, and what was lost."""
    tried, lost = FAULTS[name](*given)
    print(f"{name}: {tried} runs, {len(lost)} losses", file=sys.stderr, flush=True)
    return tried, lost


def try_part(name: str) -> Tally:
    """Outcomes of the inputs to one part; other parts may run in parallel."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    try:
        tally = (PARTS | APP)[name]()
    except Exception as error:  # what the other parts found must not be lost
        tally = Tally(crashes=[f"the part came to no end: {type(error).__name__}: {error}"])
    print(f"{name}: {tally.tried} inputs, {len(tally.faults())} faults", file=sys.stderr, flush=True)
    return tally


def try_everything(app: bool, kills: int, seed: int, jobs: int) -> tuple[Faults, dict[str, Tally]]:
    """Faults, and what became of the inputs to every part by its name; `jobs` of them at a time.

    Each runs in a process of its own, forked from this one, which has only imported what they need.
    """
    names = [*PARTS, *(APP if app else ())]
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool,
    ):
        root = Path(folder)
        root.chmod(0o755)  # one of the trainings runs as a user who may only look
        undisturbed = pool.apply_async(faults.whole, (root, STEPS, SAVE_EVERY))
        tallies = [pool.apply_async(try_part, (name,)) for name in reversed(names)]  # the longest first
        whole = undisturbed.get()
        injected = [pool.apply_async(run_faults, (name, root, whole, kills, seed)) for name in FAULTS]
        rows = [(name, *found.get()) for name, found in zip(FAULTS, injected, strict=True)]
        return rows, dict(zip(names, [tally.get() for tally in reversed(tallies)], strict=True))
