"""What `applications.anomaly` writes: pictures and maps of each image, and the scores of all as JSON and CSV."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from signals.image import to_image

COLOURS = torch.from_numpy(matplotlib.colormaps["magma"](np.linspace(0, 1, 256))[:, :3].astype(np.float32))
SIDE = 320  # of a picture's parts, about


@dataclass(frozen=True)
class Judged:
    """An image (height, width, V), its map (height, width) and its scores by name."""

    name: str
    values: Tensor
    map: Tensor
    scores: dict[str, float]


def coloured(values: Tensor, top: float) -> Tensor:
    """A map (height, width) as colours (height, width, 3): black at 0, brightest from `top` on."""
    return COLOURS[(values / max(top, 1e-12) * 255).round().clamp(0, 255).long()]


def side_by_side(values: Tensor, heat: Tensor) -> Image.Image:
    """An image and its map (both (height, width, …)), with visible pixels."""
    zoom = max(1, SIDE // max(values.shape[:2]))
    parts = [to_image(part).convert("RGB") for part in (values, heat)]
    width, height = parts[0].width * zoom, parts[0].height * zoom
    sheet = Image.new("RGB", (2 * width + 8, height), "white")
    for number, part in enumerate(parts):
        sheet.paste(part.resize((width, height), Image.Resampling.NEAREST), (number * (width + 8), 0))
    return sheet


def write_report(judged: list[Judged], folder: Path, settings: dict) -> list[Path]:
    """Write pictures (`NAME.png`), maps (`NAME.csv`), `scores.json` and `scores.csv`; returns the two last.

    All pictures share one scale of colours, so that they compare.
    """
    folder.mkdir(parents=True, exist_ok=True)
    top = float(np.quantile(np.concatenate([one.map.numpy().ravel() for one in judged]), 0.998))
    for one in judged:
        path = folder / f"{one.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side_by_side(one.values, coloured(one.map, top)).save(path)
        np.savetxt(path.with_suffix(".csv"), one.map.numpy(), "%.4f", ",")
    found = {
        "settings": settings,
        "brightest": top,
        "images": [{"name": one.name, **{key: round(value, 5) for key, value in one.scores.items()}} for one in judged],
    }
    paths = [folder / "scores.json", folder / "scores.csv"]
    paths[0].write_text(json.dumps(found, indent=1) + "\n")
    with paths[1].open("w", newline="") as file:
        rows = csv.DictWriter(file, ["name", *judged[0].scores])
        rows.writeheader()
        rows.writerows(found["images"])
    return paths
