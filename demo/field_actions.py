"""What every model of the field is asked in the app: to complete a binary digit, to score the truth, where ink is."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from baselines.autoregressive import orders
from baselines.autoregressive.base import AutoregressiveModel
from baselines.autoregressive.counting import CountedModel
from baselines.protocol import HIDDEN, FieldModel, num_levels, refusal
from demo.examples import digit
from demo.field_models import GRID, OURS, SLOW, load, mismatch, offered
from demo.guard import check_time
from demo.pictures import animation, enlarge, picture_url, read_picture
from pixeltransformer.orders import spread_order
from pixeltransformer.streams import Streams
from signals.cells import cell_positions

CELLS = math.prod(GRID)
POSITIONS = cell_positions(list(GRID), torch.arange(CELLS))  # (784, 2)
SAMPLES = 4  # of each model; of slow ones one
ENOUGH = 45  # seconds after which no slow model is asked any more
EVERYTHING = "everything"
PATTERNS = (*HIDDEN, EVERYTHING)  # what is hidden
# Colours of (paper, ink) where pixels are observed, and where they were drawn.
SEEN, DRAWN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), ((0.10, 0.13, 0.30), (1.0, 0.72, 0.25))


@dataclass(frozen=True)
class Task:
    """A digit and which of its pixels are observed.

    Args:
        ink (`Tensor` (784,)): True where there is ink, row by row.
        known (`Tensor` (784,)): True where a pixel is observed.
    """

    ink: Tensor
    known: Tensor

    @classmethod
    def read(cls, ink: str, known: str) -> "Task":
        """From texts of 784 digits 0 and 1.

        Raises:
            ValueError: for other texts.
        """
        parts = []
        for name, text in (("ink", ink), ("known", known)):
            if not isinstance(text, str) or len(text) != CELLS or set(text) - {"0", "1"}:
                got = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
                raise ValueError(f"{name}: expected {CELLS} digits 0 or 1, one a pixel, got {got}")
            parts.append(torch.tensor([digit == "1" for digit in text]))
        return cls(*parts)

    def texts(self) -> dict[str, str]:
        """The inverse of `read`, as keyword arguments."""
        return {name: "".join(map(str, getattr(self, name).int().tolist())) for name in ("ink", "known")}


@dataclass(frozen=True)
class Answer:
    """What one model says.

    Attributes:
        refusal (`str` or `None`): Why it cannot complete this digit, in one sentence.
        bits (`float` or `None`): −log2 of the probability that it gives to what is hidden; `None`: it has none.
        sample (`Tensor` (784,) or `None`): The first of its samples.
        probabilities (`Tensor` (784,) or `None`): Probability of ink at each pixel, given what is observed.
        seconds (`float`): For all its samples.
        samples (`int`): How many it drew.
        estimated (`bool`): Whether its probabilities are averages over its samples, not exact.
        levels (`int`): Grey levels that it knows.
        late (`bool`): Whether it refused because other models took all the time: when asked again, it may answer.
    """

    model: str
    refusal: str | None = None
    bits: float | None = None
    sample: Tensor | None = None
    probabilities: Tensor | None = None
    seconds: float = 0.0
    samples: int = 0
    estimated: bool = False
    levels: int = 2
    late: bool = False

    def tensors(self) -> dict[str, Tensor | None]:
        """Its attributes that are tensors, by name."""
        return {"sample": self.sample, "probabilities": self.probabilities}


def example(number: int) -> Tensor:
    """Where one of the app's own digits has ink (784,)."""
    return read_picture(digit(number), list(GRID), 1).flatten() > 0.5


def known_by(pattern: str, seed: int) -> Tensor:
    """Which pixels (784,) are observed where one of `PATTERNS` is hidden."""
    if pattern not in PATTERNS:
        raise ValueError(f"pattern: expected one of {', '.join(PATTERNS)}, got {str(pattern)[:60]!r}")
    known = torch.zeros(CELLS, dtype=torch.bool)
    if pattern != EVERYTHING:
        known[HIDDEN[pattern].observe(POSITIONS[None], torch.Generator().manual_seed(seed))[0][0]] = True
    return known


def ask_all(task: Task, seed: int) -> Iterator[Answer]:
    """The answers of all models, as they come."""
    start = time.monotonic()
    for name in offered():
        check_time()
        if name in SLOW and time.monotonic() - start > ENOUGH:
            yield Answer(name, f"It is slow: there was no time left for it after {ENOUGH} seconds.", late=True)
        else:
            yield ask(name, task, seed)


