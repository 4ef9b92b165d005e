"""Trainings that are killed, starved of disk or handed torn states, against one that was left alone."""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator

from benchmarks.reliability.training_runs import differences, losses, start, wait
from training import states
from training.states import find_state, list_states


def whole(folder: Path, steps: int, save_every: int) -> tuple[Path, float]:
    """A training that nothing disturbs: its output, and how many seconds it took."""
    output, started = folder / "whole", time.monotonic()
    code = wait(start(output, steps, save_every))
    if code:
        raise RuntimeError(f"the undisturbed training failed ({code}): {tail(output)}")
    return output, time.monotonic() - started


def tail(output: Path) -> str:
    """The last line that a training printed."""
    lines = [line for line in Path(f"{output}.txt").read_text().replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def kill_at_random(folder: Path, reference: tuple[Path, float], steps: int, save_every: int, kills: int, seed: int):
    """SIGKILL one training `kills` times at random moments and resume it each time: kills done, what was lost.

    The moments are uniform over a length of training that makes all of them fall before the end.
    """
    random_ = random.Random(seed)
    output, done = folder / "killed", 0
    expected, seconds = reference
    while done < kills:
        pid = start(output, steps, save_every, resume=bool(list_states(output)))
        time.sleep(random_.uniform(0.02, 1.5 * seconds / kills))
        os.kill(pid, signal.SIGKILL)
        if wait(pid) != -signal.SIGKILL:
            break  # it came to its end first
        done += 1
    code = wait(start(output, steps, save_every, resume=bool(list_states(output))))
    return done, ([f"exit code {code}: {tail(output)}"] if code else differences(expected, output))


def kill_while_writing(folder: Path, reference: Path, steps: int, save_every: int, moments: list[str]):
    """SIGKILL a training inside the writing of a state, at named moments, each in its second state: likewise."""
    lost = []
    for moment in moments:
        output = folder / f"writing-{moment}"
        pid = start(output, steps, save_every, before=lambda moment=moment: _die_at(moment, second=True))
        killed = wait(pid) == -signal.SIGKILL
        code = wait(start(output, steps, save_every, resume=True))
        if not killed or code:
            lost.append(f"{moment}: killed {killed}, then exit code {code}: {tail(output)}")
        else:
            lost += [f"{moment}: {difference}" for difference in differences(reference, output)]
    return len(moments), lost


MOMENTS = ["save_file", "seal", "replace_folder", "wait_for_everyone"]


def _die_at(moment: str, second: bool) -> None:
    """Make the process kill itself before a function that writing a state calls, the second time it is called."""
    holder = Accelerator if moment == "wait_for_everyone" else states
    original, calls = getattr(holder, moment), []

    def dies(*arguments, **keywords):
        calls.append(1)
        if len(calls) > (3 if moment == "wait_for_everyone" else second):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **keywords)

    setattr(holder, moment, dies)


def tear(path: Path, way: str) -> None:
    """Damage a file: cut it in half, empty it, remove it, or flip one bit of it."""
    data = bytearray(path.read_bytes())
    if way == "removed":
        path.unlink()
        return
    if way == "bit flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[: {"cut in half": len(data) // 2, "emptied": 0}.get(way, len(data))])


WAYS = ("cut in half", "emptied", "removed", "bit flipped")


def torn_states(folder: Path, reference: Path):
    """Every file of the newest state torn in every way: is it named, and the state before it taken?"""
    tried, lost = 0, []
    newest = list_states(reference)[-1]
    for name in sorted(path.name for path in newest.iterdir()):
        for way in WAYS:
            output = folder / "torn"
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(reference, output)
            tear(output / newest.name / name, way)
            told: list[str] = []
            found = find_state("latest", output, told.append)
            tried += 1
            named = newest.name in told[0] and (name in told[0] or name == states.MANIFEST)
            if found.name != list_states(reference)[-2].name or not named:
                lost.append(f"{name} {way}: took {found.name}, said {told}")
    return tried, lost


def torn_then_resumed(folder: Path, reference: Path, steps: int, save_every: int):
    """A training whose newest state is torn goes on from the one before and ends the same."""
    output = folder / "resumed"
    shutil.copytree(reference, output)
    shutil.copy(f"{reference}.seen.jsonl", f"{output}.seen.jsonl")
    tear(list_states(output)[-1] / "model.safetensors", "cut in half")
    code = wait(start(output, steps, save_every, resume=True))
    said = "skipped a training state that is torn" in Path(f"{output}.txt").read_text()
    lost = differences(reference, output) if code == 0 else [tail(output)]
    return 1, lost if said else ["the torn state was not named"]


def limit_file_size() -> None:
    """The system refuses to let any file grow beyond 8 kB, as it does beyond the end of a disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))


def fill_later() -> None:
    """As `limit_file_size`, from the second state on."""
    original, calls = states.save_file, []

    def limited(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 2:
            limit_file_size()
        return original(*arguments, **keywords)

    states.save_file = limited


def read_only() -> None:
    """The process becomes one that may not write where it is told to."""
    if os.geteuid() == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)


def failed_writing(folder: Path, reference: Path, steps: int, save_every: int):
    """A full disk at the first and at the second state, and a folder that is read-only: the message, what is left."""
    tried, lost = 0, []
    cases: list[tuple[str, Callable, int]] = [("full-at-once", limit_file_size, 0), ("full-later", fill_later, 1)]
    for name, fault, kept in cases:
        output = folder / name
        code = wait(start(output, steps, save_every, before=fault))
        said, left = tail(output), list_states(output)
        tried += 1
        if code != 1 or not said.startswith("train_accelerate.py: --output_dir: cannot write") or len(left) != kept:
            lost.append(f"{name}: exit code {code}, {len(left)} states, said {said!r}")
            continue
        if list(output.glob("*.partial")):
            lost.append(f"{name}: left an unfinished state behind")
        code = wait(start(output, steps, save_every, resume=bool(left)))
        lost += [f"{name}: {entry}" for entry in (differences(reference, output) if code == 0 else [tail(output)])]
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    code, tried = wait(start(locked / "run", steps, save_every, before=read_only)), tried + 1
    said = Path(f"{locked / 'run'}.txt")
    message = tail(locked / "run") if said.is_file() else ""
    if code != 1 or "--output_dir: expected a folder that can be written" not in message:
        lost.append(f"read-only: exit code {code}, said {message!r}")
    return tried, lost


def interrupted(folder: Path, reference: tuple[Path, float], steps: int, save_every: int):
    """SIGINT and SIGTERM: the state of that very step is saved, the exit code tells, resuming ends the same."""
    lost = []
    for number in (signal.SIGINT, signal.SIGTERM):
        output = folder / f"stopped-{number.name}"
        pid = start(output, steps, save_every)
        while len(losses(output)) < 3:
            time.sleep(0.02)
        os.kill(pid, number)
        code = wait(pid)
        last = losses(output)[-1]["step"]
        if code != 128 + number or list_states(output)[-1].name != f"state-{last}" or last == steps:
            lost.append(f"{number.name}: exit code {code} at step {last}: {tail(output)}")
        code = wait(start(output, steps, save_every, resume=True))
        lost += [f"{number.name}: {x}" for x in (differences(reference[0], output) if code == 0 else [tail(output)])]
    return 2, lost
