"""The image tab: paint pixels or uncover some of a picture; see mean, uncertainty, samples, one pixel's value."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import gradio as gr
import torch
from PIL import Image

from demo import examples, models, share
from demo.answers import ORDERS, Sampling
from demo.density import density_svg
from demo.files import keep
from demo.grids import observe_cells
from demo.guard import guarded, on_gpu
from demo.image_actions import (
    PATTERNS,
    UNCERTAIN,
    Partial,
    ask,
    best_next,
    draw,
    drawing_files,
    infer,
    output_grid,
    refit,
    reveal,
)
from demo.limits import LIVE, MAX_RESOLUTION, MAX_SAMPLES, MAX_STEPS, MIN_RESOLUTION, SLOW
from demo.observed import Observed, nothing, read_observed
from demo.pictures import picture_url, read_picture, show_uncertainty
from demo.share_panel import SharePanel
from demo.tab import Tab, is_quick
from demo.widgets.log_slider import LogSlider
from demo.widgets.pad import Pad, pad_value, read_pad, to_hex
from demo.widgets.tiles import Tiles, tile

NAME = "image"
INTRO = (
    "**Paint a few pixels, or uncover some of a picture.** The model answers with what it expects everywhere else, how "
    "sure it is of every pixel, and whole images that agree with what you gave."
)
START = "Draw samples: whole images that agree with your pixels."
ORDER = ORDERS[0]  # in which a checkpoint that knows averages draws, unless the visitor chooses


def marginal_tiles(checkpoint: str, observed: Observed, resolution: int, truth: Image.Image | None) -> list[dict]:
    """Mean, uncertainty and, where there is one, the true picture."""
    config = models.config_of(checkpoint, NAME)
    found = infer(checkpoint, observed, resolution)
    top = UNCERTAIN[config.value_dim]
    grid = output_grid(checkpoint, resolution)
    size = f"{grid[0]} × {grid[1]} pixels"
    known = f"{len(observed):,} observed"
    tiles = [
        tile("Mean", picture_url(found.mean), f"Mean image, {size}, {known}", known),
        tile(
            "Uncertainty",
            picture_url(show_uncertainty(found.deviation, top)),
            f"Standard deviation of every pixel, {found.deviation.mean():.3f} on average",
            f"black 0, bright {top}",
        ),
    ]
    if truth is not None:
        values = read_picture(truth, grid, config.value_dim)
        tiles.append(tile("Truth", picture_url(values), "The true picture", pickable=False))
    return tiles


def sample_tiles(pictures: list, share: float) -> list[dict]:
    """Samples while they are drawn."""
    note = "" if share >= 1 else f"{share:.0%}"
    return [
        tile(f"Sample {number}", picture_url(picture), f"Sample {number}, {share:.0%} drawn", note)
        for number, picture in enumerate(pictures, 1)
    ]


def level_tiles(partials: Iterable[Partial], native: list[int]) -> list[dict]:
    """The first sample from coarse to fine: what was drawn of it at each scale; nothing where there was one alone."""
    tiles = []
    for partial in partials:
        if partial.level is None and not (tiles and partial.share >= 1):
            continue
        values = partial.values[0] if partial.level is None else partial.level[0]
        height, width = values.shape[:2]
        text = f"Sample 1 at {width} × {height} cells"
        if partial.level is not None:
            text += f", each the average of {native[0] // width} × {native[1] // height} pixels"
        tiles.append(tile(f"{width} × {height}", picture_url(values), text, pickable=False))
    return tiles


def order_for(config, wanted: str = ORDER) -> str:
    """The order that a checkpoint draws in: the one wanted where it knows averages."""
    return wanted if config.num_scales > 1 else ORDERS[0]


def order_update(config, wanted: str = ORDER) -> dict:
    """An update of the control of the order: there is none without averages."""
    return gr.update(value=order_for(config, wanted), visible=config.num_scales > 1)


def pad_update(observed: Observed, config, **properties: Any) -> dict:
    """An update of the pad to an observed set on a checkpoint's grid."""
    value, largest = pad_value(observed, config.native_grid), 2 ** (config.num_scales - 1)
    return gr.update(value=value, channels=config.value_dim, largest=largest, mark=-1, **properties)


def truth_pixels(truth: Image.Image | None, checkpoint: str) -> str:
    """The true picture on the pad's grid, for its reveal tool."""
    if truth is None:
        return ""
    config = models.config_of(checkpoint, NAME)
    return to_hex(read_picture(truth, config.native_grid, config.value_dim).flatten(0, 1))


