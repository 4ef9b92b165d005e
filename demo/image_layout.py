"""How the image tab looks: its components by name."""

from typing import Any

import gradio as gr

from demo import examples, models, unusual
from demo.answers import ORDERS, SPEEDS, Sampling
from demo.drawings import marginal_tiles
from demo.files import keep
from demo.image_actions import PATTERNS
from demo.image_handlers import ASK, FILES, NAME, orders_of, pad_properties
from demo.limits import MAX_RESOLUTION, MAX_SAMPLES, MAX_SEED, MIN_RESOLUTION
from demo.observed import Observed, nothing
from demo.opening import drawn_before, first
from demo.pictures import picture_url
from demo.share_panel import SharePanel
from demo.tab import Page, at_start
from demo.widgets.log_slider import LogSlider
from demo.widgets.numbers import Number, Slider
from demo.widgets.pad import Pad, pad_value
from demo.widgets.result import Result
from demo.widgets.tiles import Tiles, tile

INTRO = "**Change the cat’s eyes.** The model draws whole pictures that agree with your paint."
PICTURES = ["image", ".heic", ".heif"]  # HEIC cannot be read, but is told so in our words
START = "Paint something, or press “Draw samples”."
PLAIN = {"cat-faces": "Cats", "mnist": "Digits", "cifar10": "Things"}


def lay_out(page: Page) -> SharePanel:
    """Fill a page with the tab's components."""
    names = models.names(NAME)
    opened = opening(names)
    gr.Markdown(INTRO, elem_classes="pt-intro")
    page.add(uploads=gr.State({}))
    choices = [(PLAIN.get(name, name), name) for name in names]
    page.add(
        checkpoint=gr.Radio(
            choices, value=opened["checkpoint"], show_label=False, container=False, elem_id="checkpoint", label="Model"
        )
    )
    with gr.Row(elem_classes="pt-main"):
        _pad_column(page, opened)
        _result_column(page, opened)
        _marginal_column(page, opened)
    _examples(page, names)
    with gr.Row(elem_classes="pt-settings"):
        _picture_settings(page, opened)
        _sampling_settings(page, opened)
        with gr.Column(min_width=280):
            _files(page, opened)
            return SharePanel(NAME)


def opening(names: list[str]) -> dict[str, Any]:
    """What the page shows before any touch: the first example with its samples; or, without its model, an empty pad."""
    if examples.images()[0].checkpoint not in names:
        config = models.config_of(names[0], NAME)
        return _opened(names[0], nothing(config), "", None)
    request = first()
    return _opened(request.checkpoint, request.observed, "example 0", at_start(lambda: drawn_before(request)))


def _opened(checkpoint: str, observed: Observed, source: str, drawn) -> dict[str, Any]:
    config = models.config_of(checkpoint, NAME)
    pad = pad_value(observed, config.native_grid) | {"checkpoint": checkpoint, "source": source}
    tiles = at_start(lambda: marginal_tiles(checkpoint, observed, 0, None)) or []
    return {"checkpoint": checkpoint, "config": config, "pad": pad, "marginals": tiles, "drawn": drawn}


def _pad_column(page: Page, opened: dict[str, Any]) -> None:
    with gr.Column(scale=5, min_width=320, elem_classes="pt-pad-column"):
        properties = pad_properties(opened["checkpoint"], None)
        page.add(pad=Pad(opened["pad"], **properties, label="Sketchpad", elem_id="pad"))
        with gr.Row(elem_classes="pt-buttons"):
            go = gr.Button("Draw samples", variant="primary", elem_id="draw-image", size="sm", min_width=110)
            page.add(auto=gr.Checkbox(True, label="after each change", elem_id="auto", container=False, min_width=150))
            stop = gr.Button("Stop", elem_id="stop-image", size="sm", min_width=60)
        with gr.Row(elem_classes="pt-buttons"):
            hint = gr.Button("Most uncertain pixel", elem_id="hint", size="sm", min_width=120)
            uncover = gr.Button("Reveal it", elem_id="uncover", size="sm", min_width=80, visible=False)
        page.add(asked=False, go=go, stop=stop, hint=hint, uncover=uncover)


