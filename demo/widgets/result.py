"""One sample shown large and smooth, the others as thumbnails under it, and how far the drawing is."""

from typing import Any

from demo.widgets import Widget, asset


class Result(Widget):
    """Value: `result(...)`. Event: `pick`, a click on the large picture, carries `tile`, `x` and `y` in [-1, 1].

    Pictures of an earlier request stay, dimmed, until new ones take their place.
    Properties besides the value: `mark` ([x, y] or None), `empty` (a text shown where there is no picture).
    """

    def __init__(
        self,
        value: dict | None = None,
        empty: str = "",
        mark: list | None = None,
        **named: Any,
    ):
        value, template = value or result([], 0, 1.0), asset("result.html")
        super().__init__(value, "result.js", template, empty=empty, mark=mark, **named)


def result(tiles: list[dict], count: int, share: float, name: int = 0, ahead: int = 0) -> dict:
    """The first pictures (`tile(...)`) of `count` that are asked for; `share` of the work is done.

    `name` is equal for the same request; `ahead` requests come before it.
    """
    return {"tiles": tiles, "count": count, "share": round(share, 4), "name": name, "ahead": ahead}
