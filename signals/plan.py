"""How a kind of signal is evaluated and shown, as its class describes it to `evaluation/`.

A kind without a plan of its own gets the defaults below, and pictures by its `render`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution

PUBLISHED = tuple(2**power for power in range(2, 12))  # the paper's ten context sizes, log-spaced from 4 to 2048
SIDE = 0.75  # inches of a small picture
OTHER_SECTIONS = 32  # signals measured in a section that a plan does not name

# From the truth and a guess (N, cells, V) on a grid to values (N,) by the names of the measures.
Measure = Callable[[Tensor, Tensor, list[int]], dict[str, Tensor]]


def fill_lines(pictures: Tensor, columns: int) -> Tensor:
    """Pictures (N, …) with white ones behind them, so that the last of several lines of `columns` is full."""
    lacking = -len(pictures) % columns if len(pictures) > columns else 0
    return torch.cat((pictures, pictures.new_ones(lacking, *pictures.shape[1:])))


class View:
    """Shows one signal on an axis of matplotlib; the default shows what the signal's `render` draws.

    Attributes:
        projection (`str` or `None`): Of the axis.
        wide (`bool`): Whether a signal takes a line of its own, as the frames of a clip do.
    """

    projection: ClassVar[str | None] = None
    wide: ClassVar[bool] = False

    def size(self, grid: list[int]) -> tuple[float, float]:
        """Width and height in inches of a signal on a grid."""
        return SIDE, SIDE

    def show(self, axis, signal, values: Tensor, grid: list[int]) -> None:
        """Draw a whole signal, values (cells, V); NaN where nothing is known."""
        axis.imshow(np.asarray(signal.render(values, grid)), cmap="gray", vmin=0, vmax=255)
        axis.set(xticks=[], yticks=[])

    def show_observed(self, axis, signal, positions: Tensor, values: Tensor, grid: list[int]) -> None:
        """Draw what is observed: values (K, V) at positions (K, P), each in the cell that is nearest."""
        self.show(axis, signal, self.spread_out(signal, positions, values, grid), grid)

    @staticmethod
    def spread_out(signal, positions: Tensor, values: Tensor, grid: list[int]) -> Tensor:
        """Values (cells, V) of the nearest cells, NaN elsewhere."""
        cells = signal.positions(grid)
        whole = torch.full((len(cells), values.shape[-1]), torch.nan)
        whole[torch.cdist(positions.float(), cells).argmin(-1)] = values.float()
        return whole


@dataclass(frozen=True)
class SamplePlan:
    """How whole signals are drawn from a few observed positions.

    Attributes:
        signals, samples (`int`): Test signals, and samples of each.
        contexts (`tuple[int, ...]`): Numbers K of observed positions.
        steps (`int`), drawn (`int` or `None`): `num_steps` and `num_autoregressive` of `model.sample`.
        guessed (`str`): What `guess` returns, in a word or two.
    """

    guessed: ClassVar[str] = "mean"
    signals: int = 24
    samples: int = 5
    contexts: tuple[int, ...] = PUBLISHED
    steps: int = 64
    drawn: int | None = None

    def guess(self, distributions: ValueDistribution) -> Tensor:
        """The one signal that is shown and measured besides samples: values (B, Q, V) from their distributions."""
        return distributions.mean

    def draw(
        self,
        model,
        known: tuple[Tensor, Tensor],
        asked: Tensor,
        generator: torch.Generator,
        num_samples: int | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Samples (S, B, Q, V) at positions `asked` (B, Q, P), given positions and values `known`; S as in the plan."""
        return model.sample(
            *known,
            asked,
            num_samples=num_samples or self.samples,
            num_steps=self.steps,
            temperature=temperature,
            generator=generator,
            num_autoregressive=None if self.drawn is None else min(self.drawn, asked.shape[1]),
        )

    def how(self) -> str:
        """How samples are drawn, in words."""
        if self.drawn is None:
            return f"in {self.steps} steps"
        return f"{self.drawn} values drawn in {self.steps} steps and the rest their conditional mean"


@dataclass(frozen=True)
class EvaluationPlan:
    """What `evaluation/` needs to know about a kind of signal.

    Attributes:
        contexts, few_contexts (`tuple[int, ...]`): Numbers K of observed positions at which likelihoods are measured,
            and those at which anything slower is.
        signals (`Mapping[str, int]`): Test signals that a section of this name measures; see `count`.
        joint_signals (`int`): Test signals whose joint likelihood is measured under each pattern; 0: none.
        whole_contexts (`tuple[int, ...]`): Numbers K of random positions given which whole signals are scored in every
            order, and `whole_signals` (`int`): on so many test signals.
        samples (`SamplePlan`): How whole signals are drawn.
        measure (`Callable` or `None`): Measures of completed signals; see `Measure`.
        view (`View`): How one signal is shown. `galleries` (`tuple[str, ...]`): The pictures that samples get, of those
            in `evaluation.galleries.GALLERIES`.
        draw, draw_new (`Callable` or `None`): The pictures of `evaluation.figure`.
        new (`Callable` or `None`): How that command draws new signals: a function of model, number, passes, temperature
            and generator that returns values (N, cells, V). `None`: by `model.sample`.
        resized (`bool`): Whether signals come at any resolution, so that others than the native one can be measured.
        smoothness (`float`): Of the Matérn kernel of the Gaussian process that the model is compared with.
        calibrated_within (`float`): Largest miss of calibration, in points, that is asked of a checkpoint.
        unusual (`Mapping[str, Callable]`): By name, functions `(signal, batch, num_queries, generator)` that return an
            `Observation` whose values no typical signal has; their gap to the exact posterior is measured.
    """

    contexts: tuple[int, ...] = (0, *PUBLISHED)
    few_contexts: tuple[int, ...] = (4, 16, 64, 256)
    signals: Mapping[str, int] = field(default_factory=lambda: {"likelihood": 200, "patterns": 64})
    joint_signals: int = 0
    whole_contexts: tuple[int, ...] = ()
    whole_signals: int = 64
    samples: SamplePlan = SamplePlan()
    measure: Measure | None = None
    view: View = View()
    galleries: tuple[str, ...] = ("samples",)
    draw: Callable[..., None] | None = None
    draw_new: Callable[..., None] | None = None
    new: Callable[..., Tensor] | None = None
    resized: bool = False
    smoothness: float = 1.5
    calibrated_within: float = 5.0
    unusual: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def count(self, section: str) -> int:
        """Test signals that a section measures."""
        return self.signals.get(section, OTHER_SECTIONS)
