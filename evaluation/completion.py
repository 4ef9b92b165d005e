"""Whole signals drawn from a few random cells, which measures and pictures of samples look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nearest import nearest_values
from evaluation.batches import batches
from evaluation.job import Job
from signals.base import to_device
from signals.plan import SamplePlan

TEMPERATURE = 0.9  # the published one


@dataclass
class Drawn:
    """Whole signals of one K, on the native grid.

    Attributes:
        guessed (`str`): What `guess` is, see `SamplePlan`.
        known (`Tensor` (N, cells)): True where a cell was observed.
        truth, guess, nearest (`Tensor` (N, cells, V)), samples (`Tensor` (S, N, cells, V)): Observed values are put in.
    """

    context: int
    guessed: str
    known: Tensor
    truth: Tensor
    guess: Tensor
    nearest: Tensor
    samples: Tensor


@torch.no_grad()
def draw(job: Job, rows: Sequence[Tensor], context: int, plan: SamplePlan) -> Drawn:
    """Complete signals from the first `context` cells of a random order, which is the same for every K."""
    model, grid = job.model, job.config.native_grid
    cells = job.signal.positions(grid).to(model.device)
    parts: list[tuple[Tensor, ...]] = []
    batch = max(1, 8192 // len(cells))
    for start, chunk in batches(rows, batch, f"samples, K = {context}", job.progress):
        truth = job.signal.grid_values(to_device(job.signal.collate(chunk), model.device), grid)  # (B, cells, V)
        generator = torch.Generator(model.device).manual_seed(job.seed + start)
        order = torch.rand(truth.shape[:2], generator=generator, device=model.device).argsort(-1)
        positions, values = cells[order], truth.gather(1, order[..., None].expand_as(truth))
        known, asked = (positions[:, :context], values[:, :context]), positions[:, context:]
        samples = plan.draw(model, known, asked, generator, temperature=TEMPERATURE)
        back = order.argsort(-1)[..., None].expand_as(truth)
        fillings = [plan.guess(model.predict(*known, asked)), nearest_values(*known, asked), *samples]
        whole = [torch.cat((known[1], filling), 1).gather(1, back) for filling in fillings]
        parts.append(tuple(x.cpu() for x in (order.argsort(-1) < context, truth, *whole)))
    known, truth, guess, nearest, *samples = (torch.cat(part) for part in zip(*parts, strict=True))
    return Drawn(context, plan.guessed, known, truth, guess, nearest, torch.stack(samples))


def to_pictures(values: Tensor, grid: list[int]) -> Tensor:
    """Values (…, cells, V) as images (…, V, y, x)."""
    return values.unflatten(-2, grid[::-1]).movedim(-1, -3)
