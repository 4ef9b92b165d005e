"""Kinds of signals: where their data comes from, how they are looked at, and how they are shown."""

import importlib
import importlib.util
import sys
from pathlib import Path

from signals.base import Signal

HELPERS = (
    "base",
    "data",
    "mesh",
    "mesh_repair",
    "patterns",
    "places",
    "plots",
    "point_clouds",
    "polygons",
    "streams",
    "surface",
)


def kinds() -> list[str]:
    """Names of the kinds in this folder: one file each."""
    names = {path.stem for path in Path(__file__).parent.glob("*.py")}
    return sorted(names - {"__init__", *HELPERS})


def find(kind: str) -> type[Signal]:
    """The class of a kind in this folder, or the one that a Python file defines.

    Raises:
        ValueError: for an unknown kind, or a file without one subclass of `Signal`.
    """
    if kind in kinds():
        module = importlib.import_module(f"signals.{kind}")
    elif kind.endswith(".py") and Path(kind).is_file():
        spec = importlib.util.spec_from_file_location(Path(kind).stem, kind)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
    else:
        raise ValueError(f"--signal: expected one of {', '.join(kinds())}, or a Python file, got {kind!r}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Signal) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise ValueError(f"--signal: expected one subclass of Signal in {module.__file__}, got {names}")
    return found[0]
