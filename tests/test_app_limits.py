"""What the app does for a long life: time limits for every action, memory given back, a configuration of plain data."""

import copy
import functools
import gc
import inspect
import sys

import gradio as gr
import pytest
import torch
from app_server import checkpoints

import app
from demo import api, guard, memory, models, shape_actions, video_actions
from demo.answers import Sampling, joint, marginal
from demo.guard import check_time, guarded
from demo.observed import Observed
from demo.polynomial_actions import sampled


@pytest.fixture(autouse=True)
def offered():
    models.offer(checkpoints())


@pytest.fixture
def no_time(monkeypatch):
    """Every request has used up its time at once."""
    monkeypatch.setattr(guard, "MAX_SECONDS", -1)


POINT = {"positions": [[0.0]], "values": [[1.0]]}
VOXEL = {"positions": [[0.0, 0.0, 0.0]], "values": [[0.1]]}
PIXEL = {"positions": [[0.0, 0.0]], "values": [[0.5]]}
REQUESTS = {
    "predict": ("mnist", PIXEL, [[0.0, 0.0]]),
    "distribution": ("mnist", PIXEL, [0.0, 0.0]),
    "infer_image": ("mnist", PIXEL),
    "sample_image": ("mnist", PIXEL, 0, 1, 4),
    "most_uncertain_pixel": ("mnist", PIXEL),
    "infer_polynomial": ("polynomial", POINT),
    "sample_polynomial": ("polynomial", POINT),
    "infer_shape": ("chairs", VOXEL, 12),
    "sample_shape": ("chairs", VOXEL, 12, 1, 4),
    "infer_video": ("moving-mnist", VOXEL),
    "sample_video": ("moving-mnist", VOXEL, 4),
    "complete_digit": ("01" * 392, "1" * 392 + "0" * 392),
}


def test_every_endpoint_is_tried():
    assert set(REQUESTS) == {function.__name__ for function in api.QUICK + api.DRAWING}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_action_keeps_to_the_time_limit(name, no_time):
    function = getattr(api, name)
    finish = list if inspect.isgeneratorfunction(function) else (lambda answer: answer)
    with pytest.raises(gr.Error, match="time: expected an answer within"):
        finish(function(*REQUESTS[name]))


@pytest.mark.parametrize(
    "work",
    [
        lambda: list(joint("mnist", Observed(torch.zeros(1, 2), torch.zeros(1, 1)), torch.rand(9, 2), Sampling(1, 9))),
        lambda: sampled("polynomial", Observed(torch.zeros(1, 1), torch.zeros(1, 1)), Sampling(1, 64)),
        lambda: list(shape_actions.sampled_surfaces("chairs", on_the_surface(), 12, Sampling(1, 8))),
        lambda: list(video_actions.sampled_clip("moving-mnist", on_the_surface(), Sampling(1, 8))),
    ],
)
def test_a_sample_stops_between_passes(work, monkeypatch):
    """The clock stands still until the first check, then shows that all time is used."""
    times = iter([0.0, 0.0, 0.0])
    monkeypatch.setattr(guard, "monotonic", lambda: next(times, 1e6))
    with pytest.raises(gr.Error, match="time: expected an answer within"):
        guarded(work)()


def on_the_surface() -> Observed:
    return shape_actions.on_surface(torch.zeros(1, 3))


def test_an_inner_action_has_the_time_that_is_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(guard, "monotonic", lambda: now[0])

    @guarded
    def inner():
        now[0] += 60
        check_time()

    @guarded
    def outer():
        inner()
        inner()

    inner()
    with pytest.raises(gr.Error, match="time: expected"):
        outer()
    inner()  # a new request has all its time again
    check_time()  # outside of requests there is no limit


def test_a_generator_that_is_resumed_elsewhere_keeps_its_limit(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(guard, "monotonic", lambda: now[0])

    @guarded
    def counting():
        for number in range(9):
            check_time()
            yield number
            now[0] += 40

    numbers = counting()
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(gr.Error, match="time: expected"):
        next(numbers)


def test_the_configuration_is_plain_data_that_each_page_load_can_copy(monkeypatch):
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    blocks = app.build(checkpoints())
    assert copy.deepcopy(blocks.config)["components"]

    def functions(data):
        parts = data.values() if isinstance(data, dict) else data if isinstance(data, list | tuple) else []
        bound = [data] if isinstance(data, functools.partial) or getattr(data, "__self__", None) is not None else []
        return bound + [found for part in parts for found in functions(part)]

    assert not [found for found in functions(blocks.config["components"]) if callable(found)]
    gc.collect()
    assert not ignored
    properties = {each["props"].get("elem_id"): each["props"] for each in blocks.config["components"]}
    assert properties["pad"]["props"]["channels"] == 3 and properties["pad"]["component_class_name"] == "Pad"


@pytest.mark.skipif(memory._libc() is None, reason="not glibc")
def test_memory_of_a_request_is_given_back():
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    @guarded
    def request():
        rows = [bytearray(60_000) for _ in range(4000)]  # 240 MB in pieces that are not mapped on their own
        kept.append(bytearray(60_000))  # above them, so that the heap cannot shrink by itself
        return len(rows)

    kept: list[bytearray] = []
    before = resident()
    request()
    assert resident() - before < 100e6
    assert memory.share_arenas()


def test_marginals_check_the_time(no_time):
    with pytest.raises(gr.Error, match="time: expected"):
        guarded(lambda: marginal("mnist", Observed(torch.zeros(1, 2), torch.zeros(1, 1)), torch.rand(9, 2)))()
