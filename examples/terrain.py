"""From sensors to a map: train on a part of an elevation grid, then infer the rest of it from a few measured cells.

`python -m examples.terrain --output runs/terrain` takes the grid of the Jacksboro fault that matplotlib ships (344×403
cells of 3", metres). A satellite's missing swath has no values. The lower quarter is held out: in patches of 32×32
cells, K cells are observed and all others asked for. The same is asked of Gaussian processes (kriging) whose kernel is
fitted to patches of the training part, or to the K observed cells themselves, and of the kriging that the network
starts from.

Writes the field as netCDF, the trained checkpoint, a table, a map of the held-out part with mean and standard deviation
(netCDF), and its picture. `--train false` uses a checkpoint that is already there.
"""

import argparse
import json
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
import xarray
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from torch import Tensor

from baselines.gaussian_process import GaussianProcess
from evaluation.calibration import coverage
from pixeltransformer import PixelTransformerModel
from signals.field import Fields, predictor
from signals.field_files import write_field
from signals.field_maps import predict_map
from signals.kriging import Kriging
from train_accelerate import train
from training.arguments import parse_arguments

DATA = "--validation_block 0.45 0 0.62 0.72 --test_block 0 0.72 1 1 --patch_size 32 --mirror true --kriging true"
NETWORK = "--hidden_size 64 --num_attention_heads 2 --intermediate_size 128"
NETWORK += " --num_encoder_layers 3 --num_decoder_layers 2"
EPISODES = "--max_context 160 --max_queries 128 --buffer_size 8 --token_budget 2048 --pattern_probability 0.1"
LOGGING = "--validation_contexts 32 128 --validate_every 100000 --save_every 100000 --report_to none --overwrite true"
CONTEXTS = (32, 128)
LEVELS = (0.5, 0.8, 0.9, 0.95)  # of central intervals
REPEATS = 4  # sets of observed cells of each held-out patch
FITTED_PATCHES, FITTED_CELLS = 24, 120
NETWORK_NAME = "kriging and network"
SMOOTHNESS = (0.5, 1.5, 2.5)  # of the Matérn kernels that are tried


def make_field(path: Path) -> Path:
    """The elevation grid as netCDF, without the cells of a swath that a satellite missed."""
    with get_sample_data("jacksboro_fault_dem.npz") as stored:
        facts = {name: stored[name] for name in stored.files}
    height = facts["elevation"].astype(np.float32)
    row, column = np.indices(height.shape)
    height[np.abs(row + 0.35 * column - 330) < 4] = np.nan
    sides = {"lat": (facts["ymin"], facts["ymax"]), "lon": (facts["xmin"], facts["xmax"])}
    units = {"lat": "degrees_north", "lon": "degrees_east"}
    coordinates = {
        name: (name, np.linspace(*sides[name], size), {"units": units[name]})
        for name, size in zip(sides, height.shape, strict=True)
    }
    attributes = {"units": "m", "long_name": "elevation"}
    return write_field(xarray.Dataset({"elevation": (tuple(sides), height, attributes)}, coordinates), path)


def fit_kriging(signal: Fields, config) -> GaussianProcess:
    """A Gaussian process with the kernel, of three smoothnesses, under which training patches are most likely."""
    whole = [row for row in signal.load_split("train", config) if not row.isnan().any()]
    chosen = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))[:FITTED_PATCHES]
    patches = torch.stack([whole[index] for index in chosen]).flatten(1, 2)
    cells = torch.randperm(patches.shape[1], generator=torch.Generator().manual_seed(1))[:FITTED_CELLS]
    positions, values = signal.positions(config.native_grid)[cells], patches[:, cells]
    fitted = [GaussianProcess(config, smoothness).fit(positions, values) for smoothness in SMOOTHNESS]
    return max(fitted, key=lambda process: process.log_likelihood)


class FittedToContext(GaussianProcess):
    """Kriging as it is done without other maps: the kernel is fitted to the observed cells of each patch."""

    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor):
        kernel, center, found = self.kernel, self.center, []
        for row in range(len(context_positions)):
            one, self.kernel = slice(row, row + 1), kernel
            self.fit(context_positions[row], context_values[one])
            found.append(super().predict(context_positions[one], context_values[one], query_positions[one]))
        self.kernel, self.center = kernel, center
        return type(found[0]).cat(found, 0)


