"""Kinds of signals: where their data comes from, how they are looked at, and how they are shown."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from signals.base import Signal

HELPERS = (
    "base",
    "cells",
    "clips",
    "data",
    "field_files",
    "field_maps",
    "folders",
    "kriging",
    "measures",
    "mesh",
    "mesh_repair",
    "overlap",
    "patterns",
    "plan",
    "plots",
    "point_clouds",
    "polygons",
    "polynomial_posterior",
    "shape_samples",
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
        ValueError: for an unknown kind, a file that cannot be imported, or one without one subclass of `Signal`.
    """
    if kind in kinds():
        module = importlib.import_module(f"signals.{kind}")
    elif kind.endswith(".py") and Path(kind).is_file():
        module = import_file(Path(kind))
    else:
        raise ValueError(f"--kind: expected one of {', '.join(kinds())}, or a Python file, got {kind!r}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Signal) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise ValueError(f"--kind: expected one subclass of Signal in {module.__file__}, got {names}")
    if inspect.isabstract(found[0]):
        missing = ", ".join(sorted(found[0].__abstractmethods__))
        raise ValueError(f"--kind: expected {found[0].__name__} in {module.__file__} to define {missing} too")
    return found[0]


def import_file(path: Path) -> ModuleType:
    """Run a Python file as a module whose name no other module has, whatever the file is called."""
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"signals_file_{digest}", path)
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(spec.name)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        if before is None:
            del sys.modules[spec.name]
        else:
            sys.modules[spec.name] = before
        reason = " ".join(str(error).split()) or "no message"
        raise ValueError(f"--kind: cannot import {path}: {type(error).__name__}: {reason}") from error
    return module
