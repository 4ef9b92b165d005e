"""The image tab: dab pixels on a sketchpad or reveal some of a picture; see the mean, its uncertainty, and samples."""

from collections.abc import Iterator
from functools import partial

import gradio as gr
import torch
from PIL import Image

from demo import examples
from demo.models import load
from demo.observations import Observed, from_sketch, read_picture, reveal
from demo.pictures import enlarge, show_observed, show_partial, show_uncertainty

CANVAS = 336
MAX_SAMPLES = 6
COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
FRAMES = 24  # partial pictures shown while samples are drawn
PALETTE = ["#ffffff", "#c0c0c0", "#808080", "#404040", "#000000", "#e8b878", "#c8742c", "#6b4423", "#e79a9a", "#8fae5a"]
PALETTE += ["#4f7fb5", "#d9443f"]


def infer(place: str, observed: Observed) -> tuple[Image.Image, Image.Image, Image.Image, str]:
    """Observed pixels, mean image and uncertainty map as pictures, and a line that says what is seen."""
    model = load(place)
    width, height = observed.grid
    if len(observed) == width * height:
        raise ValueError("sketch: expected at least one pixel to be left for the model, got all of them")
    marginal = model.predict(*observed.context, observed.queries)
    mean, deviation = observed.complete(marginal.mean[0]), observed.complete(marginal.stddev[0], 0.0)
    line = f"**{len(observed)}** of {width * height} pixels observed · mean standard deviation {deviation.mean():.3f}"
    return show_observed(observed), enlarge(mean), show_uncertainty(deviation), line


