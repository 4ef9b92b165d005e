"""The app's API: each action as a named endpoint with typed arguments; the observed set travels as JSON arrays."""

import inspect
import math
from collections.abc import Iterator
from typing import Any

import gradio as gr

from demo import field_actions, image_actions, models, polynomial_actions, shape_actions, video_actions
from demo.answers import Sampling, entropies, marginal
from demo.density import summary
from demo.files import keep
from demo.guard import guarded, on_gpu
from demo.limits import LIVE, MAX_QUERIES, SLOW, SMALL
from demo.observed import AXES, Observed, ObservedLists, read_observed
from demo.pictures import picture_url, show_uncertainty
from demo.turns import alone, before_drawings, once
from pixeltransformer.checks import read_positions
from pixeltransformer.grids import centres

SCANS = ("random",)  # which points of a point cloud can be observed


def observed_for(checkpoint: str, observed: Any, signal: str | None = None) -> Observed:
    """The observed set checked against a checkpoint's configuration."""
    return read_observed(observed, models.config_of(checkpoint, signal))


def _sampling(samples: int, steps: int, *rest: Any) -> Sampling:
    return Sampling(samples, None if steps == 0 else steps, *rest)


@guarded
@on_gpu
def predict(checkpoint: str, observed: ObservedLists, queries: list[list[float]]) -> dict[str, list]:
    """Mean, standard deviation and entropy of a signal of any kind at any positions, given observed ones.

    Args:
        checkpoint: Name of a checkpoint: cat-faces, cifar10, mnist, polynomial, chairs or moving-mnist.
        observed: {"positions": [[...], ...], "values": [[...], ...]}; positions lie in [-1, 1]: (x, y) of an image,
            (x) of a polynomial, (x, y, z) of a shape, (t, x, y) of a video; values of images and videos in [0, 1].
            Here and below also "scales": [...], one a position, for values that are averages around it, with a
            checkpoint that knows them: log2 of the side of the square over a pixel's, from 0 to num_scales - 1.
        queries: Positions that are asked about, at most 65,536.

    Returns:
        "mean" and "deviation", one list of channels a query, and "entropy" in nats, one number a query: exact for grey
        levels, otherwise estimated from 256 draws a query, or fewer (at least 8) for more than 256 queries.
    """
    config = models.config_of(checkpoint)
    positions = read_positions(config, queries, "queries", f"({AXES.get(config.signal, 'x')})", MAX_QUERIES)
    if not len(positions):
        raise ValueError("queries: expected at least one position, got none")
    found = marginal(checkpoint, observed_for(checkpoint, observed), positions)
    return {"mean": found.mean.tolist(), "deviation": found.stddev.tolist(), "entropy": entropies(found).tolist()}


@guarded
@on_gpu
def distribution(checkpoint: str, observed: ObservedLists, position: list[float]) -> dict[str, Any]:
    """The full distribution of a signal's value at one position, for any kind of signal.

    Args:
        checkpoint: Name of a checkpoint.
        observed: {"positions": [[...], ...], "values": [[...], ...]}.
        position: Its coordinates, numbers in [-1, 1].

    Returns:
        "bins" with their "probabilities", "mean", "deviation", "mode", and "entropy" in nats.
    """
    config = models.config_of(checkpoint)
    at = read_positions(config, [position], "position", f"({AXES.get(config.signal, 'x')})")
    return summary(marginal(checkpoint, observed_for(checkpoint, observed), at)[0])


@guarded
@on_gpu
def infer_image(checkpoint: str, observed: ObservedLists, resolution: int = 0) -> dict[str, Any]:
    """Mean image and standard deviation of every pixel from a few observed pixels.

    Args:
        checkpoint: cat-faces, cifar10 or mnist.
        observed: {"positions": [[x, y], ...], "values": [[red, green, blue] or [grey], ...]}.
        resolution: Pixels along the longer side, 16 to 256; 0: as in training.

    Returns:
        "mean" and "deviation" as nested lists (y, x, channels), "mean_picture" and "deviation_picture" as data URLs.
    """
    known = observed_for(checkpoint, observed, "image")
    found = image_actions.infer(checkpoint, known, resolution)
    top = image_actions.UNCERTAIN[found.mean.shape[-1]]
    return {
        "mean": found.mean.tolist(),
        "deviation": found.deviation.tolist(),
        "mean_picture": picture_url(found.mean, lossless=True),
        "deviation_picture": picture_url(show_uncertainty(found.deviation, top), lossless=True),
    }


