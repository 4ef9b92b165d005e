"""The models that the field tab asks: autoregressive models, most of binary digits, and PixelTransformer among them."""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from baselines.autoregressive import MODELS
from baselines.protocol import FieldModel
from demo.models import CHECKPOINTS
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel

OURS = "mnist-binary"  # PixelTransformer, trained on the same images
# Asked last, for one sample: for each pixel they compute a row of many layers, or the whole network.
SLOW = ("pixelcnn", "gated-pixelcnn", "diagonal-bilstm", "multi-scale", "lmconv", "pixelcnn++")
GRID = (28, 28)


class About(NamedTuple):
    """How the page introduces a model: its plain name, and the paper."""

    name: str
    paper: str


ABOUT = {
    OURS: About("PixelTransformer", "Tulsiani & Gupta 2021"),
    "pixel-histogram": About("Histogram of each pixel", "textbook"),
    "joint-histogram": About("Histogram of whole images", "textbook"),
    "parametric-pixels": About("Fitted distribution of each pixel", "textbook"),
    "fvsbn": About("FVSBN", "Frey 1996"),
    "nade": About("NADE", "Larochelle & Murray 2011"),
    "eonade": About("EoNADE", "Uria et al. 2014"),
    "made": About("MADE", "Germain et al. 2015"),
    "made-orders": About("MADE, 32 orders", "Germain et al. 2015"),
    "pixel-sequence": About("RNN over pixels", "textbook"),
    "row-lstm": About("PixelRNN, Row LSTM", "van den Oord et al. 2016"),
    "diagonal-bilstm": About("PixelRNN, Diagonal BiLSTM", "van den Oord et al. 2016"),
    "multi-scale": About("PixelRNN, multi-scale", "van den Oord et al. 2016"),
    "pixelcnn": About("PixelCNN", "van den Oord et al. 2016"),
    "gated-pixelcnn": About("Gated PixelCNN", "van den Oord et al. 2016"),
    "pixelcnn++": About("PixelCNN++", "Salimans et al. 2017"),
    "pixelsnail": About("PixelSNAIL", "Chen et al. 2018"),
    "lmconv": About("LMConv", "Jain et al. 2020"),
    "spatial-pixelcnn": About("Spatial PixelCNN, 8×8, 256 grey levels", "Akoury & Nguyen 2017"),
    "spatial-pixelcnn-16": About("Spatial PixelCNN, 16×16", "Akoury & Nguyen 2017"),
    "image-gpt": About("ImageGPT", "Chen et al. 2020"),
    "categorical-nade": About("Categorical NADE, 256 grey levels", "Larochelle & Murray 2011"),
    "rnade": About("RNADE", "Uria et al. 2013"),
    "wavenet": About("WaveNet", "van den Oord et al. 2016"),
}


@lru_cache(maxsize=1)
def offered() -> dict[str, Path]:
    """Folders of the shipped models by name, ours first, the slow ones last."""
    folders = {OURS: CHECKPOINTS / OURS} | {name: CHECKPOINTS / "field" / name for name in MODELS}
    found = {name: folders[name] for name in ABOUT if name in folders and (folders[name] / "config.json").is_file()}
    return {name: found[name] for name in sorted(found, key=lambda name: SLOW.index(name) + 1 if name in SLOW else 0)}


@lru_cache(maxsize=32)
def load(name: str) -> FieldModel:
    """A model, ready to answer, on the GPU if there is one."""
    kind = PixelTransformerModel if name == OURS else MODELS[name].model
    model = kind.from_pretrained(offered()[name]).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def mismatch(name: str) -> str | None:
    """Why a model has no answer about images of `GRID`, in one sentence; `None` if it knows such images."""
    grid = tuple(json.loads((offered()[name] / "config.json").read_text()).get("native_grid", GRID))
    if len(grid) == 1:
        return f"It models curves, {grid[0]} values one after another, and no images."
    if grid != GRID:
        width, height = grid
        return f"It knows images of {width}×{height} pixels alone: a histogram of larger ones would not fit anywhere."
    return None
