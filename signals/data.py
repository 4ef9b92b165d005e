"""Rows of HF datasets: from the Hub, from a folder of dataset files, or from a folder of media files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict, Value

from signals.base import GridSignal, Rows, flag, say
from signals.folders import Found, class_of, find_files
from signals.streams import Stream

SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` writes


def load_splits(name: str, cache_dir: str | None = None, streaming: bool = False) -> DatasetDict | IterableDatasetDict:
    """The splits of a Hub dataset, or of a local folder of dataset files.

    Args:
        streaming (`bool`): Read rows as they are asked for instead of preparing all of them first.

    Raises:
        ValueError: for a dataset that is not found or cannot be read, naming it and the reason.
    """
    path = Path(name)
    if path.is_dir() and not any(path.iterdir()):
        raise ValueError(f"--dataset_name: expected a folder with dataset or media files, got the empty folder {name}")
    try:
        if any((path / file).is_file() for file in SAVED):
            saved = datasets.load_from_disk(name)
            return saved if isinstance(saved, DatasetDict) else DatasetDict(train=saved)
        if path.is_dir():
            say(f"{name}: {report_used(path, datasets.load_dataset_builder(name, cache_dir=cache_dir))}")
        return datasets.load_dataset(name, cache_dir=cache_dir, streaming=streaming)
    except Exception as error:  # datasets raises many kinds; the user needs one sentence
        kind = "folder" if path.exists() else "Hub dataset (or no folder of that name exists)"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"--dataset_name: cannot load the {kind} {name!r}: {reason}") from error


def report_used(folder: Path, builder: datasets.DatasetBuilder) -> str:
    """How many files of a folder `datasets` uses, and which others with the same endings it passes over."""
    chosen = {split: [Path(file) for file in files] for split, files in (builder.config.data_files or {}).items()}
    used = {file.resolve() for files in chosen.values() for file in files}
    alike = find_files(str(folder), {file.suffix.lower() for file in used})
    passed = [file.name for files in alike.splits.values() for file in files if file.resolve() not in used]
    report = Found(splits=chosen, left_out=alike.left_out)
    report.left_out["alike whose names stand for no split: " + ", ".join(passed[:4])] += len(passed)
    report.left_out = +report.left_out
    return report.report()


def load_media(
    name: str,
    endings: Iterable[str],
    column: str,
    feature: Any,
    cache_dir: str | None = None,
    streaming: bool = False,
    wanted: Callable[[Path], bool] | None = None,
) -> DatasetDict | IterableDatasetDict:
    """Splits of a dataset (see `load_splits`), or of the files with one of `endings` in a folder and below it.

    Only folders define splits, see `signals.folders.find_files`. Where several folders hold the files, their names
    become the column `label`. Dataset files go before media files if they have a column of this kind.

    Args:
        wanted (`Callable` or `None`): A further test of a file with one of the endings.
    """
    if not Path(name).is_dir() or any((Path(name) / file).is_file() for file in SAVED):
        return load_splits(name, cache_dir, streaming)
    found = find_files(name, endings, wanted)
    if not found.splits:
        return load_splits(name, cache_dir, streaming)
    if any(table.suffix in (".parquet", ".arrow") for table in found.tables):
        splits = load_splits(name, cache_dir, streaming)
        features = next(iter(splits.values())).features or {}
        if any(isinstance(one, type(feature)) or is_raw(one) for one in features.values()):
            say(f"{name}: dataset files are used, not the {sum(map(len, found.splits.values())):,} files beside them")
            return splits
    say(f"{name}: {found.report()}")
    return media_splits(found, Path(name).absolute(), column, feature)


def media_splits(found: Found, root: Path, column: str, feature: Any) -> DatasetDict:
    """Files as a dataset: `column`, and `label` where several folders hold them."""
    classes = {path: class_of(path, root) for files in found.splits.values() for path in files}
    names = sorted(set(classes.values()) - {None})
    features = {column: feature}
    if len(names) > 1 and None not in classes.values():
        features["label"] = ClassLabel(names=names)
    made = {}
    for split, files in found.splits.items():
        columns = {column: [str(file) for file in files], "label": [classes[file] for file in files]}
        kept = {name: columns[name] for name in features}
        made[split] = Dataset.from_dict(kept, features=Features(features))
    return DatasetDict(made)


def first_rows(rows: Dataset | IterableDataset, limit: int | None) -> Dataset:
    """The first `limit` rows; all where it is `None` or there are fewer."""
    if isinstance(rows, IterableDataset):
        stored = rows.decode(False)
        return Dataset.from_list(list(stored if limit is None else stored.take(limit)), features=rows.features)
    return rows if limit is None else rows.select(range(min(limit, len(rows))))


def pick_split(splits: DatasetDict, split: str, flag: str = "split") -> Dataset:
    """A split by name.

    Raises:
        ValueError: naming the splits there are.
    """
    if split not in splits:
        raise ValueError(f"--{flag}: expected one of {', '.join(splits)}, got {split!r}")
    return splits[split]


def find_column(
    features: Features, kinds: Iterable[type], what: str, wanted: str | None, flag: str, raw: bool = False
) -> str:
    """Name of the column of one of `kinds`: `wanted`, or the only one there is.

    Args:
        raw (`bool`): Where no column is of these kinds, take one of undecoded files, see `is_raw`.

    Raises:
        ValueError: where there is none, or several and none was named.
    """
    columns = [name for name, feature in features.items() if isinstance(feature, tuple(kinds))]
    undecoded = [name for name, feature in features.items() if raw and is_raw(feature)]
    listing = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
    if wanted is not None:
        if wanted not in columns + undecoded:
            raise ValueError(f"--{flag}: expected {what} column, got {wanted!r}; the columns are {listing}")
        return wanted
    columns = columns or undecoded
    if not columns:
        raise ValueError(f"--dataset_name: expected a dataset with {what} column; the columns are {listing}")
    if len(columns) > 1:
        raise ValueError(f"--{flag}: expected one of {', '.join(columns)} to be named, got none")
    return columns[0]


def is_raw(feature: Any) -> bool:
    """Whether a column holds undecoded files: binary values, or structures with `bytes`."""
    if isinstance(feature, Value):
        return feature.dtype in ("binary", "large_binary")
    return isinstance(feature, Mapping) and is_raw(feature.get("bytes"))


def name_row(rows: Dataset | Stream, column: str, index: int) -> str:
    """Words for a row: its number in the dataset before rows were held out or chosen, and its file."""
    number = index
    if getattr(rows, "_indices", None) is not None:
        number = rows._indices.column(0)[index].as_py()
    try:
        path = rows[index][column].get("path")
    except Exception:  # it has none, or is unreadable in this way too
        path = None
    return f"row {number} of the data" + (f" ({path})" if path else "")


@dataclass
class DatasetSignal(GridSignal):
    """Signals whose rows come from a dataset: the flags that say which, and what is held out of it.

    Attributes:
        held_out (`int`): Most rows that are held out by default.
    """

    held_out: ClassVar[int] = 1000

    dataset_name: str | None = flag("Hub dataset, folder of dataset files, or folder of media files.")
    train_split: str = flag("Split to train on.", "train")
    validation_split: str | None = flag("Split to validate on; default: rows held out of the training split.")
    validation_size: int | None = flag(
        "Rows held out of the training split where no validation split is named; default: a tenth of the rows, at most "
        "1,000 (of shapes 50).", None
    )  # fmt: skip
    streaming: bool = flag(
        "Read the training split as training goes, nothing prepared first: for datasets larger than the disk. Each "
        "process reads a part of its own.", False
    )  # fmt: skip
    max_bad_rows: int = flag(
        "Rows that cannot be read and are left out of a training, each reported, before it ends.", 20
    )
    shuffle_rows: int = flag("Rows of a stream that are read and shuffled together.", 1000)
    cache_dir: str | None = flag("Where `datasets` keeps what it prepares; default: its own cache.")

    def __post_init__(self):
        if not self.dataset_name:
            raise ValueError(f"--dataset_name: expected a Hub dataset or a folder, got {self.dataset_name!r}")
        if self.validation_size is not None and self.validation_size < 1:
            raise ValueError(f"--validation_size: expected a number above 0, got {self.validation_size}")
        if self.max_bad_rows < 0:
            raise ValueError(f"--max_bad_rows: expected a number of at least 0, got {self.max_bad_rows}")
        if self.shuffle_rows < 1:
            raise ValueError(f"--shuffle_rows: expected a number above 0, got {self.shuffle_rows}")
        if self.streaming and self.validation_split is None:
            raise ValueError(
                "--validation_split: expected the name of a split with --streaming, as rows cannot be held out of what "
                "has not been read, got none"
            )

    def splits(self) -> DatasetDict:
        """All splits of the dataset."""
        return load_splits(self.dataset_name, self.cache_dir, self.streaming)

    def hold_out(self, splits: DatasetDict | IterableDatasetDict, seed: int) -> tuple[Dataset | Stream, Dataset]:
        """Training rows, a stream with `--streaming`, and validation rows: two splits, or one with rows held out."""
        training = pick_split(splits, self.train_split, "train_split")
        if self.streaming:
            validation = pick_split(splits, self.validation_split, "validation_split")
            if isinstance(training, Dataset):  # a folder of media files
                training = training.to_iterable_dataset(num_shards=min(64, len(training)))
            size = self.validation_size or self.held_out
            parts = Stream(training, seed, self.shuffle_rows), first_rows(validation, size)
        elif self.validation_split is not None:
            parts = training, pick_split(splits, self.validation_split, "validation_split")
        else:
            size = self.validation_size or max(1, min(self.held_out, len(training) // 10))
            if len(training) <= size:
                raise ValueError(
                    f"--validation_size: expected fewer than the {len(training)} rows of split {self.train_split!r}, "
                    f"got {size}"
                )
            halves = training.train_test_split(size, seed=seed)
            parts = halves["train"], halves["test"]
        for part, flag_name in zip(parts, ("train_split", "validation_split"), strict=True):
            if isinstance(part, Dataset) and not len(part):
                raise ValueError(f"--{flag_name}: expected a split with rows, got one without")
        first = "a stream" if self.streaming else f"{len(parts[0]):,} rows"
        say(f"{self.dataset_name}: {first} to train on, {len(parts[1]):,} to validate on")
        return parts

    def make_rows(
        self,
        source: Sequence,
        decode: Callable[[Any], Any],
        rows: Dataset | Stream,
        column: str,
        skip: int = 0,
        repeats: int = 1,
    ) -> Rows:
        """`Rows` of a source, which asks `rows` of a dataset (or stream) for each row `repeats` times in succession."""
        name = partial(_name_repeated, rows, column, repeats)
        return Rows(source, decode, skip=skip, name=name, stream=rows if isinstance(rows, Stream) else None)

    def source(self) -> tuple[str, str | None]:
        local = Path(self.dataset_name).exists()
        return self.dataset_name.rstrip("/").split("/")[-1], None if local else self.dataset_name


def _name_repeated(rows: Dataset | Stream, column: str, repeats: int, index: int) -> str:
    return name_row(rows, column, index // repeats)
