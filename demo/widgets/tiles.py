"""A row of small pictures, enlarged by the page; a click, or Enter, asks about a position in one of them."""

from typing import Any

from demo.widgets import Widget


class Tiles(Widget):
    """Pictures whose value is a list of `tile(...)`; the event `pick` carries `tile`, `x` and `y` in [-1, 1].

    Properties besides the value: `mark` ([x, y] or None), `empty` (a text shown where there is no picture).
    """

    def __init__(self, value: list[dict] | None = None, empty: str = "", mark: list | None = None, **named: Any):
        super().__init__(
            value or [],
            "tiles.js",
            '<div class="pt-tiles"></div>',
            empty=empty,
            mark=mark,
            **named,
        )


def tile(name: str, url: str, text: str, note: str = "", pickable: bool = True) -> dict:
    """One picture: its name, a data URL, the text for those who do not see it, a short note after the name."""
    return {"name": name, "url": url, "text": text, "note": note, "pickable": pickable}
