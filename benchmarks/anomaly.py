"""Measure anomaly maps and scores: `python -m benchmarks.anomaly --checkpoint … --dataset_name … --output anomaly-…`.

Defects are put into held-out images, and the pixels' AUROC is that of all images together. Blurs, and whether a map
loses its mean, are chosen on images held out of the training split, for each method its own; then the test split is
measured. `--outliers` names another dataset, whose images are to be told from the checkpoint's own by a score of the
whole image. `--report` writes the tables of docs/ANOMALY.md from all results.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from applications.anomaly.scores import SHAKES, image_scores
from applications.anomaly.surprise import MAPS, smooth, surprise
from benchmarks.defects import DEFECTS, damage
from benchmarks.timing import FOLDER, write
from evaluation.tables import make_table, markdown
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals import find

PAGE, START, END = Path("docs/ANOMALY.md"), "<!-- measured -->", "<!-- end -->"
BLURS = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0)
TRAINING = 5_000  # images that the references know
BATCH = 16


def images_of(dataset: str, config, split: str, count: int) -> np.ndarray:
    """Images (N, height, width, V), uint8, on a checkpoint's grid; "validation" is held out of the training split."""
    if split == "test":
        rows = find("image")(dataset_name=dataset).load_split("test", config, count)
    else:
        channels = "grey" if config.value_dim == 1 else "colour"
        signal = find("image")(dataset_name=dataset, image_size=[config.native_grid[0]], channels=channels)
        rows = signal.load(0)[split == "validation"]
    return np.stack([rows[index].numpy() for index in range(min(count, len(rows)))])


def as_values(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).float() / 255


class References:
    """Maps without a model: distance to the nearest training image, and a Gaussian for each pixel."""

    def __init__(self, training: np.ndarray):
        self.training = as_values(training)
        self.flat = self.training.flatten(1)
        self.squares = self.flat.square().sum(1)
        self.mean = self.training.mean(0)
        self.variance = self.training.var(0) + (1 / 255) ** 2

    def maps(self, values: Tensor) -> dict[str, Tensor]:
        nearest = (self.squares - 2 * values.flatten(1) @ self.flat.T).argmin(1)
        gaussian = (values - self.mean).square() / self.variance + self.variance.log()
        return {
            "nearest training image": (values - self.training[nearest]).square().mean(-1),
            "Gaussian per pixel": gaussian.mean(-1),
        }


def maps_of(model, images: np.ndarray, references: References | None, label: str) -> dict[str, Tensor]:
    """Maps (N, height, width) of every method."""
    parts: dict[str, list[Tensor]] = {}
    values = as_values(images)
    for start in tqdm(range(0, len(images), BATCH), desc=label):
        part = values[start : start + BATCH]
        found = surprise(model, part).maps() | ({} if references is None else references.maps(part))
        for name, each in found.items():
            parts.setdefault(name, []).append(each)
    return {name: torch.cat(each) for name, each in parts.items()}


def auroc(maps: Tensor, masks: np.ndarray, blur: float, relative: bool) -> float:
    """Of all pixels together; `relative`: after each map lost its mean."""
    shown = smooth(maps, blur)
    shown = shown - shown.mean((1, 2), keepdim=True) if relative else shown
    return float(roc_auc_score(masks.ravel(), shown.numpy().ravel()))


def localise(model, flags: argparse.Namespace) -> list[dict]:
    """AUROC of each kind of defect on test images; how maps are shown is chosen on validation images."""
    references = References(images_of(flags.dataset_name, model.config, "train", TRAINING))
    chosen: dict[str, dict] = {}
    images, masks = damage(images_of(flags.dataset_name, model.config, "validation", flags.limit), "patch", 1)
    for name, maps in maps_of(model, images, references, "validation").items():
        scores = {way: auroc(maps, masks, *way) for way in product(BLURS, (False, True))}
        best = max(scores, key=scores.get)
        chosen[name] = {"blur": best[0], "relative": best[1], "validation": scores[best]}
    rows = []
    clean = images_of(flags.dataset_name, model.config, "test", flags.limit)
    for kind in flags.defects:
        images, masks = damage(clean, kind, 2)
        for name, maps in maps_of(model, images, references, f"test, {kind}").items():
            way = {"blur": chosen[name]["blur"], "relative": chosen[name]["relative"]}
            row = {"defect": kind, "map": name, **way, "images": len(images)}
            rows.append(row | {"auroc": auroc(maps, masks, **way)})
            if kind == "patch":
                rows[-1]["validation"] = chosen[name]["validation"]
    return rows


