"""Whole signals completed from a few positions, judged by the measures of their kind."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from baselines.nearest import nearest_values
from evaluation.batches import batches
from signals.base import Signal, to_device


def complete(signal: Signal, positions: Tensor, values: Tensor, guess: Tensor, grid: list[int]) -> Tensor:
    """A guess (B, cells, V) of whole signals with what is observed at cell centres put in."""
    cells = signal.positions(grid).to(positions)  # (cells, P)
    exact = "donot_use_mm_for_euclid_dist"  # by matrix products equal positions come out 1e-3 apart
    nearest = torch.cdist(positions, cells.expand(len(positions), -1, -1), compute_mode=exact).min(-1)  # (B, K)
    index = torch.where(nearest.values < 1e-4, nearest.indices, len(cells))  # what lies between centres goes nowhere
    padded = torch.nn.functional.pad(guess, (0, 0, 0, 1))
    return padded.scatter(1, index[..., None].expand_as(values), values)[:, :-1]


@torch.no_grad()
def quality_against_context(
    model,
    signal: Signal,
    rows: Sequence[Tensor],
    contexts: Iterable[int],
    cells_per_batch: int = 65536,
    seed: int = 0,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Measures of whole signals completed from K random positions: by the model's mean, and by nearest neighbour.

    Returns:
        For each K a mean over the signals, by the names of the measures, those of the nearest neighbour behind them.
        Empty for kinds of signals that have no measure.
    """
    measure, contexts, table = signal.evaluation_plan().measure, list(contexts), []
    if measure is None or not contexts:
        return [{} for _ in contexts]
    grid, device = model.config.native_grid, model.device
    cells = signal.positions(grid).to(device)
    if max(contexts) >= len(cells):
        raise ValueError(f"--quality: expected numbers below the {len(cells)} cells of a signal, got {max(contexts)}")
    batch_size = max(1, cells_per_batch // len(cells))
    for context in contexts:
        scores: dict[str, list[Tensor]] = {}
        for start, chunk in batches(rows, batch_size, f"quality, K = {context}", progress):
            batch = to_device(signal.collate(chunk), device)
            truth = signal.grid_values(batch, grid)
            generator = torch.Generator(device).manual_seed(seed + start)
            positions, values = signal.pairs(batch, max(*contexts, 1), generator)
            positions, values = positions[:, :context], values[:, :context]
            everywhere = cells.expand(len(truth), -1, -1)
            guesses = {"{}": model.predict(positions, values, everywhere).mean}
            if context:
                guesses["{} of nearest neighbour"] = nearest_values(positions, values, everywhere)
            for name, guess in guesses.items():
                whole = complete(signal, positions, values, guess, grid) if context else guess
                for key, value in measure(truth, whole, grid).items():
                    scores.setdefault(name.format(key), []).append(value.cpu())
        table.append({name: torch.cat(parts).nanmean().item() for name, parts in scores.items()})
    return table
