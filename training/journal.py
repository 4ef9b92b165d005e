"""The loss of every step, one JSON line each: `log.jsonl` in the output folder."""

import json
import math
import os
from pathlib import Path

NAME = "log.jsonl"


class Journal:
    """Appends a line for each step; a resumed run continues after the step that it resumed from.

    Args:
        folder (`Path`): The output folder; `None` writes nothing (all processes but the main one).
        step (`int`): Steps done; lines of later ones, which the interrupted run had got to, are dropped.

    Raises:
        OSError: naming the file, where it cannot be written.
    """

    def __init__(self, folder: Path | None, step: int):
        self.path = None if folder is None else Path(folder) / NAME
        if self.path is None:
            return
        kept = [line for line in self._lines() if line["step"] <= step] if step else []
        part = self.path.with_name(NAME + ".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text("".join(json.dumps(line) + "\n" for line in kept))
            os.replace(part, self.path)
            self.file = self.path.open("a", buffering=1)  # a line reaches the system when it is written
        except OSError as error:
            raise self._error(error) from error

    def write(self, step: int, nats: float, rate: float, skipped: bool) -> None:
        """Add a step: its mean loss over all processes, the learning rate's factor, whether it was left out."""
        if self.path is None:
            return
        line = {"step": step, "nats": nats if math.isfinite(nats) else None, "rate": rate}
        try:
            self.file.write(json.dumps(line | ({"skipped": True} if skipped else {})) + "\n")
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        if self.path is not None:
            self.file.close()

    def _lines(self) -> list[dict]:
        """The lines written before, up to one that was cut short."""
        return read_journal(self.path) if self.path.is_file() else []

    def _error(self, error: OSError) -> OSError:
        return OSError(f"--output_dir: cannot write {self.path} ({error.strerror}); make room or name another folder")


def read_journal(path: str | Path) -> list[dict]:
    """The lines of a journal, as far as they are whole."""
    lines = []
    for line in Path(path).read_text(errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