class StartingPoint(GaussianProcess):
    """The kriging whose residuals the network learned, by itself."""

    def __init__(self, config, kriging: Kriging):
        super().__init__(config)
        self.kriging = kriging

    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor):
        mean, std = self.kriging.predict(context_positions, context_values, query_positions)
        return self.gaussian(mean.to(query_positions), std[..., 0])


def score(method, patch: Tensor, order: Tensor, context: int, positions: Tensor, spread: float) -> dict:
    """What a method says of a patch (cells, V) given the first `context` cells of `order`, about the others of it.

    Returns:
        `dict`: "nats" of a density over metres, "square" error in square metres, shares "inside" central intervals,
        and "seconds".
    """
    known, asked = order[:context], order[context:]
    start = time.process_time()
    found = method.predict(positions[known][None], patch[known][None], positions[asked][None])
    seconds, truth = time.process_time() - start, patch[asked][None]
    return {
        "nats": (-found.log_prob(truth).mean() + np.log(spread)).item(),
        "square": (found.mean - truth).square().mean().item() * spread**2,
        "inside": coverage(found, truth, LEVELS).mean((1, 2, 3)).tolist(),
        "seconds": seconds,
    }


def compare(methods: dict, signal: Fields, config, split: str = "test") -> list[dict]:
    """Scores of each method at each K, and by how much they exceed the network's; 95 % intervals over patches."""
    patches = [row.flatten(0, 1) for row in signal.load_split(split, config)]
    positions, spread, table = signal.positions(config.native_grid), config.field["spread"][0], []
    for context in CONTEXTS:
        scores = {name: [] for name in methods}
        for number, patch in enumerate(patches * REPEATS):
            present = (~patch.isnan().any(-1)).nonzero()[:, 0]
            order = present[torch.randperm(len(present), generator=torch.Generator().manual_seed(number))]
            for name, method in methods.items():
                scores[name].append(score(method, patch, order, context, positions, spread))
        by_patch = {
            name: {key: np.reshape([one[key] for one in kept], (REPEATS, len(patches), -1)).mean(0) for key in kept[0]}
            for name, kept in scores.items()
        }  # (patches, 1), "inside": (patches, levels)
        table += [row_of(context, name, kept, by_patch[NETWORK_NAME]) for name, kept in by_patch.items()]
    return table


def row_of(context: int, name: str, kept: dict[str, np.ndarray], network: dict[str, np.ndarray]) -> dict:
    """A row of the table, given what `score` returns for each patch."""
    means = {key: values.mean(0).round(5).tolist() for key, values in kept.items()}
    above = {f"{key}_above_network": kept[key] - network[key] for key in ("nats", "square")}
    intervals = {"nats": kept["nats"]} | above
    return {
        "K": context,
        "method": name,
        "nats": means["nats"][0],
        "rmse": float(np.sqrt(means["square"][0])),
        "coverage": means["inside"],
        "seconds": means["seconds"][0],
        **{key: float(values.mean()) for key, values in above.items()},
        **{f"{key}_interval": float(1.96 * v.std() / np.sqrt(len(v))) for key, v in intervals.items()},
    }


