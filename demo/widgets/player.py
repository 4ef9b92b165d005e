"""Clips that play side by side, in step."""

from typing import Any

import gradio as gr
import torch
from torch import Tensor

from demo.pictures import picture_url
from demo.widgets import asset


class Player(gr.HTML):
    """Value: `{"frames": n, "clips": [clip(...)]}`."""

    def __init__(self, value: dict | None = None, **named: Any):
        super().__init__(
            value=value,
            html_template=asset("player.html"),
            js_on_load=asset("common.js") + asset("player.js"),
            apply_default_css=False,
            **named,
        )

    def get_block_name(self) -> str:
        return "html"


def clip(name: str, values: Tensor, text: str) -> dict:
    """One clip (frames, y, x, V): its frames one above the other in a single picture."""
    return {"name": name, "url": picture_url(torch.cat(list(values)), lossless=True), "text": text}
