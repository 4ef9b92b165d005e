"""Training states on disk: written whole or not at all, checked before they are used.

A state is a folder `state-<step>` with what accelerate saves (weights, optimisers), the running average, the progress
and a manifest of every file's size and SHA-256. It is written under another name, flushed to the disk, and renamed:
whatever bears the name of a state was complete, and whatever happened to it since shows against its manifest.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

MANIFEST, AVERAGE, PROGRESS = "manifest.json", "average.safetensors", "progress.json"
PARTIAL, OLD = ".partial", ".old"
WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)  # torch reports a full disk as a RuntimeError


class TornStateError(ValueError):
    """A training state that is not what was written: the message names the folder and the file."""


class Stateful(Protocol):
    """What a state holds besides tensors, as JSON."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


def list_states(output_dir: str | Path) -> list[Path]:
    """Folders of the training states in the output folder, oldest first; unfinished ones bear another name."""
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


def save_state(
    accelerator: Accelerator,
    output_dir: str | Path,
    average: AveragedModel,
    progress: Stateful,
    keep: int,
    stream: Stateful | None = None,
) -> Path:
    """Write the training state of this step, then drop all but the newest `keep`.

    Args:
        progress (`Stateful`): With the attribute `step`.
        stream (`Stateful` or `None`): Where this process stands in a streamed dataset.

    Raises:
        OSError: naming the folder, where it cannot be written; the states before it stay.
    """
    final = Path(output_dir) / f"state-{progress.step}"
    partial = final.with_name(final.name + PARTIAL)
    main = accelerator.is_main_process
    try:
        if main:
            for leftover in (*final.parent.glob(f"state-*{PARTIAL}"), *final.parent.glob(f"state-*{OLD}")):
                shutil.rmtree(leftover)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        if stream is not None:
            (partial / _stream_name(accelerator)).write_text(json.dumps(stream.state_dict()))
        if main:
            save_file(average.state_dict(), partial / AVERAGE)
            (partial / PROGRESS).write_text(json.dumps(progress.state_dict()))
        accelerator.wait_for_everyone()
        if main:
            seal(partial)
            replace_folder(partial, final)
            for old in list_states(output_dir)[:-keep]:
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


def load_state(
    accelerator: Accelerator,
    folder: Path,
    average: AveragedModel,
    progress: Stateful,
    stream: Stateful | None = None,
) -> None:
    """Put a state that `find_state` found into everything that `save_state` took it from.

    Raises:
        ValueError: where it belongs to another model, optimiser or number of processes.
    """
    try:
        accelerator.load_state(str(folder))
        average.load_state_dict(load_file(folder / AVERAGE))
        progress.load_state_dict(json.loads((folder / PROGRESS).read_text()))
        if stream is not None:
            stream.load_state_dict(json.loads((folder / _stream_name(accelerator)).read_text()))
    except (RuntimeError, ValueError, KeyError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"--resume: expected a state of this model, optimiser and number of processes, got {folder}: {reason}"
        ) from error


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


def _stream_name(accelerator: Accelerator) -> str:
    return f"stream-{accelerator.process_index}-of-{accelerator.num_processes}.json"


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