@guarded
@on_gpu
def sample_image(
    checkpoint: str,
    observed: ObservedLists,
    resolution: int = 0,
    samples: int = 1,
    steps: int = 0,
    temperature: float = 0.9,
    seed: int = 0,
    order: str = "spread",
) -> Iterator[dict[str, Any]]:
    """Whole images that agree with the observed pixels, sent while they are drawn.

    Args:
        checkpoint: cat-faces, cifar10 or mnist.
        observed: {"positions": [[x, y], ...], "values": [[...], ...]}.
        resolution: Pixels along the longer side, 16 to 256; 0: as in training.
        samples: How many, 1 to 6.
        steps: Passes to spend, 1 to 2048; 0: exact, as many as it takes. Above 64 × 64 pixels 0 means 64 passes, at
            most 4,096 pixels are drawn, and the others are their mean given these.
        temperature: 0 to 2; 1 is the model's own distribution.
        seed: The same seed gives the same samples.
        order: spread, random, raster, or, with a checkpoint that knows averages (num_scales above 1 in its config),
            coarse-to-fine: the averages over large squares first, shown as squares while the samples are drawn.

    Returns:
        "pictures" as data URLs, "share" of the work that is done; the last message has share 1.
    """
    known, chosen = observed_for(checkpoint, observed, "image"), _sampling(samples, steps, temperature, seed, order)
    grid = image_actions.output_grid(checkpoint, resolution)
    work = image_actions.draw(checkpoint, known, resolution, chosen)
    for partial in alone(work, math.prod(grid) <= SMALL):
        urls = [picture_url(picture, lossless=True) for picture in partial.values]
        yield {"pictures": urls, "share": partial.share}


@guarded
@on_gpu
def most_uncertain_pixel(checkpoint: str, observed: ObservedLists) -> dict[str, Any]:
    """The pixel whose value is least known.

    Args:
        checkpoint: cat-faces, cifar10 or mnist.
        observed: {"positions": [[x, y], ...], "values": [[...], ...]}.

    Returns:
        Its "position" [x, y], "column" and "row" from 0, and "entropy" in nats.
    """
    cell, entropy = image_actions.best_next(checkpoint, observed_for(checkpoint, observed, "image"))
    width, height = models.config_of(checkpoint).native_grid
    column, row = cell % width, cell // width
    position = [centres(column, width), centres(row, height)]
    return {"position": position, "column": column, "row": row, "entropy": entropy}


@guarded
@on_gpu
def infer_polynomial(checkpoint: str, observed: ObservedLists) -> dict[str, Any]:
    """Mean and standard deviation of a polynomial on [-1, 1], and the exact posterior's, which counts values as known
    to four decimals.

    Args:
        checkpoint: polynomial.
        observed: {"positions": [[x], ...], "values": [[y], ...]}.

    Returns:
        Lists "x", "mean", "deviation", "exact_mean", "exact_deviation".
    """
    found = polynomial_actions.curves(checkpoint, observed_for(checkpoint, observed, "polynomial"), None)
    return {key: found[key] for key in ("x", "mean", "deviation", "exact_mean", "exact_deviation")}


@guarded
@on_gpu
def sample_polynomial(
    checkpoint: str, observed: ObservedLists, samples: int = 1, temperature: float = 1.0, seed: int = 0
) -> dict[str, Any]:
    """Whole curves through the observed points.

    Args:
        checkpoint: polynomial.
        observed: {"positions": [[x], ...], "values": [[y], ...]}.
        samples: How many, 1 to 6.
        temperature: 0 to 2.
        seed: The same seed gives the same curves.

    Returns:
        "x", and "samples": a list of values for each.
    """
    chosen = Sampling(samples, None, temperature, seed)
    known = observed_for(checkpoint, observed, "polynomial")
    x, values = next(alone(once(lambda: polynomial_actions.sampled(checkpoint, known, chosen)), True))
    return {"x": x, "samples": values}


