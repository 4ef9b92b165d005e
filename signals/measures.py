"""How good a completed signal is as a whole: SSIM, PSNR, volumetric IoU and Chamfer distance."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from signals.mesh import sdf_to_mesh

Measured = dict[str, Tensor]  # a measure's value for each signal, NaN where it is not defined


def image_quality(truth: Tensor, completed: Tensor, grid: list[int]) -> Measured:
    """SSIM (Wang et al. 2004; Gaussian window of 11) of images (N, cells, V)."""
    images = [x.unflatten(1, grid[::-1]).permute(0, 3, 1, 2) for x in (completed, truth)]
    return {"SSIM": structural_similarity_index_measure(*images, data_range=1.0, reduction="none").view(-1)}


def video_quality(truth: Tensor, completed: Tensor, grid: list[int]) -> Measured:
    """PSNR in dB of frames, averaged over each video (N, cells, V)."""
    frames, width, height = grid
    flat = [x.unflatten(1, (frames, width * height)).flatten(0, 1) for x in (completed, truth)]  # (N · T, cells, V)
    ratio = peak_signal_noise_ratio(*flat, data_range=1.0, reduction="none", dim=(1, 2))
    return {"PSNR": ratio.clamp(max=100).view(-1, frames).mean(1)}  # a frame without an error has no finite one


def shape_quality(truth: Tensor, completed: Tensor, grid: list[int]) -> Measured:
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
