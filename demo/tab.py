"""What every tab hands to the app, and how its short answers are wired."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from demo.limits import LIVE


@dataclass(frozen=True)
class Tab:
    """A tab that is laid out.

    Attributes:
        name (`str`): Its id.
        restored (`list`): Components that a shared state sets.
        restore (`Callable` or `None`): From a state's JSON text to their updates; `None`: there is nothing to restore.
        opening (`tuple`): Function, inputs and outputs of what the tab shows when the page opens.
        chosen (`tuple`): The same, when the tab is chosen: for what takes longer.
    """

    name: str
    restored: list[Any]
    restore: Callable | None = None
    opening: tuple | None = None
    chosen: tuple | None = None


def is_quick() -> dict[str, Any]:
    """Options of an event that answers at once: only the latest counts, and no one waits behind samples."""
    return dict(trigger_mode="always_last", api_visibility="private", **LIVE)