def keep_small(path: str) -> Image.Image:
    """An uploaded picture, checked, cropped to a square and made no larger than any answer."""
    values = read_picture(path, [MAX_RESOLUTION, MAX_RESOLUTION], 3)
    return Image.fromarray((values * 255).round().byte().numpy())


@lru_cache(maxsize=32)
def example_answer(number: int) -> dict:
    """All that an example shows, computed when it is first clicked."""
    example = examples.images()[number]
    config = models.config_of(example.checkpoint, NAME)
    observed = (
        reveal(example.checkpoint, example.picture, example.count, example.pattern, 0)
        if example.picture is not None
        else read_observed(example.observed, config)
    )
    partials = list(draw(example.checkpoint, observed, None, Sampling(order=order_for(config))))
    frames = [partial.pictures() for partial in partials]
    still, moving = drawing_files(frames)
    return {
        "observed": observed,
        "tiles": marginal_tiles(example.checkpoint, observed, 0, example.picture),
        "samples": sample_tiles(frames[-1], 1.0),
        "levels": level_tiles(partials, config.native_grid),
        "files": (still, moving),
    }


def downloads(files: tuple[bytes, bytes]) -> list[dict]:
    """Updates of the two download buttons."""
    paths = [keep(data, name) for data, name in zip(files, ("samples.png", "drawing.gif"), strict=True)]
    return [gr.update(value=path, interactive=True) for path in paths]


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    names = models.names(NAME)
    if not names:
        gr.Markdown("There is no checkpoint for images: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    first = models.config_of(names[0])
    longest = max(first.native_grid)
    truth = gr.State(None)
    gr.Markdown(INTRO, elem_classes="pt-intro")
    strip = Tiles(
        [
            tile(each.name, picture_url(examples.thumbnail(number)), f"Example: {each.name}")
            for number, each in enumerate(examples.images())
            if each.checkpoint in names
        ],
        elem_id="image-examples",
        elem_classes="pt-strip",
    )
    with gr.Row(elem_classes="pt-main"):
        with gr.Column(scale=5, min_width=320):
            pad = Pad(
                pad_value(nothing(first), first.native_grid),
                channels=first.value_dim,
                largest=2 ** (first.num_scales - 1),
                label="Sketchpad",
                elem_id="pad",
            )
            with gr.Row(elem_classes="pt-buttons"):
                hint = gr.Button("Most informative pixel", elem_id="hint", size="sm", min_width=120)
                uncover = gr.Button("Reveal it", elem_id="uncover", size="sm", min_width=80, visible=False)
        with gr.Column(scale=7, min_width=320):
            tiles = Tiles(elem_id="marginals", elem_classes="pt-live", label="Mean and uncertainty")
            with gr.Row(elem_classes="pt-buttons"):
                go = gr.Button("Draw samples", variant="primary", elem_id="draw-image", size="sm", min_width=120)
                stop = gr.Button("Stop", elem_id="stop-image", size="sm", min_width=70)
                auto = gr.Checkbox(True, label="after each stroke", elem_id="auto", container=False, min_width=130)
            samples = Tiles(empty=START, elem_id="samples", elem_classes="pt-live", label="Samples")
            levels = Tiles(elem_id="levels", elem_classes="pt-live", label="From coarse to fine")
            density = gr.HTML(
                "<p class='pt-empty'>Click a pixel of the mean, the uncertainty or a sample: "
                "the distribution of its value shows here.</p>",
                elem_id="density",
            )
    with gr.Row(elem_classes="pt-settings"):
        with gr.Column(min_width=300), gr.Accordion("A picture of yours", open=True):
            upload = gr.File(label="Upload a picture", file_types=["image"], height=110, elem_id="upload")
            pattern = gr.Radio(list(PATTERNS), value=PATTERNS[0], label="Which pixels to reveal", elem_id="pattern")
            count = LogSlider(64, 1, longest * longest, "Random pixels to reveal", elem_id="count")
            which = gr.Slider(0, 99, value=0, step=1, label="Shuffle", elem_id="which")
        with gr.Column(min_width=300), gr.Accordion("Model and sampling", open=True):
            checkpoint = gr.Dropdown(names, value=names[0], label="Model", elem_id="checkpoint")
            resolution = gr.Slider(
                MIN_RESOLUTION, MAX_RESOLUTION, value=longest, step=1, label="Pixels a side", elem_id="resolution"
            )
            number = gr.Slider(1, MAX_SAMPLES, value=4, step=1, label="Samples", elem_id="number")
            steps = gr.Slider(
                1, MAX_STEPS, value=128, step=1, label="Steps", info="As many as pixels is exact; fewer is faster."
            )
            order = gr.Radio(
                [(name.replace("-", " "), name) for name in ORDERS],
                value=order_for(first),
                label="Order",
                info="Coarse to fine: averages over large squares first, then over ever smaller ones.",
                visible=first.num_scales > 1,
                elem_id="order",
            )
            temperature = gr.Slider(0.0, 1.5, value=0.9, step=0.05, label="Temperature")
            seed = gr.Number(0, label="Seed", precision=0)
        with gr.Column(min_width=300):
            with gr.Accordion("Keep", open=True):
                still = gr.DownloadButton("Samples (PNG)", interactive=False, elem_id="save-png", size="sm")
                moving = gr.DownloadButton(
                    "How they were drawn (GIF)", interactive=False, elem_id="save-gif", size="sm"
                )
            panel = SharePanel(NAME)
    asked = [checkpoint, pad, resolution]
    sampling = [number, steps, temperature, seed, order]

    def observed_of(place: str, sketch: dict | None) -> Observed:
        config = models.config_of(place, NAME)
        return nothing(config) if sketch is None else read_pad(sketch, config.value_dim)

    @guarded
    @on_gpu
    def live(place, sketch, side, picture):
        return marginal_tiles(place, observed_of(place, sketch), side, picture)

    @guarded
    @on_gpu
    def run(place, sketch, side, number, steps, temperature, seed, order) -> Iterator:
        frames, told = [], []
        chosen = Sampling(number, steps, temperature, 0 if seed is None else seed, order)
        native = models.config_of(place, NAME).native_grid
        for partial in draw(place, observed_of(place, sketch), side, chosen):
            frames.append(partial.pictures())
            if partial.level is not None or partial.share >= 1:
                told.append(partial)
            tiles = sample_tiles(frames[-1], partial.share)
            yield tiles, level_tiles(told, native), gr.skip(), gr.skip()
        yield gr.skip(), gr.skip(), *downloads(drawing_files(frames))

    @guarded
    def run_if(wanted, *arguments) -> Iterator:
        if wanted:
            yield from run(*arguments)
        else:
            yield (gr.skip(),) * 4

    @guarded
    @on_gpu
    def tell(place, sketch, event: gr.EventData):
        x, y = event.x, event.y
        found = ask(place, observed_of(place, sketch), [x, y])
        return density_svg(found, f"Pixel at ({x:.2f}, {y:.2f})"), gr.update(mark=[x, y]), gr.update(mark=[x, y])

    @guarded
    @on_gpu
    def suggest(place, sketch):
        observed = observed_of(place, sketch)
        cell, _ = best_next(place, observed)
        width, height = models.config_of(place, NAME).native_grid
        column, row = cell % width, cell // width
        at = [(column + 0.5) * 2 / width - 1, (row + 0.5) * 2 / height - 1]
        drawing = density_svg(ask(place, observed, at), f"Most informative: column {column + 1}, row {row + 1}")
        return gr.update(mark=cell), drawing, gr.update(mark=at)

    @guarded
    @on_gpu
    def reveal_best(place, sketch, picture):
        observed = observed_of(place, sketch)
        config = models.config_of(place, NAME)
        if picture is None:
            raise ValueError("picture: expected one to reveal a pixel of, got none; upload one or click an example")
        cell, _ = best_next(place, observed)
        values = read_picture(picture, config.native_grid, config.value_dim)
        return pad_update(observed + observe_cells(values, torch.tensor([cell])), config)

    @guarded
    def open_picture(path, place, pattern, count, which):
        if path is None:
            return gr.skip(), gr.skip(), gr.skip()
        picture = keep_small(path)
        return picture, show_revealed(picture, place, pattern, count, which), gr.update(visible=True)

    def show_revealed(picture, place, pattern, count, which):
        config = models.config_of(place, NAME)
        observed = reveal(place, picture, count, pattern, which)
        return pad_update(observed, config, picture=truth_pixels(picture, place))

    @guarded
    def again(picture, place, pattern, count, which):
        return gr.skip() if picture is None else show_revealed(picture, place, pattern, count, which)

    @guarded
    def change_model(place, sketch, picture):
        config = models.config_of(place, NAME)
        moved = refit(read_pad(sketch, 3), place, sketch["grid"])
        return (
            pad_update(moved, config, picture=truth_pixels(picture, place)),
            max(config.native_grid),
            gr.update(high=config.native_grid[0] * config.native_grid[1]),
            order_update(config),
        )

    @guarded
    @on_gpu
    def open_example(event: gr.EventData):
        index = next((i for i, each in enumerate(examples.images()) if each.name == event.tile), 0)
        example, answer = examples.images()[index], example_answer(index)
        config = models.config_of(example.checkpoint)
        return (
            example.checkpoint,
            pad_update(answer["observed"], config, picture=truth_pixels(example.picture, example.checkpoint)),
            max(config.native_grid),
            example.picture,
            gr.update(value=answer["tiles"], mark=None),
            gr.update(value=answer["samples"], mark=None),
            answer["levels"],
            gr.update(visible=example.picture is not None),
            gr.update(value=example.count or 64, high=config.native_grid[0] * config.native_grid[1]),
            example.pattern,
            order_update(config),
            *downloads(answer["files"]),
        )

    def state_of(place, sketch, side, number, steps, temperature, seed, order):
        """The tab's state as JSON text."""
        sampling = {"samples": number, "steps": steps, "temperature": temperature, "seed": seed, "order": order}
        observed = observed_of(place, sketch)
        return share.to_text(NAME, {"checkpoint": place, "resolution": side, **sampling, **observed.to_json()})

    @on_gpu
    def restore(text: str):
        """Updates of `restored` from a state's JSON."""
        state = share.from_text(text, NAME)
        place = state.get("checkpoint")
        config = models.config_of(place, NAME)
        observed = refit(read_observed(state, config, "state"), place)
        side = state.get("resolution") or max(config.native_grid)
        kept = ("samples", "steps", "temperature", "seed", "order")
        chosen = Sampling(**{key: state[key] for key in kept if key in state})
        return (
            place,
            pad_update(observed, config, picture=""),
            side,
            None,
            gr.update(value=marginal_tiles(place, observed, side, None), mark=None),
            gr.update(value=[], mark=None),
            [],
            gr.update(visible=False),
            *(chosen.samples, chosen.steps, chosen.temperature, chosen.seed, order_update(config, chosen.order)),
        )

    restored = [checkpoint, pad, resolution, truth, tiles, samples, levels, uncover, *sampling]
    drawn = [samples, levels, still, moving]
    quiet = dict(show_progress="hidden", api_visibility="private")
    draws = [
        go.click(run, asked + sampling, drawn, show_progress="minimal", api_visibility="private", **SLOW),
        pad.settle(
            run_if,
            [auto, *asked, *sampling],
            drawn,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
            **SLOW,
        ),
    ]
    again_live = dict(fn=live, inputs=[*asked, truth], outputs=tiles, show_progress="minimal", **is_quick())
    pad.input(None, cancels=draws)
    pad.input(**again_live)
    resolution.release(**again_live)
    stop.click(None, cancels=draws)
    for picked in (tiles, samples):
        picked.pick(tell, [checkpoint, pad], [density, tiles, samples], **quiet, **LIVE)
    hint.click(suggest, [checkpoint, pad], [pad, density, tiles], show_progress="minimal", **is_quick())
    uncover.click(reveal_best, [checkpoint, pad, truth], pad, **quiet, **LIVE).then(**again_live)
    how = [checkpoint, pattern, count, which]
    upload.upload(open_picture, [upload, *how], [truth, pad, uncover], **quiet, **LIVE).then(**again_live)
    for source in (pattern.input, count.release, which.release):
        source(again, [truth, *how], pad, **quiet, **LIVE).then(**again_live)
    changed = [pad, resolution, count, order]
    checkpoint.input(change_model, [checkpoint, pad, truth], changed, **quiet, **LIVE).then(**again_live)
    strip.pick(
        open_example,
        None,
        [checkpoint, pad, resolution, truth, tiles, samples, levels, uncover, count, pattern, order, still, moving],
        show_progress="minimal",
        api_visibility="private",
        **SLOW,
    )
    panel.connect(guarded(state_of), asked + sampling, guarded(restore), restored)
    return Tab(NAME, restored, restore, (live, [*asked, truth], tiles))
