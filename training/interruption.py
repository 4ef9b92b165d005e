"""Ctrl-C and SIGTERM end a training between two steps, with its state saved."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(Exception):
    """A training that was asked to stop and did.

    Attributes:
        exit_code (`int`): 128 + the signal's number, as shells have it.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_code = 128 + number


class Interruption:
    """While entered, the first SIGINT or SIGTERM is noted, a second one acts as it always does.

    Attributes:
        number (`int`): The signal that came, or 0.
    """

    def __init__(self):
        self.number = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = number
        for other, handler in self._before.items():
            signal.signal(other, handler)
        print(f"\n{signal.Signals(number).name}: saving after this step; again to stop at once", flush=True)


def ignore_interrupts(_: int) -> None:
    """For workers that read data: a terminal sends Ctrl-C to them too, and they must live until the step ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
