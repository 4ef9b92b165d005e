"""Whose turn it is to be drawn: small work one at a time, large work too, which pauses before passes for the small.

A free Space has two cores: drawings that run together would all be slow. Gradio's queue knows no sizes, so it lets them
all in, and they wait here, where each can be told how many are before it. Short answers, like the mean image after a
stroke, wait for nobody, and large work pauses for them too. Small drawings do not: with 16 visitors they would hardly
ever be done.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Condition
from time import monotonic
from typing import TypeVar

from demo.guard import check_time, extend

T = TypeVar("T")
TOLD = 0.5  # seconds between two words to one who waits
LONGEST_PAUSE = 0.5  # seconds that large work rests before a pass, however much comes first: it has some 200 of them
ABANDONED = 5.0  # seconds after which work that nobody takes further has lost its turn: its visitor is gone


@dataclass(frozen=True)
class Waiting:
    """Work that has not begun: `ahead` others come first."""

    ahead: int


class _Turn:
    def __init__(self, small: bool):
        self.small = small
        self.left: float | None = None  # when its caller was last given something; `None` while it works or waits


_large_work: ContextVar["Turns | None"] = ContextVar("large_work", default=None)  # where what runs here has its turn


def rest() -> None:
    """Before each pass of a model: large work pauses here while others come first."""
    turns = _large_work.get()
    if turns is not None:
        turns._give_way()


class Turns:
    """Two lines, of small and of large work; the first of each is drawn."""

    def __init__(self):
        self._lines: dict[bool, list[_Turn]] = {True: [], False: []}
        self._answers = 0  # short ones that are computed now
        self._changed = Condition()

    @contextmanager
    def short_answer(self) -> Iterator[None]:
        """While a short answer is computed, large work pauses before its passes."""
        with self._changed:
            self._answers += 1
        try:
            yield
        finally:
            with self._changed:
                self._answers -= 1
                self._changed.notify_all()

    def take(self, work: Iterable[T], small: bool) -> Iterator[T | Waiting]:
        """What the work yields, when its turn has come; until then how many are before it, now and then.

        Waiting and pauses do not count as time of the request.
        """
        turn = _Turn(small)
        with self._changed:
            self._lines[small].append(turn)
        try:
            for ahead in self._wait(turn):
                turn.left = monotonic()
                yield Waiting(ahead)
                turn.left = None
            items = iter(work)
            while (item := self._next(items, small)) is not items:
                turn.left = monotonic()
                yield item
                turn.left = None
        finally:
            with self._changed:
                if turn in self._lines[small]:
                    self._lines[small].remove(turn)
                self._changed.notify_all()

    def _next(self, items: Iterator[T], small: bool) -> T | Iterator[T]:
        """The next item, or `items` itself after the last."""
        before = _large_work.set(None if small else self)  # anew for each item, as each may be made in another thread
        try:
            rest()
            return next(items, items)
        finally:
            _large_work.reset(before)

    def _wait(self, turn: _Turn) -> Iterator[int]:
        told = None
        while True:
            start = monotonic()
            with self._changed:
                ahead = self._ahead(turn)
                if ahead and ahead == told:
                    self._changed.wait(TOLD)
                    ahead = self._ahead(turn)
            extend(monotonic() - start)
            if not ahead:
                return
            told = ahead
            yield ahead
            check_time()

    def _ahead(self, turn: _Turn) -> int:
        line, now = self._lines[turn.small], monotonic()
        line[:] = [each for each in line if each.left is None or now - each.left < ABANDONED]
        if turn not in line:  # it was taken for abandoned
            line.append(turn)
        return line.index(turn)

    def _give_way(self) -> None:
        start = monotonic()
        with self._changed:
            self._changed.wait_for(lambda: not self._answers and not self._lines[True], LONGEST_PAUSE)
        extend(monotonic() - start)


TURNS = Turns()


def in_turn(work: Iterable[T], small: bool) -> Iterator[T | Waiting]:
    """`Turns.take` among all the work of this app."""
    return TURNS.take(work, small)


def before_drawings(function: Callable[..., T]) -> Callable[..., T]:
    """A function that gives a short answer, for which this app's large drawings pause."""

    @functools.wraps(function)
    def run(*arguments, **named):
        with TURNS.short_answer():
            return function(*arguments, **named)

    return run


def once(call: Callable[[], T]) -> Iterator[T]:
    """Work of one piece."""
    yield call()


def alone(work: Iterable[T], small: bool) -> Iterator[T]:
    """The same for one who is told nothing while waiting."""
    return (item for item in in_turn(work, small) if not isinstance(item, Waiting))
