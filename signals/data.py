"""Rows of HF datasets: from the Hub, from a folder of dataset files, or from a folder of media files."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict

from signals.base import GridSignal, flag
from signals.streams import Stream

SPLITS = ("train", "validation", "test")


def load_splits(name: str, cache_dir: str | None = None, streaming: bool = False) -> DatasetDict | IterableDatasetDict:
    """The splits of a Hub dataset, of a local folder of dataset files, or of a folder of media files.

    Args:
        streaming (`bool`): Read rows as they are asked for instead of preparing all of them first.

    Raises:
        ValueError: for a dataset that is not found or cannot be read, naming it and the reason.
    """
    path = Path(name)
    if path.is_dir() and not any(path.iterdir()):
        raise ValueError(f"--dataset_name: expected a folder with dataset or media files, got the empty folder {name}")
    try:
        return datasets.load_dataset(name, cache_dir=cache_dir, streaming=streaming)
    except Exception as error:  # datasets raises many kinds; the user needs one sentence
        kind = "folder" if path.exists() else "Hub dataset (or no folder of that name exists)"
        raise ValueError(f"--dataset_name: cannot load the {kind} {name!r}: {error}") from error


def load_media(
    name: str,
    endings: tuple[str, ...],
    column: str,
    feature: object,
    cache_dir: str | None = None,
    streaming: bool = False,
) -> DatasetDict | IterableDatasetDict:
    """Splits of a dataset (see `load_splits`), or of the files with one of `endings` in a folder and below it.

    A file below a folder called train, validation or test belongs to that split, any other to "train". Links that lead
    out of the folder are left out.
    """
    if Path(name).is_dir():
        splits: dict[str, list[str]] = {}
        root = Path(name).resolve()
        for path in sorted(Path(name).rglob("*")):
            inside = path.resolve().is_relative_to(root)  # a link must not fetch what the folder does not hold
            if path.suffix.lower() in endings and inside:
                parents = [part for part in path.relative_to(name).parts[:-1] if part in SPLITS]
                splits.setdefault(parents[-1] if parents else "train", []).append(str(path))
        if splits:
            features = Features({column: feature})
            made = {split: Dataset.from_dict({column: files}, features=features) for split, files in splits.items()}
            return DatasetDict(made)
    return load_splits(name, cache_dir, streaming)


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


def find_column(features: Features, kinds: Iterable[type], what: str, wanted: str | None, flag: str) -> str:
    """Name of the column of one of `kinds`: `wanted`, or the only one there is.

    Raises:
        ValueError: where there is none, or several and none was named.
    """
    columns = [name for name, feature in features.items() if isinstance(feature, tuple(kinds))]
    listing = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(f"--{flag}: expected {what} column, got {wanted!r}; the columns are {listing}")
        return wanted
    if not columns:
        raise ValueError(f"--dataset_name: expected a dataset with {what} column; the columns are {listing}")
    if len(columns) > 1:
        raise ValueError(f"--{flag}: expected one of {', '.join(columns)} to be named, got none")
    return columns[0]


@dataclass
class DatasetSignal(GridSignal):
    """Signals whose rows come from a dataset: the flags that say which, and what is held out of it."""

    dataset_name: str | None = flag("Hub dataset, folder of dataset files, or folder of media files.")
    train_split: str = flag("Split to train on.", "train")
    validation_split: str | None = flag("Split to validate on; default: rows held out of the training split.")
    validation_size: int = flag("Rows held out of the training split where no validation split is named.", 1000)
    streaming: bool = flag(
        "Read the training split as training goes, nothing prepared first: for datasets larger than the disk. Each "
        "process reads a part of its own.", False
    )  # fmt: skip
    shuffle_rows: int = flag("Rows of a stream that are read and shuffled together.", 1000)
    cache_dir: str | None = flag("Where `datasets` keeps what it prepares; default: its own cache.")

    def __post_init__(self):
        if not self.dataset_name:
            raise ValueError(f"--dataset_name: expected a Hub dataset or a folder, got {self.dataset_name!r}")
        if self.validation_size < 1:
            raise ValueError(f"--validation_size: expected a number above 0, got {self.validation_size}")
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
        """Training and validation rows: two splits, or one with random rows held out.

        A stream also becomes the attribute `stream`, through which a training splits, saves and restores it.
        """
        training = pick_split(splits, self.train_split, "train_split")
        if self.streaming:
            validation = pick_split(splits, self.validation_split, "validation_split")
            if isinstance(training, Dataset):  # a folder of media files
                training = training.to_iterable_dataset(num_shards=min(64, len(training)))
            self.stream = Stream(training, seed, self.shuffle_rows)
            return self.stream, first_rows(validation, self.validation_size)
        if self.validation_split is not None:
            return training, pick_split(splits, self.validation_split, "validation_split")
        if len(training) <= self.validation_size:
            raise ValueError(
                f"--validation_size: expected fewer than the {len(training)} rows of split {self.train_split!r}, "
                f"got {self.validation_size}"
            )
        parts = training.train_test_split(self.validation_size, seed=seed)
        return parts["train"], parts["test"]

    def source(self) -> tuple[str, str | None]:
        local = Path(self.dataset_name).exists()
        return self.dataset_name.rstrip("/").split("/")[-1], None if local else self.dataset_name
