"""How far a training is, and the seconds that it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from training.arguments import Arguments

MAX_SKIPPED = 20  # steps in a row without a finite loss: the training has gone wrong, not a batch


class Progress:
    """Optimiser steps, those left out, and training seconds so far: what a state must remember besides the tensors."""

    def __init__(self):
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self._skipped_in_a_row = 0

    def state_dict(self) -> dict:
        return {"step": self.step, "skipped": self.skipped, "seconds": self.seconds}

    def load_state_dict(self, state: dict) -> None:
        self.step, self.skipped, self.seconds = state["step"], state["skipped"], state["seconds"]

    def advance(self, seconds: float, applied: bool) -> None:
        """Count a step, which changed the weights or was left out."""
        self.step += 1
        self.seconds += seconds
        self.skipped += not applied
        self._skipped_in_a_row = 0 if applied else self._skipped_in_a_row + 1

    def check(self) -> None:
        """Raise `FloatingPointError` where step after step had no finite loss."""
        if self._skipped_in_a_row >= MAX_SKIPPED:
            raise FloatingPointError(
                f"no finite loss in the {MAX_SKIPPED} steps before {self.step}: look for NaN or infinity "
                "in the data, or take --resume latest with a lower --learning_rate and --adam_learning_rate, "
                "or --mixed_precision no"
            )

    def fraction(self, arguments: Arguments) -> float:
        """How much of the run is done, by steps or by the clock, whichever is further."""
        by_step = self.step / arguments.max_train_steps if arguments.max_train_steps else 0.0
        by_clock = self.seconds / (60 * arguments.max_train_minutes) if arguments.max_train_minutes else 0.0
        return max(by_step, by_clock)


class Stopwatch:
    """Seconds of training since the last look, without those in which it is held."""

    def __init__(self):
        self.started, self.idle = time.perf_counter(), 0.0

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self.started, self.idle = now - self.started - self.idle, now, 0.0
        return seconds

    @contextmanager
    def held(self) -> Iterator[None]:
        """Leave out the time spent inside."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self.idle += time.perf_counter() - since
