"""Compare all models of a folder: `python -m baselines.field --folder checkpoints/field --dataset_name ylecun/mnist`.

Writes docs/FIELD.md. Scores are kept in a JSON file, so that a stopped call goes on and a new model is added alone.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, HfArgumentParser

from baselines.field.samples import draw, judge
from baselines.field.scores import costs, hidden_nats, joint_nats, summary
from baselines.field.table import page
from baselines.protocol import HIDDEN, FieldModel, can, num_levels
from evaluation.classifier import load
from evaluation.diversity import SMALLEST
from evaluation.store import weights_digest
from signals.base import flag, flags
from signals.image import Images
from signals.polynomial import Polynomials
from training.setup import machine

PARTS = ("joint", "ensemble", "hidden", "samples", "costs")
ENLARGED = (1, 2)  # sides of drawn images, in those of the images that a model was trained on


@dataclass
class TableArguments:
    """Compare the models of a folder, and PixelTransformers, in one table."""

    dataset_name: str = flag("Grey images (Hub dataset or folder), of which binary models see a binarised copy.")
    folder: str = flag("Folder whose folders each hold a model.", "checkpoints/field")
    also: list[str] = flags("PixelTransformers and other models beside them, by their folders.", [])
    colour_name: str | None = flag("Colour images, for the models that handle them.")
    split: str = flag("Split to measure on.", "test")
    images: int = flag("Images whose likelihood is measured.", 10_000)
    colour_images: int = flag("Colour images whose likelihood is measured.", 2_000)
    ensemble_images: int = flag("Images on which several orders are averaged.", 1_000)
    orders: int = flag("Orders that are averaged, of models with several.", 8)
    completions: int = flag("Images that are completed.", 200)
    classifier: str | None = flag("File of `evaluation.classifier`, which judges drawn images; none: they are not.")
    samples: int = flag("Images that are drawn and judged, at 28×28 and at twice the side.", 64)
    scores: str = flag("File that keeps the scores.", "docs/performance/field.json")
    output: str = flag("Page to write.", "docs/FIELD.md")
    parts: list[str] = flags(f"What is measured; of the rest, known scores are kept: {', '.join(PARTS)}.", list(PARTS))
    measure: bool = flag("Measure what the scores lack; false: only write the page.", True)
    seed: int = flag("Seed of the hidden pixels and of drawn images.", 0)

    def __post_init__(self):
        if not self.dataset_name:
            raise ValueError(f"--dataset_name: expected a Hub dataset or a folder, got {self.dataset_name!r}")
        for name in ("images", "colour_images", "ensemble_images", "orders", "completions", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected a number above 0, got {getattr(self, name)}")
        if self.samples < 2:
            raise ValueError(f"--samples: expected at least 2, which are compared, got {self.samples}")
        if set(self.parts) - set(PARTS):
            raise ValueError(f"--parts: expected some of {', '.join(PARTS)}, got {' '.join(self.parts)}")


def find_models(arguments: TableArguments) -> dict[str, Path]:
    """Folders of models by name.

    Raises:
        ValueError: where there is none, or one that is named holds none.
    """
    found = {path.parent.name: path.parent for path in sorted(Path(arguments.folder).glob("*/config.json"))}
    # A folder of training runs holds each model in `export`.
    found |= {path.parts[-3]: path.parent for path in sorted(Path(arguments.folder).glob("*/export/config.json"))}
    for name in arguments.also:
        if not (Path(name) / "config.json").is_file():
            raise ValueError(f"--also: expected folders of models, got {name}")
        path = Path(name)
        found[path.parent.name if path.name == "export" else path.name] = path
    if not found:
        raise ValueError(f"--folder: expected a folder with models, got {arguments.folder}")
    return found


def kind_of(model: FieldModel) -> str:
    """The data that a model is for: "binary", "grey", "colour" or "curves"."""
    if len(model.config.native_grid) == 1:
        return "curves"
    if model.config.value_dim == 3:
        return "colour"
    return "binary" if num_levels(model) == 2 else "grey"


def test_values(arguments: TableArguments, model: FieldModel, kind: str) -> torch.Tensor | None:
    """Held-out images or curves (N, D, V) on the model's grid; `None` where no data of its kind are named."""
    name = arguments.colour_name if kind == "colour" else arguments.dataset_name
    if name is None:
        return None
    count = arguments.colour_images if kind == "colour" else arguments.images
    signal = Images(dataset_name=name, binarise=kind == "binary") if kind != "curves" else Polynomials()
    rows = signal.load_split(arguments.split, model.config, count)
    return signal.grid_values(signal.collate([rows[index] for index in range(len(rows))]), model.config.native_grid)


