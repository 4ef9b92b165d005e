"""How good a completed signal is as a whole: SSIM, PSNR, volumetric IoU and Chamfer distance."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from tqdm.auto import tqdm

from baselines.nearest import nearest_values
from signals.base import Signal, to_device
from signals.mesh import sdf_to_mesh

Scores = dict[str, Tensor]  # a measure's value for each signal, NaN where it is not defined


def image_quality(truth: Tensor, completed: Tensor, grid: list[int]) -> Scores:
    """SSIM (Wang et al. 2004; Gaussian window of 11) of images (N, cells, V)."""
    images = [x.unflatten(1, grid[::-1]).permute(0, 3, 1, 2) for x in (completed, truth)]
    return {"SSIM": structural_similarity_index_measure(*images, data_range=1.0, reduction="none").view(-1)}


def video_quality(truth: Tensor, completed: Tensor, grid: list[int]) -> Scores:
    """PSNR in dB of frames, averaged over each video (N, cells, V)."""
    frames, width, height = grid
    flat = [x.unflatten(1, (frames, width * height)).flatten(0, 1) for x in (completed, truth)]  # (N · T, cells, V)
    ratio = peak_signal_noise_ratio(*flat, data_range=1.0, reduction="none", dim=(1, 2))
    return {"PSNR": ratio.clamp(max=100).view(-1, frames).mean(1)}  # a frame without an error has no finite one


def shape_quality(truth: Tensor, completed: Tensor, grid: list[int]) -> Scores:
    """Intersection over union of the insides, and Chamfer distance of the surfaces, of distance fields (N, cells, 1).

    The Chamfer distance is the mean distance from one surface to the other, averaged over both directions, in units of
    positions, where a completed signal has a surface.
    """
    inside, guessed = truth[..., 0] < 0, completed[..., 0] < 0
    iou = (inside & guessed).sum(1) / (inside | guessed).sum(1).clamp(min=1)
    pairs = zip(truth, completed, strict=True)
    chamfer = [chamfer_distance(*(x.view(*grid[::-1], 1) for x in pair)) for pair in pairs]
    return {"IoU": iou.cpu(), "Chamfer": torch.tensor(chamfer)}


def chamfer_distance(first: Tensor, second: Tensor, points: int = 4000, seed: int = 0) -> float:
    """Chamfer distance of the zero surfaces of two distance fields (z, y, x, 1); NaN where one has none."""
    meshes = [sdf_to_mesh(sdf) for sdf in (first, second)]
    if None in meshes:
        return float("nan")
    clouds = [mesh.sample(points, seed=seed) for mesh in meshes]
    there, back = cKDTree(clouds[1]).query(clouds[0])[0], cKDTree(clouds[0]).query(clouds[1])[0]
    return float((np.mean(there) + np.mean(back)) / 2)


MEASURES = {"image": image_quality, "video": video_quality, "shape": shape_quality}


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
    measure = MEASURES.get(model.config.signal)
    contexts, table = list(contexts), []
    if measure is None or not contexts:
        return [{} for _ in contexts]
    grid, device = model.config.native_grid, model.device
    cells = signal.positions(grid).to(device)
    if max(contexts) >= len(cells):
        raise ValueError(f"--quality: expected numbers below the {len(cells)} cells of a signal, got {max(contexts)}")
    batch_size = max(1, cells_per_batch // len(cells))
    for context in contexts:
        scores: dict[str, list[Tensor]] = {}
        starts = range(0, len(rows), batch_size)
        for start in tqdm(starts, desc=f"quality, K = {context}", disable=not progress, leave=False):
            chunk = [rows[index] for index in range(start, min(start + batch_size, len(rows)))]
            batch = to_device(signal.collate(chunk), device)
            truth = signal.grid_values(batch, grid)
            generator = torch.Generator(device).manual_seed(seed + start)
            positions, values = signal.places(batch, max(*contexts, 1), generator)
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
