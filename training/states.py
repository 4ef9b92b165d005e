"""Training states on disk: written whole or not at all, checked before they are used.

A state is a folder `state-<step>`. It holds what accelerate saves (weights, optimisers), the running average, the
progress, the position in the data, facts that a resumed run must share, and a manifest with the size and SHA-256 of
every file. It is written under another name, flushed to disk, and then renamed. So a folder with the name of a state
was complete when it got the name, and any later damage disagrees with the manifest.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from training.journal import NAME as JOURNAL

MANIFEST, AVERAGE, PROGRESS, FACTS = "manifest.json", "average.safetensors", "progress.json", "facts.json"
PARTIAL, OLD, ASIDE = ".partial", ".old", ".aside"
WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)  # torch reports a full disk as a RuntimeError


class TornStateError(ValueError):
    """A damaged training state; the message names the folder and the file."""


class Stateful(Protocol):
    """What a state holds besides tensors, as JSON."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


def list_states(output_dir: str | Path) -> list[Path]:
    """Folders of the training states in the output folder, oldest first; unfinished ones have other names."""
    folders = Path(output_dir).glob("state-*")
    return sorted((folder for folder in folders if folder.name[6:].isdigit()), key=lambda folder: int(folder.name[6:]))


def check_state(folder: Path) -> None:
    """Compare a state with its manifest.

    Raises:
        TornStateError: naming the folder and the first file that is missing, cut short, changed or unreadable.
    """
    manifest = folder / MANIFEST
    try:
        files = json.loads(manifest.read_text())["files"]
        entries = [(name, entry["bytes"], entry["sha256"]) for name, entry in files.items()]
    except FileNotFoundError:
        raise TornStateError(f"{folder}: {MANIFEST} is missing: the state was not written to its end") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TornStateError(f"{folder}: {MANIFEST} cannot be read ({error or type(error).__name__})") from error
    for name, size, digest in entries:
        try:
            found = (folder / name).stat().st_size
            if found != size:
                raise TornStateError(f"{folder}: {name} has {found:,} of {size:,} bytes")
            if _sha256(folder / name) != digest:
                raise TornStateError(f"{folder}: {name} is not what was written (its SHA-256 differs)")
        except FileNotFoundError:
            raise TornStateError(f"{folder}: {name} is missing") from None
        except OSError as error:
            raise TornStateError(f"{folder}: {name} cannot be read ({error.strerror})") from error


def find_state(resume: str, output_dir: str | Path, report: Callable[[str], None] = print) -> Path:
    """The folder of the training state that `--resume` names; for "latest" the newest that is intact.

    Args:
        report (`Callable`): Is told of each state that is skipped, and why.

    Raises:
        ValueError: where there is none, or the one that was named is torn.
    """
    if resume != "latest":
        folder = Path(resume)
        if not folder.is_dir():
            raise ValueError(f'--resume: expected "latest" or a folder, got {resume!r}, which is none')
        try:
            check_state(folder)
        except TornStateError as error:
            raise ValueError(f"--resume: expected an intact training state, got {error}") from error
        return folder
    states = list_states(output_dir)
    for folder in reversed(states):
        try:
            check_state(folder)
        except TornStateError as error:
            report(f"skipped a training state that is torn: {error}")
        else:
            return folder
    torn = f", whose {len(states)} are torn; remove them to start anew" if states else ", found none"
    raise ValueError(f"--resume: expected a training state in {output_dir}{torn}")


@dataclass
class Parts:
    """What a state holds besides what accelerate saves.

    Attributes:
        progress (`Stateful`): With the attribute `step`.
        place (`Stateful`): The place in the data.
        per_process (`bool`): Whether each process has a position of its own, in a stream.
        facts (`dict`): What a resumed run must share, by the name of the flag that decides it, as JSON.
    """

    average: AveragedModel
    progress: Stateful
    place: Stateful
    per_process: bool
    facts: dict


def save_state(accelerator: Accelerator, output_dir: str | Path, parts: Parts, own: list[Path], keep: int) -> Path:
    """Write the training state of this step, then drop all but the newest `keep` of this run's.

    Args:
        own (`list[Path]`): The states of this run, oldest first, to which the new one is added.

    Raises:
        OSError: naming the folder, where it cannot be written; the states before it stay.
    """
    final = Path(output_dir) / f"state-{parts.progress.step}"
    partial = final.with_name(final.name + PARTIAL)
    main = accelerator.is_main_process
    try:
        if main:
            for leftover in (*final.parent.glob(f"state-*{PARTIAL}"), *final.parent.glob(f"state-*{OLD}")):
                shutil.rmtree(leftover)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        if main or parts.per_process:
            (partial / _place_name(accelerator, parts)).write_text(json.dumps(parts.place.state_dict()))
        if main:
            save_file(parts.average.state_dict(), partial / AVERAGE)
            (partial / PROGRESS).write_text(json.dumps(parts.progress.state_dict()))
            (partial / FACTS).write_text(json.dumps(parts.facts))
        accelerator.wait_for_everyone()
        if main:
            seal(partial)
            replace_folder(partial, final)
        own[:] = [*(state for state in own if state.name != final.name), final]
        for old in own[:-keep]:
            own.remove(old)
            if main:
                shutil.rmtree(old)
    except WRITE_ERRORS as error:
        if main:
            shutil.rmtree(partial, ignore_errors=True)
        kept = ", ".join(folder.name for folder in list_states(output_dir)) or "none"
        raise OSError(
            f"--output_dir: cannot write the training state {final} ({_reason(error)}); earlier states are kept "
            f"({kept}): make room or name another folder, then go on with --resume"
        ) from error
    accelerator.wait_for_everyone()
    return final