@torch.inference_mode()
def ask(name: str, task: Task, seed: int) -> Answer:
    """What one model says."""
    if why := mismatch(name):
        return Answer(name, why)
    model = load(name)
    positions = model.native_positions()
    known, hidden = (mask.nonzero()[:, 0].to(positions.device) for mask in (task.known, ~task.known))
    if not len(hidden):
        return Answer(name, "Nothing is hidden: hide some pixels.")
    values = task.ink.float().to(positions.device).view(1, -1, 1)
    context, queries = (positions[:, known], values[:, known]), positions[:, hidden]
    why = refusal(model, "sample", context[0], queries)
    if why:
        return Answer(name, why)
    start, count = time.perf_counter(), 1 if name in SLOW else SAMPLES
    drawn = model.sample(*context, queries, num_samples=count, generator=_seeded(seed, positions.device))[:, 0]
    seconds = time.perf_counter() - start
    samples = values.repeat(count, 1, 1).index_copy_(1, hidden, drawn.float())
    bits, levels = None, num_levels(model)
    # Bits of black and white pixels among 256 grey levels would not compare with those of two levels.
    if levels == 2 and refusal(model, "log_prob", context[0], queries) is None:
        # Our order has random parts: the same seed gives the same order.
        more = {"generator": _seeded(seed, positions.device)} if name == OURS else {}
        bits = -model.log_prob(*context, queries, values[:, hidden], **more).item() / math.log(2)
    found, estimated = _probabilities(name, model, samples, task.known.to(positions.device), context, positions)
    probabilities = torch.where(task.known, task.ink.float(), found.cpu().clamp(0, 1))
    return Answer(name, None, bits, samples[0, :, 0].cpu(), probabilities, seconds, count, estimated, levels)


def _seeded(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _probabilities(
    name: str, model: FieldModel, samples: Tensor, known: Tensor, context: tuple, positions: Tensor
) -> tuple[Tensor, bool]:
    """Probability of ink (784,): exact where a model has marginals, else averaged over its samples; and whether it is
    an estimate. Conditionals of counted pixels are the same for all samples."""
    if refusal(model, "predict", context[0]):
        return samples[..., 0].mean(0), True
    if name == OURS or type(model).marginals is not AutoregressiveModel.marginals:
        return model.predict(*context, positions).mean[0, :, 0], False
    along = model.orders_of(known, ~known)[0]
    return model.conditionals(samples, along).mean[..., 0].mean(0), not isinstance(model, CountedModel)


def picture(task: Task, ink: Tensor) -> str:
    """A completed digit as a data URL: observed pixels black and white, others in colour."""
    colours = torch.tensor([DRAWN, SEEN])[task.known.long()]  # (784, paper or ink, RGB)
    share = ink.view(-1, 1)
    return picture_url((colours[:, 0] * (1 - share) + colours[:, 1] * share).view(GRID[1], GRID[0], 3))


ORDERS = {
    "Raster": ("most models", orders.raster),
    "S-curve": ("LMConv", orders.s_curve),
    "Hilbert curve": ("LMConv's paper", orders.hilbert),
    "Every second pixel first": ("multi-scale PixelRNN", partial(orders.subsampled_first, factor=2)),
    "Random": ("EoNADE; MADE with 32 orders", partial(orders.random, seed=0)),
    "Low discrepancy": ("PixelTransformer", lambda grid: spread_order(POSITIONS[None], Streams.of(None, 1))[0]),
}


@lru_cache(maxsize=1)
def order_pictures() -> list[tuple[str, str, bytes]]:
    """Name of an order, who draws in it, and a GIF of 28 frames in which the pixels appear."""
    paper, ink = (torch.tensor(colour) for colour in DRAWN)
    found = []
    for name, (who, make) in ORDERS.items():
        rank = orders.ranks(make(GRID)).view(GRID[1], GRID[0], 1)
        frames = []
        for shown in range(GRID[0], CELLS + 1, GRID[0]):
            age = (shown - rank) / CELLS
            frames.append(enlarge(torch.where(rank < shown, ink * (1 - 0.7 * age), paper), 112))
        found.append((name, who, animation(frames, 70)))
    return found
