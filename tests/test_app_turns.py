"""Whose turn it is: small work before large, each told how many come first, and nobody blocks the others for good."""

import threading

import pytest
import torch

from demo import guard, models, turns
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


@pytest.fixture
def long_pause(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST_PAUSE", 20.0)


def test_large_work_pauses_while_small_is_drawn(long_pause):
    line = Turns()
    large, small = line.take(work(), False), line.take(work(), True)
    assert next(large) == 0 and next(small) == 0
    done = threading.Event()
    thread = threading.Thread(target=lambda: (next(large), done.set()))
    thread.start()
    assert not done.wait(0.2)
    list(small)
    assert done.wait(10)
    thread.join()


def test_large_work_pauses_while_a_short_answer_is_computed_and_small_does_not(long_pause):
    line = Turns()
    large, small = line.take(work(), False), line.take(work(), True)
    assert next(large) == 0
    done = threading.Event()
    thread = threading.Thread(target=lambda: (next(large), done.set()))
    with line.short_answer():
        assert list(small) == [0, 1, 2]
        thread.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    thread.join()


def test_large_work_pauses_before_every_pass_of_a_model_and_other_work_does_not(long_pause):
    models.offer()
    model, passes, line = models.load("mnist"), [], Turns()
    begun, go = threading.Event(), threading.Event()

    def count(*_):
        passes.append(threading.get_ident())
        begun.set()
        assert go.wait(10)

    def answer():
        return model.predict(torch.zeros(1, 1, 2), torch.zeros(1, 1, 1), torch.zeros(1, 40, 2), chunk_size=10)

    drawing = threading.Thread(target=lambda: list(line.take((answer() for _ in range(1)), False)))
    counting = model.decoder[0].register_forward_pre_hook(count)
    drawing.start()
    assert begun.wait(10)
    with line.short_answer():
        go.set()
        answer()
        assert passes.count(drawing.ident) == 1 and passes.count(threading.get_ident()) == 4
    drawing.join(10)
    counting.remove()
    assert passes.count(drawing.ident) == 4


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
