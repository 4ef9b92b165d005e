"""Input and result of a section of the evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from baselines.polynomial import PolynomialPosterior
from evaluation.tables import Table
from signals.base import Rows, Signal, to_device

PUBLISHED = [2**power for power in range(2, 12)]  # ten sizes, log-spaced from 4 to 2048

# Numbers K of observed positions by kind of signal: for likelihoods, and for more expensive measures.
CONTEXTS = {
    "image": [0, *PUBLISHED],
    "polynomial": [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 20],
    "shape": [0, 32, 128, 512, 2048],
    "video": [0, 16, 64, 256, 1024, 2048],
}
FEW_CONTEXTS = {
    "image": [4, 16, 64, 256],
    "polynomial": [1, 2, 4, 6, 8, 12, 20],
    "shape": [32, 128, 512],
    "video": [16, 64, 256, 1024],
}


@dataclass
class Section:
    """What a section found.

    Attributes:
        text (`str`): What was measured, on how many signals: a paragraph of Markdown.
        figures (`list` of pairs): Names of files beside the report and their captions.
        flags (`list[str]`): Flags of the command that only this section needs.
    """

    text: str
    tables: list[Table] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


@dataclass
class Job:
    """A checkpoint and the held-out signals to evaluate it on.

    Args:
        limit (`int` or `None`): See `rows`.
        contexts (`list[int]` or `None`): Numbers K instead of the kind's own.
        queries (`int`): Unobserved positions scored for each signal.
        output (`Path` or `None`): The report's file, beside which figures go; `None`: no figures.
        classifier (`str` or `None`): File of `evaluation.classifier`.
    """

    model: torch.nn.Module
    signal: Signal
    split: str = "test"
    limit: int | None = None
    contexts: list[int] | None = None
    queries: int = 128
    seed: int = 0
    output: Path | None = None
    classifier: str | None = None
    progress: bool = False

    @property
    def config(self):
        return self.model.config

    @property
    def cells(self) -> int:
        """Cells that positions are chosen from; 0 where positions are always continuous."""
        return self.signal.num_cells({"native_grid": self.config.native_grid})

    @property
    def trained_context(self) -> int | None:
        """Largest context seen in training; `None` if the checkpoint does not record it."""
        return (self.config.provenance or {}).get("max_context")

    def rows(self, default: int) -> Rows:
        """The first `default` signals of the split, fewer with a lower `limit`."""
        return self.signal.load_split(self.split, self.config, min(default, self.limit or default))

    def sizes(self, few: bool = False) -> list[int]:
        """Numbers K of observed positions that the grid has room for."""
        kind = self.config.signal
        sizes = (FEW_CONTEXTS if few else CONTEXTS).get(kind, CONTEXTS["image"] if not few else FEW_CONTEXTS["image"])
        if self.contexts is not None:
            sizes = [size for size in self.contexts if size > 0] if few else self.contexts
        return [size for size in sizes if not self.cells or size < self.cells]

    def places(self, rows: Sequence[Tensor], count: int, seed: int) -> tuple[Tensor, Tensor]:
        """`count` random positions of signals: positions (B, count, P) and values (B, count, V).

        Values of polynomials are float64, as an exact posterior needs.
        """
        generator = torch.Generator(self.model.device).manual_seed(seed)
        stored = to_device(self.signal.collate(list(rows)), self.model.device)
        return self.signal.places(stored.double() if self.posterior else stored, count, generator)

    @property
    def posterior(self) -> PolynomialPosterior | None:
        """The exact posterior, where there is one."""
        return PolynomialPosterior(self.signal.degree) if self.config.signal == "polynomial" else None