def parts_of(model: FieldModel, kind: str, arguments: TableArguments) -> dict[str, list[Any]]:
    """What is to be measured of a model: names of parts, with the settings that decide the figures."""
    if not arguments.measure:
        return {}
    count = arguments.colour_images if kind == "colour" else arguments.images
    parts: dict[str, list[Any]] = {"joint": [arguments.split, count], "costs": []}
    if (
        hasattr(model, "orders_of")
        and can(model, "log_prob", model.native_positions()[:, :0])
        and several_orders(model)
    ):
        parts["ensemble"] = [arguments.split, arguments.ensemble_images, arguments.orders]
    if kind == "binary":
        parts["hidden"] = [arguments.split, arguments.completions, arguments.seed]
    if arguments.classifier and kind in ("binary", "grey"):
        parts["samples"] = [arguments.samples, arguments.seed]
    return {name: asked for name, asked in parts.items() if name in arguments.parts}


@torch.no_grad()
def measure(part: str, name: str, model: FieldModel, values: torch.Tensor, arguments: TableArguments) -> Any:
    """One part of a model's scores."""
    if part == "joint":
        return summary(joint_nats(model, values, f"{name}: likelihood"))
    if part == "ensemble":
        few = values[: arguments.ensemble_images]
        return summary(joint_nats(model, few, f"{name}: orders", num_orders=arguments.orders))
    if part == "costs":
        return costs(model, values) | {"machine": machine()}
    if part == "samples":
        return judged(model, arguments)
    few, found = values[: arguments.completions], {}
    for pattern in HIDDEN:
        found[pattern] = summary(hidden_nats(model, few, pattern, arguments.seed, f"{name}: {pattern} hidden"))
    return found


def facts(name: str, model: FieldModel, values: torch.Tensor, kind: str) -> dict[str, Any]:
    """What is known of a model without measuring."""
    made = model.config.provenance or {}
    return {
        "data": kind,
        "grid": list(model.config.native_grid),
        "values": values[0].numel(),
        "model": made.get("model", name),
        "minutes": made.get("minutes"),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights": weights_digest(model),
    }


def judged(model: FieldModel, arguments: TableArguments) -> dict[str, Any]:
    """What a classifier says of images that a model draws, by how much larger they are than those it was trained on."""
    classifier, side = load(arguments.classifier)[0], model.config.native_grid[0]
    if side < SMALLEST:
        return {}  # the similarity of so small images is not defined
    drawn = {enlarge: draw(model, arguments.samples, enlarge, arguments.seed) for enlarge in ENLARGED}
    return {str(size): judge(images, classifier, side) for size, images in drawn.items() if images is not None}


def several_orders(model: FieldModel) -> bool:
    """Whether a model knows several orders of a whole image."""
    nothing = torch.zeros(model.config.num_cells, dtype=torch.bool)
    orders = {tuple(order.tolist()) for order in model.orders_of(nothing, ~nothing)}
    return len(orders) > 1


def compare(arguments: TableArguments) -> Path:
    """Measure all that the file of scores does not know yet, and write the page."""
    kept = Path(arguments.scores)
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    scores = {}
    for name, path in find_models(arguments).items():
        model = AutoModel.from_pretrained(path, trust_remote_code=True).eval()
        kind = kind_of(model)
        values = test_values(arguments, model, kind)
        if values is None:
            print(f"{name}: left out, as no data of its kind are named", file=sys.stderr)
            continue
        now = facts(name, model, values, kind)
        found = known.get(name, {})
        if found.get("weights") != now["weights"]:
            found = {"asked": {}}
        known[name] = scores[name] = found = found | now
        for part, asked in parts_of(model, kind, arguments).items():
            if found["asked"].get(part) != asked:
                found[part] = measure(part, name, model, values, arguments)
                found["asked"][part] = asked
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(known, indent=1) + "\n")
                print(f"{name}, {part}: {json.dumps(found[part])}", flush=True)
    scores |= {name: one for name, one in known.items() if one.get("former")}
    for kind in {one["data"] for one in scores.values()}:
        grids = [tuple(one["grid"]) for one in scores.values() if one["data"] == kind]
        usual = max(set(grids), key=grids.count)
        for one in (one for one in scores.values() if one["data"] == kind):
            one["other_grid"] = tuple(one["grid"]) != usual
    output = Path(arguments.output)
    command = f"python -m baselines.field {shlex.join(sys.argv[1:])}".removesuffix(" --measure false")
    output.write_text(page(scores, list(HIDDEN), command))
    return output


def main() -> None:
    """As the command line says; a failure is one line."""
    try:
        parser = HfArgumentParser(
            TableArguments, allow_abbrev=False, prog="python -m baselines.field", description=TableArguments.__doc__
        )
        (arguments,) = parser.parse_args_into_dataclasses()
        print(f"wrote {compare(arguments)}")
    except (ValueError, OSError) as error:
        sys.exit(f"baselines.field: {error}")


if __name__ == "__main__":
    main()
