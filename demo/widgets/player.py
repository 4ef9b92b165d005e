"""Clips that play side by side, in step."""

from typing import Any

import torch
from torch import Tensor

from demo.pictures import picture_url
from demo.widgets import Widget, asset


class Player(Widget):
    """Value: `{"frames": n, "clips": [clip(...)], "name": name of what they answer}`."""

    def __init__(self, value: dict | None = None, **named: Any):
        super().__init__(
            value,
            "player.js",
            asset("player.html"),
            **named,
        )


def clip(name: str, values: Tensor, text: str) -> dict:
    """One clip (frames, y, x, V): its frames one above the other in a single picture."""
    return {"name": name, "url": picture_url(torch.cat(list(values)), lossless=True), "text": text}