def _result_column(page: Page, opened: dict[str, Any]) -> None:
    drawn = opened["drawn"]
    with gr.Column(scale=5, min_width=320, elem_classes="pt-result-column"):
        samples = Result(drawn and drawn.samples, empty=START, elem_id="samples", label="Samples")
        levels = Tiles(drawn and drawn.levels, elem_id="levels", elem_classes="pt-live", label="From coarse to fine")
        page.add(asked=False, samples=samples, levels=levels)


def _marginal_column(page: Page, opened: dict[str, Any]) -> None:
    with gr.Column(scale=4, min_width=280):
        marginals = Tiles(
            opened["marginals"], elem_id="marginals", elem_classes="pt-live", label="Mean and uncertainty"
        )
        page.add(asked=False, marginals=marginals, density=gr.HTML(ASK, elem_id="density"))
        unusual.lay_out(page)


def _examples(page: Page, names: list[str]) -> None:
    tiles = [
        tile(each.name, picture_url(examples.thumbnail(number)), f"Example: {each.name}")
        for number, each in enumerate(examples.images())
        if each.checkpoint in names
    ]
    page.add(asked=False, examples=Tiles(tiles, elem_id="image-examples", elem_classes="pt-strip"))


def _picture_settings(page: Page, opened: dict[str, Any]) -> None:
    width, height = opened["config"].native_grid
    with gr.Column(min_width=280), gr.Accordion("A picture of yours", open=True):
        page.add(
            upload=gr.File(
                label="Upload a picture", file_types=["image", ".heic", ".heif"], height=150, elem_id="upload"
            ),
            pattern=gr.Radio(list(PATTERNS), value=PATTERNS[0], label="Which pixels to reveal", elem_id="pattern"),
            count=LogSlider(64, 1, width * height, "Random pixels to reveal", elem_id="count"),
            shuffle=Slider(0, 99, value=0, step=1, label="Shuffle", elem_id="which"),
        )


def _sampling_settings(page: Page, opened: dict[str, Any]) -> None:
    config, default = opened["config"], Sampling()
    with gr.Column(min_width=280), gr.Accordion("Sampling", open=True):
        page.add(
            number=Slider(1, MAX_SAMPLES, value=default.samples, step=1, label="Samples", elem_id="number"),
            speed=gr.Radio(
                list(SPEEDS),
                value="exact",
                label="Speed",
                info="Fast draws many pixels at once, independently. Above 64 × 64 pixels it is always used, for at "
                "most 4,096 pixels; the others are their mean given these.",
                elem_id="speed",
            ),
            resolution=Slider(
                MIN_RESOLUTION,
                MAX_RESOLUTION,
                value=max(config.native_grid),
                step=1,
                label="Pixels a side",
                elem_id="resolution",
            ),
            order=gr.Radio(
                orders_of(config),
                value=ORDERS[0],
                label="Order",
                info="Coarse to fine: averages over large squares first, then over ever smaller ones.",
                elem_id="order",
            ),
            temperature=Slider(
                0.0, 1.5, value=default.temperature, step=0.05, label="Temperature", elem_id="temperature"
            ),
            seed=Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="seed"),
        )


def _files(page: Page, opened: dict[str, Any]) -> None:
    drawn = opened["drawn"]
    paths = [None, None] if drawn is None else [keep(data, name) for data, name in zip(drawn.files, FILES, strict=True)]
    with gr.Accordion("Keep", open=True):
        named = dict(interactive=drawn is not None, size="sm")
        still = gr.DownloadButton("Sketch and samples (PNG)", paths[0], elem_id="save-png", **named)
        moving = gr.DownloadButton("How they were drawn (GIF)", paths[1], elem_id="save-gif", **named)
    page.add(asked=False, still=still, moving=moving)