def outliers_of(flags: argparse.Namespace, config, own: np.ndarray) -> dict[str, np.ndarray]:
    """Sets of images that the checkpoint should find unusual, by name."""
    found = {}
    if flags.changed:
        found = {"inverted": 255 - own, "turned by 90°": np.ascontiguousarray(np.rot90(own, 1, (1, 2)))}
    for dataset in flags.outliers:
        found[Path(dataset).name] = images_of(dataset, config, "test", len(own))
    return found


def judge(model, images: np.ndarray, label: str) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for start in tqdm(range(0, len(images), BATCH), desc=label):
        found = image_scores(model, as_values(images[start : start + BATCH]), tuple(SHAKES))
        for name, each in found.items():
            scores[name] = scores.get(name, []) + each
    return scores


def separate(model, flags: argparse.Namespace) -> list[dict]:
    """AUROC of each score of whole images, own test images against outliers; below 0.5 the score is misled."""
    own = images_of(flags.dataset_name, model.config, "test", flags.limit)
    known, rows = judge(model, own, "own images"), []
    for name, images in outliers_of(flags, model.config, own).items():
        found = judge(model, images, name)
        label = np.repeat([0, 1], [len(own), len(images)])
        row = {"outliers": name, "images": len(own)}
        rows.append(row | {score: float(roc_auc_score(label, known[score] + found[score])) for score in known})
    return rows


def report() -> None:
    """Write the tables of docs/ANOMALY.md between its marks."""
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("anomaly-*.json"))]
    names = [*MAPS, "nearest training image", "Gaussian per pixel"]
    places, pairs = [], []
    for one in found:
        for kind in dict.fromkeys(row["defect"] for row in one["localisation"]):
            rows = {row["map"]: row for row in one["localisation"] if row["defect"] == kind}
            count = rows["nats"]["images"]
            places.append([f"`{one['checkpoint']}`", kind, count, *(f"{rows[name]['auroc']:.3f}" for name in names)])
        for row in one["scores"]:
            scores = [f"{row[name]:.3f}" for name in ("plain", "corrected", *SHAKES)]
            pairs.append([f"`{one['checkpoint']}`", row["outliers"], row["images"], *scores])
    columns = ["checkpoint", "defect", "images", *(f"map `{name}`" for name in MAPS), *names[len(MAPS) :]]
    tables = [markdown(make_table([(title, 0) for title in columns], places))]
    columns = ["own images of", "against", "images", "plain", "corrected", *SHAKES]
    tables.append(markdown(make_table([(title, 0) for title in columns], pairs)))
    commands = [f"`{one['command']}`, on {one['machine']}." for one in found]
    page = PAGE.read_text()
    text = "\n\n".join([tables[0], tables[1], *commands])
    PAGE.write_text(f"{page.split(START)[0]}{START}\n\n{text}\n\n{END}{page.split(END)[1]}")
    print(f"wrote {PAGE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="checkpoint folder or Hub id")
    parser.add_argument("--dataset_name", help="dataset or folder that the checkpoint was trained on")
    parser.add_argument("--limit", type=int, default=100, help="images of each kind")
    parser.add_argument("--defects", nargs="*", choices=DEFECTS, default=[], help="kinds to localise")
    parser.add_argument("--outliers", nargs="*", default=[], help="other datasets")
    parser.add_argument("--changed", action="store_true", help="also inverted and turned images as outliers")
    parser.add_argument("--output", help="name of the result, beginning with anomaly-")
    parser.add_argument("--report", action="store_true", help="write docs/ANOMALY.md")
    flags = parser.parse_args()
    if flags.report:
        report()
        return
    model = PixelTransformerModel.from_pretrained(flags.checkpoint).eval()
    given = {"checkpoint": flags.checkpoint, "dataset_name": f"data/{Path(flags.dataset_name).name}"}
    given |= {"limit": flags.limit, "defects": " ".join(flags.defects)}
    given["outliers"] = " ".join(f"data/{Path(name).name}" for name in flags.outliers)
    words = [f"--{name} {value}" for name, value in given.items() if value]
    command = " ".join(["python -m benchmarks.anomaly", *words, *["--changed"] * flags.changed])
    results: dict = {"checkpoint": Path(flags.checkpoint).name, "localisation": [], "scores": []}
    if flags.defects:
        results["localisation"] = localise(model, flags)
    if flags.outliers or flags.changed:
        results["scores"] = separate(model, flags)
    write(flags.output, results, f"{command} --output {flags.output}")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