def _file(data: bytes, name: str) -> dict[str, Any]:
    return {"path": keep(data, name), "orig_name": name, "meta": {"_type": "gradio.FileData"}}


@guarded
@on_gpu
def infer_shape(checkpoint: str, observed: ObservedLists, resolution: int = 32) -> dict[str, Any]:
    """The likely surface of a 3D shape from signed distances at a few points: it encloses the cells that probably
    overlap most with the shape.

    Args:
        checkpoint: chairs.
        observed: {"positions": [[x, y, z], ...], "values": [[distance], ...]}, distances negative inside.
        resolution: Cells along each axis, 12 to 64.

    Returns:
        "surface": a GLB file, bright where the distance is uncertain; null where there is no surface.
    """
    surface = shape_actions.likely_surface(checkpoint, observed_for(checkpoint, observed, "shape"), resolution)
    return {"surface": None if surface is None else _file(shape_actions.glb(surface), "likely.glb")}


@guarded
@on_gpu
def sample_shape(
    checkpoint: str,
    observed: ObservedLists,
    resolution: int = 32,
    samples: int = 1,
    steps: int = 96,
    temperature: float = 0.7,
    seed: int = 0,
) -> dict[str, Any]:
    """Whole shapes that agree with the observed distances.

    Args:
        checkpoint: chairs.
        observed: {"positions": [[x, y, z], ...], "values": [[distance], ...]}.
        resolution: Cells along each axis, 12 to 64.
        samples: How many, 1 to 6.
        steps: Passes to spend, 1 to 2048; 0: 64.
        temperature: 0 to 2.
        seed: The same seed gives the same shapes.

    Returns:
        "surfaces": GLB files, null for a sample without a surface.
    """
    known, chosen = observed_for(checkpoint, observed, "shape"), _sampling(samples, steps, temperature, seed)
    *_, surfaces = alone(shape_actions.sampled_surfaces(checkpoint, known, resolution, chosen), False)
    found = [
        None if each is None else _file(shape_actions.glb(each), f"sample-{n}.glb")
        for n, each in enumerate(surfaces, 1)
    ]
    return {"surfaces": found}


@guarded
@on_gpu
def infer_video(checkpoint: str, observed: ObservedLists) -> dict[str, Any]:
    """The mean clip from a few positions in space and time.

    Args:
        checkpoint: moving-mnist.
        observed: {"positions": [[t, x, y], ...], "values": [[...], ...]}.

    Returns:
        "mean": nested lists (frames, y, x, channels).
    """
    return {"mean": video_actions.mean_clip(checkpoint, observed_for(checkpoint, observed, "video")).tolist()}


@guarded
@on_gpu
def sample_video(
    checkpoint: str, observed: ObservedLists, steps: int = 96, temperature: float = 0.8, seed: int = 0
) -> dict[str, Any]:
    """A whole clip that agrees with the observed positions.

    Args:
        checkpoint: moving-mnist.
        observed: {"positions": [[t, x, y], ...], "values": [[...], ...]}.
        steps: Passes to spend, 1 to 2048; 0: 64.
        temperature: 0 to 2.
        seed: The same seed gives the same clip.

    Returns:
        "sample": nested lists (frames, y, x, 3).
    """
    chosen, known = _sampling(1, steps, temperature, seed), observed_for(checkpoint, observed, "video")
    for values, _ in alone(video_actions.sampled_clip(checkpoint, known, chosen), False):
        last = values
    return {"sample": last.tolist()}


