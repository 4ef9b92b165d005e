"""What each visitor asked for last: samples of anything older stop, wherever they are being drawn.

The page cannot stop them reliably itself: on a busy phone its word to cancel arrives after the next drawing has begun.
"""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

REMEMBERED = 512  # visitors, the latest ones
PAUSE = 0.25  # seconds without another stroke, after which samples are begun

_asked: OrderedDict[tuple[str, str], Hashable] = OrderedDict()
_lock = Lock()


def ask(session: str, tab: str, key: Hashable) -> None:
    """Note what a visitor wants to see in a tab from now on; nothing where the visitor is not known ("")."""
    if not session:
        return
    with _lock:
        _asked.pop((session, tab), None)
        _asked[session, tab] = key
        while len(_asked) > REMEMBERED:
            _asked.popitem(last=False)


def name_of(key: Hashable) -> int:
    """Equal for equal keys, short enough for the page."""
    return hash(key) % 2**31


def is_wanted(session: str, tab: str, key: Hashable) -> bool:
    """Whether a visitor has asked for nothing else since."""
    return _asked.get((session, tab), key) == key
