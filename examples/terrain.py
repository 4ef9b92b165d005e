"""From sensors to a map: train on a part of an elevation grid, then infer the rest of it from a few measured cells.

`python -m examples.terrain --output runs/terrain` takes the grid of the Jacksboro fault that matplotlib ships (344×403
cells of 3", metres). A satellite's missing swath has no values. The lower quarter is held out: in patches of 32×32
cells, K cells are observed and all others asked for. The same is asked of Gaussian processes (kriging) whose kernel is
fitted to patches of the training part, or to the K observed cells themselves.

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
from train_accelerate import train
from training.arguments import parse_arguments

DATA = "--validation_block 0.45 0 0.62 0.72 --test_block 0 0.72 1 1 --patch_size 32 --mirror true --kriging true"
NETWORK = "--hidden_size 64 --num_attention_heads 2 --intermediate_size 128"
NETWORK += " --num_encoder_layers 3 --num_decoder_layers 2"
EPISODES = "--max_context 160 --max_queries 128 --buffer_size 8 --token_budget 2048 --pattern_probability 0.1"
LOGGING = "--validation_contexts 32 128 --validate_every 100000 --save_every 100000 --report_to none --overwrite true"
CONTEXTS = (32, 128)
LEVELS = (0.5, 0.8, 0.9, 0.95)  # of central intervals
REPEATS = 1  # sets of observed cells of each held-out patch
FITTED_PATCHES, FITTED_CELLS = 24, 120
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


def compare(methods: dict, signal: Fields, config, split: str = "test") -> list[dict]:
    """Scores of each method at each K: nats per cell and RMSE in metres, coverage of intervals, seconds per patch."""
    patches = [row.flatten(0, 1) for row in signal.load_split(split, config)]
    positions, spread, table = signal.positions(config.native_grid), config.field["spread"][0], []
    for context in CONTEXTS:
        scores = {name: {"nats": [], "square": [], "inside": [], "seconds": 0.0} for name in methods}
        for number, patch in enumerate(patches * REPEATS):
            present = (~patch.isnan().any(-1)).nonzero()[:, 0]
            order = present[torch.randperm(len(present), generator=torch.Generator().manual_seed(number))]
            known, asked = order[:context], order[context:]
            for name, method in methods.items():
                start = time.process_time()
                found = method.predict(positions[known][None], patch[known][None], positions[asked][None])
                kept = scores[name]
                kept["seconds"] += time.process_time() - start
                truth = patch[asked][None]
                kept["nats"].append((-found.log_prob(truth).mean() + np.log(spread)).item())
                kept["square"].append((found.mean - truth).square().mean().item() * spread**2)
                kept["inside"].append(coverage(found, truth, LEVELS).mean((1, 2, 3)).tolist())
        for name, kept in scores.items():
            table.append(
                {
                    "K": context,
                    "method": name,
                    "nats": float(np.mean(kept["nats"])),
                    "nats_interval": float(1.96 * np.std(kept["nats"]) / np.sqrt(len(patches))),
                    "rmse": float(np.sqrt(np.mean(kept["square"]))),
                    "coverage": np.mean(kept["inside"], 0).round(3).tolist(),
                    "seconds": kept["seconds"] / len(kept["nats"]),
                }
            )
    return table


def markdown(table: list[dict]) -> str:
    """The table as the documentation shows it."""
    head = "| observed K | method | NLL, nats a cell (m) | RMSE, m | " + " | ".join(f"{level:.0%}" for level in LEVELS)
    lines = [head + " | s a patch |", "|---:|---|---:|---:|" + "---:|" * (len(LEVELS) + 1)]
    for row in table:
        shares = " | ".join(f"{share:.1%}" for share in row["coverage"])
        errors = f"{row['nats']:.3f} ± {row['nats_interval']:.3f} | {row['rmse']:.2f}"
        lines.append(f"| {row['K']} | {row['method']} | {errors} | {shares} | {row['seconds']:.3f} |")
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
    methods = {
        "kriging and network": predictor(model),
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