def draw(place: str, observed: Observed, number: int, steps: int, temperature: float, seed: int) -> Iterator[list]:
    """Samples while they are drawn: lists of pictures."""
    model = load(place)
    if seed is None or int(seed) < 0:
        raise ValueError(f"seed: expected an integer of at least 0, got {seed}")
    states = model.sample_iter(
        *observed.context,
        observed.queries,
        num_samples=int(number),
        num_steps=int(steps),
        temperature=float(temperature),
        generator=torch.Generator().manual_seed(int(seed)),
    )
    for state in states:
        due = max(1, state.num_steps // FRAMES)
        if state.step % due == 0 or state.step == state.num_steps:
            pairs = zip(state.values[:, 0], state.drawn[:, 0], strict=True)
            yield [show_partial(value, drawn, observed) for value, drawn in pairs]


def grid_of(place: str) -> tuple[list[int], int]:
    """Native grid and channels of a checkpoint."""
    config = load(place).config
    return config.native_grid, config.value_dim


def sketched(place: str, editor: dict | None) -> Observed:
    """What is dabbed on the sketchpad."""
    return from_sketch(editor, *grid_of(place))


def revealed(place: str, picture: Image.Image | None, count: int, seed: int) -> Observed:
    """`count` random pixels of a picture."""
    return reveal(read_picture(picture, *grid_of(place)), int(count), int(seed))


def guarded(function):
    """Turn a wrong input's `ValueError` into a message in the page."""

    def run(*arguments):
        try:
            result = function(*arguments)
            if isinstance(result, Iterator):
                yield from result
            else:
                yield result
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return run


def build(places: dict[str, str]) -> None:
    """Lay out the tab inside a `gr.Blocks`; `places` maps the names of checkpoints to where they are."""
    if not places:
        gr.Markdown("There is no checkpoint for images: train one, or name one with `--checkpoint`.")
        return
    names = list(places)
    gr.Markdown(
        "Give the model a few pixels; it tells what it expects everywhere else, how sure it is, and draws whole "
        "images that agree with what you gave."
    )
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            checkpoint = gr.Dropdown(
                [(name, places[name]) for name in names],
                value=places[names[0]],
                label="Checkpoint",
                visible=len(names) > 1,
                elem_id="checkpoint",
            )
            with gr.Tabs():
                with gr.Tab("Paint", id="paint"):
                    gr.Markdown("Dab pixels with the brush, in any colour; the eraser takes them back.")
                    pad = gr.ImageEditor(
                        value=Image.new("RGB", (CANVAS, CANVAS), (52, 58, 74)),
                        label="Sketchpad",
                        brush=gr.Brush(
                            default_size=14, colors=PALETTE, default_color=PALETTE[0], color_mode="defaults"
                        ),
                        eraser=gr.Eraser(default_size=20),
                        sources=(),
                        transforms=(),
                        layers=False,
                        canvas_size=(CANVAS, CANVAS),
                        fixed_canvas=True,
                        height=CANVAS + 110,
                        format="png",
                        elem_id="sketchpad",
                    )
                    draw_sketch = gr.Button("Draw samples", variant="primary", elem_id="draw-sketch")
                with gr.Tab("Reveal", id="reveal"):
                    picture = gr.Image(type="pil", label="Picture", height=260, image_mode=None, elem_id="picture")
                    pictures = [examples.cat(), *[examples.digit(number) for number in examples.STROKES]]
                    gr.Examples([[example] for example in pictures], [picture])
                    count = gr.Radio(COUNTS, value=64, label="Pixels to reveal")
                    place_seed = gr.Slider(0, 99, value=0, step=1, label="Which pixels")
                    draw_picture = gr.Button("Draw samples", variant="primary", elem_id="draw-picture")
            with gr.Accordion("Sampling", open=False):
                number = gr.Slider(1, MAX_SAMPLES, value=4, step=1, label="Samples")
                steps = gr.Slider(
                    1, 1024, value=196, step=1, label="Steps", info="As many steps as pixels is exact; fewer is faster."
                )
                temperature = gr.Slider(0.0, 1.2, value=0.9, step=0.05, label="Temperature")
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31)
        with gr.Column(scale=6, min_width=320):
            status = gr.Markdown("Dab some pixels to begin.", elem_id="status")
            with gr.Row():
                look = dict(type="pil", interactive=False, format="png", min_width=150, buttons=["download"])
                seen = gr.Image(label="Observed", alt_text="Observed pixels", elem_id="observed", **look)
                mean = gr.Image(label="Mean", alt_text="Mean image", elem_id="mean", **look)
                doubt = gr.Image(
                    label="Uncertainty",
                    alt_text="Standard deviation of each pixel, 0 black to 0.5 bright",
                    elem_id="uncertainty",
                    **look,
                )
            gallery = gr.Gallery(
                label="Joint samples", columns=4, object_fit="contain", height=230, elem_id="samples", format="png"
            )
    shown = [seen, mean, doubt, status]
    sampling = [number, steps, temperature, seed]
    by_sketch, by_picture = [checkpoint, pad], [checkpoint, picture, count, place_seed]

    @guarded
    def infer_sketch(place, editor):
        return infer(place, sketched(place, editor))

    @guarded
    def infer_picture(place, image, count, which):
        return infer(place, revealed(place, image, count, which))

    @guarded
    def draw_from_sketch(place, editor, *rest):
        return draw(place, sketched(place, editor), *rest)

    @guarded
    def draw_from_picture(place, image, count, which, *rest):
        return draw(place, revealed(place, image, count, which), *rest)

    # Both cores work on one request: all events share one place at the model, others wait their turn.
    shared = {"concurrency_id": "model", "concurrency_limit": 1}
    quiet = partial(dict, show_progress="hidden", trigger_mode="always_last", **shared)
    pad.change(infer_sketch, by_sketch, shown, api_name="infer_sketch", **quiet())
    for source in (picture, count, place_seed):
        source.change(infer_if_any(infer_picture), by_picture, shown, api_visibility="private", **quiet())
    draw_sketch.click(
        draw_from_sketch, by_sketch + sampling, gallery, api_name="sample_sketch", show_progress="minimal", **shared
    )
    draw_picture.click(
        draw_from_picture, by_picture + sampling, gallery, api_name="sample_picture", show_progress="minimal", **shared
    )


def infer_if_any(function):
    """Skip the update while no picture is chosen (a moved slider is no mistake)."""

    def run(place, image, *rest):
        if image is None:
            yield (gr.skip(),) * 4
        else:
            yield from function(place, image, *rest)

    return run
