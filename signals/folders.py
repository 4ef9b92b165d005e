"""Which files of a folder are signals, and which split each belongs to: its folder decides, never its name."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = ("train", "validation", "test")
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
TABLES = (".parquet", ".arrow", ".csv", ".json", ".jsonl", ".tar", ".zip")  # dataset files that `datasets` reads
SHOWN = 4  # endings or names that a report lists


@dataclass
class Found:
    """Files of a folder.

    Attributes:
        splits (`dict[str, list[Path]]`): Files of the wanted kind, sorted, by split.
        left_out (`Counter`): Numbers of other files, by a word that says why.
        tables (`list[Path]`): Dataset files.
    """

    splits: dict[str, list[Path]] = field(default_factory=dict)
    left_out: Counter = field(default_factory=Counter)
    tables: list[Path] = field(default_factory=list)

    def report(self) -> str:
        """How many files there are, how many are used, and what the others are."""
        used = {split: len(files) for split, files in self.splits.items()}
        total = sum(used.values()) + self.left_out.total()
        listing = ", ".join(f"{split} {count:,}" for split, count in used.items())
        return f"{sum(used.values()):,} of {total:,} files used ({listing})" + self.others()

    def others(self) -> str:
        """The files that are left out, in a few words that follow a sentence; empty where there are none."""
        if not self.left_out:
            return ""
        words = [f"{count:,} {word}" for word, count in self.left_out.most_common(SHOWN)]
        more = [f"{len(self.left_out) - SHOWN} other kinds"] * (len(self.left_out) > SHOWN)
        return "; left out: " + ", ".join([*words, *more])


def find_files(folder: str, endings: Iterable[str], wanted: Callable[[Path], bool] | None = None) -> Found:
    """The files with one of `endings` (lower case) in a folder and below it, hidden ones and outward links left out.

    A file below a folder called train, validation or test (or val, dev, eval, …) belongs to that split, the innermost
    such folder counting; any other belongs to "train".

    Args:
        wanted (`Callable` or `None`): A further test of a file with one of the endings.
    """
    root, endings, found = Path(folder).absolute(), set(endings), Found()
    for path in _files(root, found.left_out):
        ending = path.suffix.lower()
        if ending in TABLES and path.stem != "metadata":
            found.tables.append(path)
        if ending not in endings:
            found.left_out[ending or "without an ending"] += 1
        elif not _is_text(str(path)):
            found.left_out["whose names are no Unicode"] += 1
        elif wanted is not None and not wanted(path):
            found.left_out[f"still {ending}"] += 1
        else:
            found.splits.setdefault(split_of(path.relative_to(root)), []).append(path)
    return found


def split_of(path: Path) -> str:
    """The split of a file by the folders of its relative path."""
    splits = [SPLIT_FOLDERS[part.lower()] for part in path.parts[:-1] if part.lower() in SPLIT_FOLDERS]
    return splits[-1] if splits else "train"


def class_of(path: Path, root: Path) -> str | None:
    """The name of the folder that holds a file, where it is neither `root` nor a split's folder."""
    parents = path.relative_to(root).parts[:-1]
    return parents[-1] if parents and parents[-1].lower() not in SPLIT_FOLDERS else None


def _files(root: Path, left_out: Counter) -> Iterator[Path]:
    """The files below `root` in order, without what is hidden or lies elsewhere, which is counted instead."""
    home = root.resolve()
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts)
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            left_out["links that lead out of the folder"] += 1  # they must not fetch what the folder does not hold
        elif path.is_dir() and path.is_symlink():
            left_out["links to folders"] += 1
        elif path.is_file() and hidden:
            left_out["hidden"] += 1
        elif path.is_file():
            yield path


def _is_text(name: str) -> bool:
    """Whether a file's name can be stored in a dataset: it may hold bytes that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