@guarded
@on_gpu
def complete_digit(ink: str, known: str, seed: int = 0) -> Iterator[list[dict[str, Any]]]:
    """A binary digit of 28×28 pixels, completed by every autoregressive model of the field; sent as they answer.

    Args:
        ink: 784 digits, row by row: 1 where there is ink, 0 elsewhere.
        known: 784 digits: 1 where a pixel is observed, 0 where it is hidden.
        seed: The same seed gives the same samples.

    Returns:
        One object a model: "model"; "refusal", why it cannot complete this digit, or null; "bits", -log2 of the
        probability of what is hidden; "sample" and "probabilities" (of ink), 784 numbers each; "seconds" for all its
        "samples"; "estimated", whether the probabilities are averages over these; "levels", the grey levels it knows;
        "late", whether it refused because other models took all the time.
    """
    answers = []
    for found in alone(field_actions.ask_all(field_actions.Task.read(ink, known), seed), small=False):
        parts = {name: None if part is None else part.tolist() for name, part in found.tensors().items()}
        answers.append({**vars(found), **parts})
        yield answers


QUICK = (predict, distribution, infer_image, most_uncertain_pixel, infer_polynomial, infer_shape, infer_video)
DRAWING = (sample_image, sample_polynomial, sample_shape, sample_video, complete_digit)


def one_line_each(text: str) -> str:
    """A docstring with each argument on one line: Gradio gives only this line to those who read about the argument, and
    takes a colon in the next one for the end of another argument's name."""
    lines: list[str] = []
    for line in inspect.cleandoc(text).split("\n"):
        if line.startswith(" " * 8):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines)


def build() -> None:
    """Register the endpoints inside a `gr.Blocks`, those that take a file with components that take it."""
    for function in QUICK + DRAWING:
        function.__doc__ = one_line_each(function.__doc__)
    for function in QUICK:
        gr.api(before_drawings(function), api_name=function.__name__, **LIVE)
    for function in DRAWING:
        gr.api(function, api_name=function.__name__, **SLOW)

    @guarded
    def reveal_picture(checkpoint, picture, count, pattern, seed):
        """Pixels of a picture as an observed set: positions and values."""
        return image_actions.reveal(checkpoint, picture, count, pattern, seed).to_json()

    @guarded
    def observe_mesh(checkpoint, mesh, count, where, seed):
        """Signed distances of a watertight mesh at points in space, near or on its surface or anywhere, as an observed
        set: positions and values."""
        return shape_actions.observe(shape_actions.read_shape(mesh, checkpoint), count, where, seed).to_json()

    @guarded
    def observe_point_cloud(checkpoint, cloud, count, pattern, seed):
        """Points of a point cloud (PLY, XYZ, OBJ, …), or samples of a mesh's triangles, as an observed set: positions,
        moved and scaled so that their longest side is from -0.9 to 0.9, and distances of 0."""
        if pattern not in SCANS:
            raise ValueError(f"pattern: expected one of {', '.join(SCANS)}, got {str(pattern)[:40]!r}")
        return shape_actions.observe_scan(shape_actions.read_scan(cloud, checkpoint), count, seed).to_json()

    @guarded
    def reveal_video(checkpoint, video, count, pattern, seed):
        """Some values of a video as an observed set: positions and values."""
        return video_actions.observe(video_actions.read_video(video, checkpoint), count, pattern, seed).to_json()

    for function, signal, label, choices in (
        (reveal_picture, "image", "picture", image_actions.PATTERNS),
        (observe_mesh, "shape", "mesh", shape_actions.WHERE),
        (observe_point_cloud, "shape", "cloud", SCANS),
        (reveal_video, "video", "video", video_actions.PATTERNS),
    ):
        names = models.names(signal)
        if not names:
            continue
        inputs = [
            gr.Dropdown(names, value=names[0], label="checkpoint", visible=False, allow_custom_value=True),
            gr.File(label=label, visible=False),
            gr.Number(64, label="count", visible=False),
            gr.Dropdown(list(choices), value=choices[0], label="pattern", visible=False, allow_custom_value=True),
            gr.Number(0, label="seed", visible=False),
        ]
        trigger = gr.Button(visible=False)
        observed = gr.JSON(visible=False, label="observed")
        trigger.click(before_drawings(function), inputs, observed, api_name=function.__name__, **LIVE)
