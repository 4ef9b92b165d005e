"""A row of small pictures, enlarged by the page; a click, or Enter, asks about a place in one of them."""

from typing import Any

import gradio as gr

from demo.widgets import asset


class Tiles(gr.HTML):
    """Pictures whose value is a list of `tile(...)`; the event `pick` carries `tile`, `x` and `y` in [-1, 1].

    Properties besides the value: `mark` ([x, y] or None), `empty` (a text shown where there is no picture).
    """

    def __init__(self, value: list[dict] | None = None, empty: str = "", mark: list | None = None, **named: Any):
        super().__init__(
            value=value or [],
            html_template='<div class="pt-tiles"></div>',
            js_on_load=asset("common.js") + asset("tiles.js"),
            apply_default_css=False,
            empty=empty,
            mark=mark,
            **named,
        )

    def get_block_name(self) -> str:
        return "html"


def tile(name: str, url: str, text: str, note: str = "", pickable: bool = True) -> dict:
    """One picture: its name, a data URL, the text for those who do not see it, a short note after the name."""
    return {"name": name, "url": url, "text": text, "note": note, "pickable": pickable}
