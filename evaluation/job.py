"""What a section of the evaluation is, what it is given, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.tables import Table
from signals.base import Rows, Signal, to_device
from signals.plan import EvaluationPlan


@dataclass
class Found:
    """What a section found.

    Attributes:
        text (`str`): What was measured, on how many signals: a paragraph of Markdown.
        figures (`list` of pairs): Names of files in the report's folder, and their captions.
        numbers (`dict`): What the model card shows, by the name that it has in the report.
    """

    text: str
    tables: list[Table] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass
class NoFlags:
    """A section without flags of its own."""


def always(flags: Any) -> bool:
    """Whether a section is measured where none is named."""
    return True


@dataclass(frozen=True)
class Section:
    """A section of the evaluation: a file of `evaluation/sections` with one of these.

    Attributes:
        name (`str`): As `--sections` and reports have it.
        title (`str`): Of its heading.
        measure (`Callable`): From a [`Job`] and the section's flags to what was [`Found`].
        flags (`type`): A dataclass of the flags that only this section has.
        wanted (`Callable`): Whether these flags ask for it.
    """

    name: str
    title: str
    measure: Callable[["Job", Any], Found]
    flags: type = NoFlags
    wanted: Callable[[Any], bool] = always


@dataclass
class Job:
    """A checkpoint and the held-out signals to evaluate it on.

    Args:
        limit (`int` or `None`): See `rows`.
        contexts (`list[int]` or `None`): Numbers K to use instead of the kind's own.
        queries (`int`): Unobserved positions scored for each signal.
        output (`Path` or `None`): The report's file; figures go into its folder; `None`: no figures.
    """

    model: torch.nn.Module
    signal: Signal
    split: str = "test"
    limit: int | None = None
    contexts: list[int] | None = None
    queries: int = 128
    seed: int = 0
    output: Path | None = None
    progress: bool = False

    @property
    def config(self):
        return self.model.config

    @property
    def plan(self) -> EvaluationPlan:
        """How the kind of signal is evaluated."""
        return self.signal.evaluation_plan()

    @property
    def cells(self) -> int:
        """Cells that positions are chosen from; 0 where positions are always continuous."""
        return self.signal.num_cells({"native_grid": self.config.native_grid})

    @property
    def trained_context(self) -> int | None:
        """The largest context that training has seen, where the checkpoint says."""
        return (self.config.provenance or {}).get("max_context")

    @property
    def posterior(self):
        """The exact posterior, where there is one."""
        return self.signal.posterior

    def rows(self, default: int) -> Rows:
        """The first `default` signals of the split, fewer with a lower `limit`."""
        return self.signal.load_split(self.split, self.config, min(default, self.limit or default))

    def many_rows(self) -> Rows:
        """The signals of the fast measures: as many as `limit` says, which may be more than the plan's."""
        return self.signal.load_split(self.split, self.config, self.limit or self.plan.count("likelihood"))

    def sizes(self, few: bool = False) -> list[int]:
        """Numbers K of observed positions, as far as the grid holds them."""
        sizes = list(self.plan.few_contexts if few else self.plan.contexts)
        if self.contexts is not None:
            sizes = [size for size in self.contexts if size > 0] if few else self.contexts
        return [size for size in sizes if not self.cells or size < self.cells]

    def pairs(self, rows: Sequence[Tensor], count: int, seed: int) -> tuple[Tensor, Tensor]:
        """`count` random positions of signals: positions (B, count, P) and values (B, count, V).

        Values are float64 where there is an exact posterior, which needs that.
        """
        generator = torch.Generator(self.model.device).manual_seed(seed)
        return self.signal.pairs(self.stored(rows), count, generator)

    def stored(self, rows: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """A batch of signals as stored, on the model's device; see `pairs`."""
        batch = to_device(self.signal.collate(list(rows)), self.model.device)
        return batch if self.posterior is None else batch.double()

    def figure(self, name: str) -> Path:
        """The file of a figure, in the folder of the report; only where there is an `output`."""
        return self.output.with_name(f"{self.output.stem}-{name}.png")
