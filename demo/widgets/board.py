"""A binary digit on a grid, of which pixels can be inked, erased, hidden and shown."""

from typing import Any

from demo.widgets import Widget, asset


class Board(Widget):
    """Value: texts of digits 0 and 1, one a pixel, row by row: `ink`, and `known` for what is observed.

    The event `edit`, at the end of a stroke, carries both. A pixel that the pointer is on is named to the page by a
    `pt-pixel` event of the window, whose detail is its number.
    """

    def __init__(self, value: dict | None = None, side: int = 28, **named: Any):
        super().__init__(value, "board.js", asset("board.html"), side=side, **named)
