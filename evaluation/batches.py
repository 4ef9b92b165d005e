"""Held-out signals in batches."""

from collections.abc import Iterator, Sequence

from torch import Tensor
from tqdm.auto import tqdm


def batches(
    rows: Sequence[Tensor], size: int, description: str = "", progress: bool = False
) -> Iterator[tuple[int, list[Tensor]]]:
    """Rows in lists of at most `size`, each with the number of its first row, under a bar if `progress`."""
    for start in tqdm(range(0, len(rows), size), desc=description, disable=not progress, leave=False):
        yield start, [rows[index] for index in range(start, min(start + size, len(rows)))]
