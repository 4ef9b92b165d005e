"""“What is unusual here?” on the image tab: a map of the surprise of each pixel of the picture behind the pad."""

import gradio as gr

from applications.anomaly.report import coloured
from applications.anomaly.surprise import Style, surprise
from demo import models
from demo.guard import check_time, on_gpu
from demo.image_handlers import Visit
from demo.pictures import picture_url, read_picture
from demo.tab import Page, Updates
from demo.widgets import fresh
from demo.widgets.tiles import Tiles, tile

EMPTY = "Bright where a pixel is hard to explain by the rest of the picture."
TOP = 0.998  # quantile of the map that is shown brightest


def lay_out(page: Page) -> None:
    """The button and the place of the map."""
    with gr.Row(elem_classes="pt-buttons"):
        button = gr.Button("What is unusual here?", elem_id="ask-unusual", size="sm", min_width=160)
    page.add(asked=False, ask_unusual=button, unusual=Tiles(empty=EMPTY, elem_id="unusual", label="Surprise"))


def wire(page: Page) -> None:
    """A press of the button draws the map; another picture or model stops that."""
    asked = page.on(page["ask_unusual"].click, unusual, ["unusual"], show_progress="minimal")
    for change in (page["pad"].recall, page["checkpoint"].input, page["examples"].pick, page["upload"].upload):
        change(None, cancels=asked)


@on_gpu
def unusual(visit: Visit) -> Updates:
    """The picture behind the pad and how surprising each of its pixels is, given what lies further away."""
    if visit.picture is None:
        raise ValueError("picture: expected one to look at, got none; upload one or click an example with a photo")
    config, model = visit.config, models.load(visit.checkpoint)
    values = read_picture(visit.picture, config.native_grid, config.value_dim)
    heat = Style.of(config).shown(surprise(model, values[None], progress=lambda share: check_time()))[0]
    top = float(heat.flatten().quantile(TOP))
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    where = f"largest at column {column + 1}, row {row + 1}"
    tiles = [
        tile("Picture", picture_url(values), "The whole picture", pickable=False),
        tile("Surprise", picture_url(coloured(heat, top)), f"Surprise of each pixel, {where}", where, pickable=False),
    ]
    return {"unusual": fresh(tiles)}