def load_state(accelerator: Accelerator, folder: Path, parts: Parts) -> None:
    """Put a state that `find_state` found into everything that `save_state` took it from.

    The number of processes may differ from before, and so may the batches of a step: the state knows which batch and
    row come next. A stream alone stays with the processes that it was dealt out to.

    Raises:
        ValueError: where it belongs to other data, another model or optimiser or, streamed, other processes.
    """
    check_facts(folder, parts.facts)
    place = folder / _place_name(accelerator, parts)
    if not place.is_file():
        before = sum(1 for _ in folder.glob("place-*-of-*.json"))
        if parts.per_process and before:
            raise ValueError(
                f"--resume: expected {before} processes, to which the stream of {folder} was dealt out, "
                f"got {accelerator.num_processes}"
            )
        raise ValueError(f"--streaming: expected {str(bool(before)).lower()}, as the run of {folder} had")
    try:
        accelerator.load_state(str(folder))
        parts.average.load_state_dict(load_file(folder / AVERAGE))
        parts.progress.load_state_dict(json.loads((folder / PROGRESS).read_text()))
        parts.place.load_state_dict(json.loads(place.read_text()))
    except (RuntimeError, ValueError, KeyError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"--resume: expected a state of this model and optimiser, got {folder}: {reason}") from error


def check_facts(folder: Path, facts: dict) -> None:
    """Raise `ValueError`, naming the flag, where a state comes from a run with other facts."""
    try:
        before = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--resume: expected a training state with {FACTS}, got {folder} ({error})") from error
    facts = json.loads(json.dumps(facts))  # tuples become lists
    for name in (name for name in facts if before.get(name) != facts[name]):
        raise ValueError(
            f"--{name}: expected what the run of {folder} had, {_words(before.get(name))}, got {_words(facts[name])}; "
            "its exported weights go on with other data by --init_from"
        )


def claim_output(output_dir: str | Path, resumed: Path | None, overwrite: bool) -> None:
    """See that the output folder can be written, and that no other run's work in it would be lost.

    Args:
        resumed (`Path` or `None`): The state that this run goes on from.

    Raises:
        OSError: where it cannot be written.
        ValueError: where it holds states or the exported model of another run, and `overwrite` is false.
    """
    check_output(output_dir)
    folder = Path(output_dir)
    if overwrite or (resumed is not None and resumed.resolve().parent == folder.resolve()):
        return
    held = [state.name for state in list_states(folder)]
    held += ["export"] * (folder / "export").exists()
    if held:
        raise ValueError(
            f"--output_dir: expected a folder without another run's work, got {folder} with {', '.join(held)}; "
            "--resume latest goes on with it, --overwrite true deletes it"
        )


def clear_output(
    output_dir: str | Path, resumed: Path | None, overwrite: bool, report: Callable[[str], None] = print
) -> list[Path]:
    """Make room for this run in a claimed output folder; the states there that it goes on from, oldest first.

    With `overwrite`, states, logs and pictures of the run before are deleted. A resumed run sets states of later steps
    aside, and another one of the same step, so that "latest" keeps meaning its own. The resumed state stays.
    """
    folder = Path(output_dir)
    if resumed is None or resumed.resolve().parent != folder.resolve():
        if overwrite:
            for state in list_states(folder):
                shutil.rmtree(state)
            for old in (*folder.glob("log/events.out.tfevents*"), *folder.glob("pictures/step-*.png")):
                old.unlink()
        (folder / JOURNAL).unlink(missing_ok=True)
        return []
    step = json.loads((resumed / PROGRESS).read_text())["step"]  # the folder may have any name, as those set aside do
    own = []
    for state in list_states(folder):
        if int(state.name[6:]) < step or state.resolve() == resumed.resolve():
            own.append(state)
            continue
        aside, number = state.with_name(state.name + ASIDE), 1
        while aside.exists():
            number += 1
            aside = state.with_name(f"{state.name}{ASIDE}-{number}")
        state.rename(aside)
        report(f"set {state.name} aside as {aside.name}: it is not before the step that is resumed")
    return own


def check_output(output_dir: str | Path) -> None:
    """Try to write into the output folder, before hours are spent on what cannot be kept.

    Raises:
        OSError: naming the folder and the reason.
    """
    probe = Path(output_dir) / ".writable"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"0")
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"--output_dir: expected a folder that can be written, got {output_dir} ({_reason(error)})"
        ) from error


def seal(folder: Path) -> None:
    """Flush every file of a folder to the disk and write the manifest, last."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        _flush(path)
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n")
    _flush(folder / MANIFEST)
    for inner in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        _flush(inner)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a complete folder to `target`; one that is there steps aside first, so that one is always whole."""
    old = target.with_name(target.name + OLD)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    source.rename(target)
    _flush(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _place_name(accelerator: Accelerator, parts: Parts) -> str:
    if not parts.per_process:
        return "place.json"
    return f"place-{accelerator.process_index}-of-{accelerator.num_processes}.json"


def _words(fact: object) -> str:
    """A fact in an error: several in a row by name."""
    if isinstance(fact, dict):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return str(fact)


def _reason(error: Exception) -> str:
    """One line of why writing failed; torch says only that it did."""
    return getattr(error, "strerror", None) or str(error).split("\n")[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
