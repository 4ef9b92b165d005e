"""Show what is unusual in images, under the likelihood of a checkpoint.

    python -m applications.anomaly --checkpoint checkpoints/mnist images/ --output report/

Each image is cropped and resized to the checkpoint's native grid. docs/ANOMALY.md explains maps and scores.
"""

import argparse
import os
import sys
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from applications.anomaly.report import Judged, write_report
from applications.anomaly.scores import SHAKES, image_scores, read_images
from applications.anomaly.surprise import MAPS, Style, Windows, surprise
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.image import endings

FILES_AT_A_TIME = 32


def find_images(paths: list[Path]) -> list[tuple[str, Path]]:
    """Image files among paths and below folders, named by their paths below the folder that all inputs share."""
    shared = os.path.commonpath([os.path.abspath(path if path.is_dir() else path.parent) for path in paths])
    found: dict[str, Path] = {}
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in endings() and file.is_file()]
        found |= {Path(os.path.relpath(file, shared)).as_posix(): file for file in inside}
    if not found:
        raise ValueError(f"inputs: expected image files or folders of them, got none in {', '.join(map(str, paths))}")
    return list(found.items())


def open_images(files: list[tuple[str, Path]]) -> list[Image.Image]:
    images = []
    for _, path in files:
        try:
            images.append(Image.open(path))
            images[-1].load()
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"{path}: expected an image file, cannot read this one: {error}") from error
    return images


def chosen(flags: argparse.Namespace, default: Style) -> Style:
    """The style that the flags ask for; what they leave open is the checkpoint's."""
    own = default.windows
    grids = min(own.grids, flags.core or own.core) if flags.grids is None else flags.grids
    asked = (flags.core, flags.window, flags.distance, grids)
    sides = [usual if side is None else side for side, usual in zip(asked, astuple(own), strict=True)]
    blur = default.smooth if flags.smooth is None else flags.smooth
    doubts = default.doubts if flags.doubt is None else tuple(flags.doubt)
    return Style(flags.map or default.map, blur, Windows(*sides), doubts)


def judge(model, files: list[tuple[str, Path]], flags: argparse.Namespace, style: Style, progress) -> list[Judged]:
    """Maps and scores of some image files."""
    config = model.config
    values = read_images(open_images(files), config)
    maps = style.shown(surprise(model, values, style.windows, style.doubts, progress))
    scores = {"map_mean": maps.mean((1, 2)).tolist(), "map_max": maps.amax((1, 2)).tolist()}
    if not flags.maps_only:
        scores |= image_scores(model, values, tuple(flags.shake))
    each = ({name: score[number] for name, score in scores.items()} for number in range(len(files)))
    return [Judged(name, *one) for (name, _), *one in zip(files, values, maps, each, strict=True)]


def _advance(bar: tqdm, images: int, share: float) -> None:
    bar.update(images * share)


def run(flags: argparse.Namespace) -> None:
    files = find_images(flags.inputs)
    try:
        model = PixelTransformerModel.from_pretrained(flags.checkpoint).eval()
    except (OSError, ValueError) as error:
        raise ValueError(f"--checkpoint: cannot load {flags.checkpoint!r}: {error}") from error
    style, judged = chosen(flags, Style.of(model.config)), []
    with tqdm(total=len(files), unit="image", bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}]") as bar:
        for start in range(0, len(files), FILES_AT_A_TIME):
            part = files[start : start + FILES_AT_A_TIME]
            each_image = partial(_advance, bar, len(part))
            judged += judge(model, part, flags, style, each_image)
    paths = write_report(judged, flags.output, {"checkpoint": flags.checkpoint, **asdict(style)})
    print(f"{flags.output}: {len(judged)} images, scores in " + " and ".join(path.name for path in paths))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("applications.anomaly", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("inputs", nargs="+", type=Path, help="image files and folders of them")
    parser.add_argument("--checkpoint", required=True, help="checkpoint folder or Hub id")
    parser.add_argument("--output", type=Path, required=True, help="folder for the report")
    parser.add_argument("--map", choices=MAPS, help="what the map shows; defaults here and below: by the checkpoint")
    parser.add_argument("--smooth", type=float, help="std of a Gaussian blur, in pixels")
    parser.add_argument("--core", type=int, help="side of what is scored at a time")
    parser.add_argument("--window", type=int, help="side of what is hidden around it")
    parser.add_argument("--distance", type=int, help="between two windows")
    parser.add_argument("--grids", type=int, help="how often each pixel is scored, with windows elsewhere each time")
    parser.add_argument("--doubt", type=float, nargs="*", help="shares of pixels to doubt")
    parser.add_argument("--shake", nargs="*", choices=SHAKES, default=["turned"], help="scores by shaken versions")
    parser.add_argument("--maps_only", action="store_true", help="leave out likelihoods of whole images")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    flags = parse(argv)
    try:
        with torch.no_grad():
            run(flags)
    except (ValueError, OSError) as error:
        sys.exit(f"applications.anomaly: {error}")


if __name__ == "__main__":
    main()