def markdown(table: list[dict]) -> str:
    """The table as the documentation shows it."""
    head = "| observed K | method | NLL, nats a cell | above the network | RMSE, m | MSE above the network, m² | "
    lines = [head + " | ".join(f"{level:.0%}" for level in LEVELS) + " | s a patch |"]
    lines += ["|---:|---|" + "---:|" * (len(LEVELS) + 5)]
    for row in table:
        nats, square = (f"{row[key]:.{digits}f}" for key, digits in (("nats", 3), ("rmse", 2)))
        above = [
            f"{row[key]:+.{digits}f} ± {row[f'{key}_interval']:.{digits}f}" if row["method"] != NETWORK_NAME else ""
            for key, digits in (("nats_above_network", 3), ("square_above_network", 0))
        ]
        shares = [f"{share:.1%}" for share in row["coverage"]]
        cells = [f"{nats} ± {row['nats_interval']:.3f}", above[0], square, above[1], *shares, f"{row['seconds']:.3f}"]
        lines.append(f"| {row['K']} | {row['method']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def infer_map(model, field: Path, count: int) -> tuple[xarray.Dataset, xarray.Dataset]:
    """The held-out part of the field: as it is, and as inferred from `count` cells of each 1,024."""
    truth = xarray.open_dataset(field).load().isel(lat=slice(round(0.72 * 344), None))
    values = truth.elevation.values
    kept = np.random.default_rng(0).random(values.shape) < count / 1024
    observed = truth.copy()
    observed["elevation"] = truth.elevation.where(kept)
    inferred = predict_map(model, observed, wanted=~np.isnan(values))
    inferred["observed"] = (truth.elevation.dims, kept & ~np.isnan(values))
    return truth, inferred


def draw(truth: xarray.Dataset, inferred: xarray.Dataset, output: Path) -> None:
    """Truth, observed cells, mean and standard deviation; cells without a value are grey."""
    figure = Figure(figsize=(9.0, 9.2), layout="constrained")
    colours = {name: matplotlib.colormaps[name].with_extremes(bad="0.6") for name in ("terrain", "magma")}
    height, observed = truth.elevation, inferred.observed
    bounds = {"vmin": float(height.min()), "vmax": float(height.max())}
    pictures = {
        "elevation, held out (grey: no value)": (height, "terrain", bounds),
        f"observed: {int(observed.sum()):,} of {observed.size:,} cells": (height.where(observed), "terrain", bounds),
        "mean": (inferred.elevation, "terrain", bounds),
        "standard deviation": (inferred.elevation_std, "magma", {"vmin": 0}),
    }
    extent = [float(side) for side in (truth.lon[0], truth.lon[-1], truth.lat[-1], truth.lat[0])]
    for axis, (title, (values, name, limits)) in zip(figure.subplots(4, 1, sharex=True), pictures.items(), strict=True):
        shown = axis.imshow(values, cmap=colours[name], extent=extent, aspect="auto", interpolation="nearest", **limits)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_ylabel("latitude")
        figure.colorbar(shown, ax=axis, label="m")
    axis.set_xlabel("longitude")
    figure.savefig(output, dpi=80)


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/terrain"), help="folder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5000, help="training steps (default: %(default)s)")
    parser.add_argument("--train", choices=["true", "false"], default="true", help="false: use OUTPUT/export")
    parser.add_argument("--shown", type=int, default=32, help="observed cells of each 1,024 in the map")
    parser.add_argument("--split", choices=["validation", "test"], default="test", help="what is compared on")
    own = parser.parse_args(argv)
    field = make_field(own.output / "terrain.nc")
    flags = f"--kind field --dataset_name {field} --output_dir {own.output} --max_train_steps {own.steps}"
    arguments, signal = parse_arguments(f"{flags} {DATA} {NETWORK} {EPISODES} {LOGGING}".split())
    if own.train == "true":
        start = time.process_time()
        train(arguments, signal)
        print(f"trained in {(time.process_time() - start) / 60:.1f} minutes of one core")
    model = PixelTransformerModel.from_pretrained(own.output / "export").eval()
    kriging = fit_kriging(signal, model.config)
    answering = predictor(model)
    methods = {
        NETWORK_NAME: answering,
        "kriging that the network starts from": StartingPoint(model.config, answering.kriging),
        "kriging, kernel of training patches": kriging,
        "kriging, kernel of the patch": FittedToContext(model.config, kriging.smoothness),
    }
    table = compare(methods, signal, model.config, own.split)
    (own.output / f"{own.split}.json").write_text(json.dumps(table, indent=1) + "\n")
    print(f"Kernel of training patches: {kriging.kernel}\n\n{markdown(table)}")
    truth, inferred = infer_map(model, field, own.shown)
    write_field(inferred, own.output / "map.nc")
    draw(truth, inferred, own.output / "map.png")
    print(f"wrote {own.output}/map.nc and {own.output}/map.png")
    return own.output


if __name__ == "__main__":
    main()
