"""Whose turn it is: small work before large, each told how many come first, and nobody blocks the others for good."""

import threading

import pytest

from demo import guard, turns
from demo.guard import check_time, extend, guarded
from demo.turns import Turns, Waiting


def work(count: int = 3):
    yield from range(count)


def test_the_second_waits_for_the_first_and_is_told_so():
    line = Turns()
    first, second = line.take(work(), True), line.take(work(), True)
    assert next(first) == 0
    assert next(second) == Waiting(1)
    assert list(first) == [1, 2]
    assert list(second) == [0, 1, 2]


def test_small_work_never_waits_for_large():
    line = Turns()
    large = line.take(work(), False)
    assert next(large) == 0
    assert list(line.take(work(), True)) == [0, 1, 2]
    assert next(line.take(work(), False)) == Waiting(1)


def test_large_work_pauses_while_small_is_drawn():
    line = Turns()
    large, small = line.take(work(), False), line.take(work(), True)
    assert next(large) == 0 and next(small) == 0
    done = threading.Event()
    thread = threading.Thread(target=lambda: (next(large), done.set()))
    thread.start()
    assert not done.wait(0.2)  # of the seconds that it may pause
    list(small)
    assert done.wait(turns.LONGEST_PAUSE / 2)
    thread.join()


def test_large_work_pauses_while_a_short_answer_is_computed_and_small_does_not():
    line = Turns()
    large, small = line.take(work(), False), line.take(work(), True)
    assert next(large) == 0
    done = threading.Event()
    thread = threading.Thread(target=lambda: (next(large), done.set()))
    with line.short_answer():
        assert list(small) == [0, 1, 2]
        thread.start()
        assert not done.wait(0.2)  # of the seconds that it may pause
    assert done.wait(turns.LONGEST_PAUSE / 2)
    thread.join()


def test_work_that_nobody_takes_further_or_that_fails_loses_its_turn(monkeypatch):
    line = Turns()
    left, broken = line.take(work(), True), line.take((1 / number for number in (0,)), True)
    assert next(left) == 0  # and its visitor goes
    monkeypatch.setattr(turns, "ABANDONED", 0.0)
    with pytest.raises(ZeroDivisionError):
        next(broken)
    assert list(line.take(work(), True)) == [0, 1, 2]
    closed = line.take(work(), True)
    next(closed)
    closed.close()
    monkeypatch.undo()
    assert list(line.take(work(), True)) == [0, 1, 2]


def test_waiting_is_not_counted_as_time_of_a_request(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(guard, "monotonic", lambda: now[0])

    @guarded
    def waits():
        now[0] += 80
        extend(80)
        check_time()
        now[0] += 80
        check_time()

    waits()
