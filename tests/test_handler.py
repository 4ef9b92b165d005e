"""The handler for Inference Endpoints answers as the model does, and refuses what is wrong or too much by name."""

import json
import math
import random
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT, make_model
from demo.observed import read_observed
from handler import MAX_INPUTS, MAX_SAMPLES, EndpointHandler
from pixeltransformer.checks import read_rows
from processes import run_outside


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> EndpointHandler:
    folder = tmp_path_factory.mktemp("served")
    make_model().save_pretrained(folder)
    shutil.copy(ROOT / "handler.py", folder)
    return EndpointHandler(str(folder))


ALONE = """
import sys
from handler import EndpointHandler
handler = EndpointHandler(sys.argv[1])
print(len(handler({"inputs": {"grid": [6, 6]}})["mean"]), "pixeltransformer" in sys.modules)
"""


def test_a_checkpoint_and_the_handler_are_enough(served, tmp_path):
    folder = str(served.model.name_or_path)
    shutil.copy(ROOT / "handler.py", tmp_path)
    assert run_outside(ALONE, folder, folder=tmp_path).split()[-2:] == ["36", "False"]


def observed(count: int = 5, seed: int = 0, **more) -> dict:
    source = random.Random(seed)
    positions = [[source.uniform(-1, 1), source.uniform(-1, 1)] for _ in range(count)]
    return {"positions": positions, "values": [[source.randrange(256) / 255] for _ in range(count)], **more}


def test_prediction_is_the_models(served):
    item = observed(grid=[6, 6])
    answer = served({"inputs": item})
    positions, values = torch.tensor([item["positions"]]), torch.tensor([item["values"]])
    expected = served.model.predict(positions, values, served.model.native_positions())
    assert torch.allclose(torch.tensor(answer["mean"]), expected.mean[0], atol=1e-6)
    assert torch.allclose(torch.tensor(answer["stddev"]), expected.stddev[0], atol=1e-6)
    assert json.loads(json.dumps(answer)) == answer


def test_a_batch_answers_each_set_as_if_alone(served):
    """Of different sizes, none among them, at different queries."""
    items = [observed(3), observed(7, 1), {"grid": [4, 3]}, observed(0), observed(2, 2, queries=[[0.1, 0.2]])]
    together = served({"inputs": items})
    for item, answer in zip(items, together, strict=True):
        alone = served({"inputs": item})
        assert torch.allclose(torch.tensor(answer["mean"]), torch.tensor(alone["mean"]), atol=1e-5)
    assert [len(answer["mean"]) for answer in together] == [36, 36, 12, 36, 1]


def test_values_may_be_averages_beside_others_that_are_not(tmp_path):
    make_model(native_grid=[8, 8], num_scales=3).save_pretrained(tmp_path)
    shutil.copy(ROOT / "handler.py", tmp_path)
    scaled = EndpointHandler(str(tmp_path))
    item = observed(3, scales=[0, 1.5, 2])
    answer, _ = scaled({"inputs": [item, observed(5)]})
    positions, values = torch.tensor([item["positions"]]), torch.tensor([item["values"]])
    given = positions, values, scaled.model.native_positions()
    expected = scaled.model.predict(*given, context_scales=torch.tensor([[0, 1.5, 2]])).mean[0]
    assert torch.allclose(torch.tensor(answer["mean"]), expected, atol=1e-5)
    assert not torch.allclose(expected, scaled.model.predict(*given).mean[0], atol=1e-3)
    chosen = {"task": "sample", "num_steps": 12, "seed": 3}
    orders = ("random", "coarse-to-fine")
    drawn = [scaled({"inputs": item, "parameters": chosen | {"order": order}}) for order in orders]
    assert torch.tensor(drawn[1]["samples"]).shape == (1, 64, 1) and drawn[0] != drawn[1]


def test_samples_are_as_many_as_asked_for_and_repeat_with_a_seed(served):
    request = {"inputs": observed(), "parameters": {"task": "sample", "num_samples": 3, "num_steps": 4, "seed": 7}}
    samples = torch.tensor(served(request)["samples"])
    assert samples.shape == (3, 36, 1) and samples.min() >= 0 and samples.max() <= 1
    assert served(request)["samples"] == samples.tolist()
    request["parameters"]["seed"] = 8
    assert served(request)["samples"] != samples.tolist()


def item(**changes) -> dict:
    return {"inputs": observed(2) | changes}


def parameters(**changes) -> dict:
    return {"inputs": observed(2), "parameters": changes}


BAD = [
    (None, "request: expected an object"),
    ({}, 'request: expected an object with "inputs"'),
    ({"inputs": 3}, "inputs: expected an object"),
    ({"inputs": []}, "inputs: expected 1 to"),
    ({"inputs": [observed()] * (MAX_INPUTS + 1)}, "inputs: expected 1 to"),
    ({"inputs": [observed(), {"position": []}]}, r"inputs\[1\]: expected an object with positions"),
    (item(positions="x"), "inputs.positions: expected a list"),
    (item(positions=[[0, 0]] * 5000), "inputs.positions: expected at most 4,096 .*, got 5,000"),
    (item(positions=[[0.0, 0.0], [0.0]]), r"inputs.positions\[1\]: expected a list of 2"),
    (item(positions=[[0.0, 0.0], [0.0, "a"]]), r"inputs.positions\[1\]"),
    (item(positions=[[0.0, 0.0], [0.0, math.nan]]), r"inputs.positions\[1\]: .*finite"),
    (item(positions=[[0.0, 0.0], [0.0, 10**400]]), r"inputs.positions\[1\]: .*finite"),
    (item(positions=[[0.0, 0.0], [0.0, 1.5]]), r"inputs.positions\[1\]: expected numbers from -1 to 1, got 0.0, 1.5"),
    (item(positions=[[0.0, 0.0], [0.0, 1.0003]]), r"inputs.positions\[1\]: .* from -1 to 1, got 0.0, 1.0003"),
    (item(values=[[0.0]]), "inputs: expected as many values as positions, got 2 and 1"),
    (item(values=[[0.0], [7.0]]), r"inputs.values\[1\]: expected numbers from 0 to 1, got 7.0"),
    (item(values=[[0.0], [True]]), r"inputs.values\[1\]"),
    (item(scales=[0]), r"inputs.scales: expected a list of as many numbers as positions \(2\), got 1"),
    (item(scales=[0, math.nan]), r"inputs.scales\[1\]: .*finite"),
    (item(scales=[0, 1]), r"inputs.scales: expected only 0, .*num_scales 1.*, got 1.0"),
    (item(queries=[]), "inputs.queries: expected at least one"),
    (item(queries=[[0.0, 0.0]], grid=[2, 2]), "inputs.grid: expected either"),
    (item(grid=[2]), "inputs.grid: expected 2 integers"),
    (item(grid=[0, 2]), "inputs.grid: expected 2 integers"),
    (item(grid=[2.5, 2]), "inputs.grid: expected 2 integers"),
    (item(grid=[10_000, 10_000]), "inputs.grid: expected at most 65,536 cells"),
    (parameters(task="draw"), "parameters.task"),
    (parameters(task=["sample"]), "parameters.task"),
    (parameters(order="coarse-to-fine"), 'parameters.order: expected "spread" or "random" or "raster", got'),
    (parameters(order=["random"]), "parameters.order"),
    (parameters(num_samples=0), "parameters.num_samples"),
    (parameters(num_samples=MAX_SAMPLES + 1), "parameters.num_samples"),
    (parameters(num_samples=True), "parameters.num_samples"),
    (parameters(num_steps="9"), "parameters.num_steps"),
    (parameters(temperature=-1), "parameters.temperature"),
    (parameters(temperature=math.nan), "parameters.temperature"),
    (parameters(seed=-1), "parameters.seed"),
    (parameters(steps=3), "parameters: expected task"),
    ({"inputs": observed(), "parameters": 3}, "parameters: expected an object"),
    ({"inputs": {"grid": [200, 200]}, "parameters": {"task": "sample"}}, "queries: expected at most 4,096 positions"),
    ({"inputs": [{"grid": [64, 64]}] * 32, "parameters": {"task": "sample", "num_samples": 16}}, "inputs: .*pairs"),
]


@pytest.mark.parametrize(("request_", "message"), BAD)
def test_bad_requests_are_refused_by_name_before_any_work(served, monkeypatch, request_, message):
    monkeypatch.setattr(served, "_answer", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=message):
        served(request_)


@pytest.mark.parametrize("beyond", [1.0, 1.0000001, -1.00005])
def test_endpoint_model_and_app_accept_the_same_numbers(served, beyond):
    """They read with the same functions, and move what lies within the tolerance into the range."""
    data = {"positions": [[beyond, 0.0]], "values": [[max(beyond, 0.0)]]}
    mean = served({"inputs": data | {"queries": [[0.0, beyond]]}})["mean"]
    known = read_observed(data, served.model.config)
    end = math.copysign(1.0, beyond)
    assert known.positions.tolist() == [[end, 0.0]] and known.values.tolist() == [[max(end, 0.0)]]
    expected = served.model.predict(*known.context, torch.tensor([[[0.0, end]]])).mean[0]
    assert torch.allclose(torch.tensor(mean), expected, atol=1e-6)
    tensors = torch.tensor([data["positions"]]), torch.tensor([data["values"]]), torch.tensor([[[0.0, beyond]]])
    assert torch.allclose(served.model.predict(*tensors).mean[0], expected, atol=1e-3)


@pytest.mark.parametrize("beyond", [1.0003, -1.0003])
def test_endpoint_model_and_app_refuse_the_same_numbers_and_show_them(served, beyond):
    data = {"positions": [[beyond, 0.0]], "values": [[0.5]]}
    for call in (
        lambda: served({"inputs": data}),
        lambda: read_observed(data, served.model.config),
        lambda: served.model.predict(*(torch.tensor([data[key]]) for key in data), torch.zeros(1, 1, 2)),
    ):
        with pytest.raises(ValueError, match=f"positions.*{beyond}"):
            call()


ROWS = st.lists(
    st.lists(st.one_of(st.floats(), st.integers(), st.booleans(), st.text(max_size=3), st.none())), max_size=4
)


def is_finite(number) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e30


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.one_of(ROWS, st.none(), st.text(), st.integers(), st.dictionaries(st.text(), st.integers())))
def test_whatever_rows_come_they_are_read_or_refused_by_name(rows):
    good = isinstance(rows, list) and all(len(row) == 2 and all(map(is_finite, row)) for row in rows)
    if good:
        assert read_rows(rows, 2, "rows").isfinite().all()
    else:
        with pytest.raises(ValueError, match=r"^rows.*: expected .*, got "):
            read_rows(rows, 2, "rows")


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8])
def test_arrays_are_read_like_lists(dtype):
    rows = np.array([[0, 1], [1, 0]], dtype)
    for given_ in (rows, list(rows), [list(row) for row in rows], tuple(map(tuple, rows)), torch.from_numpy(rows)):
        assert read_rows(given_, 2, "rows").tolist() == [[0, 1], [1, 0]]


def test_a_folder_without_safetensors_is_refused(tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="path: expected a checkpoint with model.safetensors"):
        EndpointHandler(str(tmp_path))


def test_the_cells_of_coarser_scales_count_as_work(tmp_path, monkeypatch):
    make_model(native_grid=[8, 8], num_scales=3).save_pretrained(tmp_path)
    handler = EndpointHandler(str(tmp_path))
    ask = {"inputs": observed(4, queries=[[0.0, 0.0]]), "parameters": {"task": "sample", "num_steps": 3}}
    monkeypatch.setattr("handler.MAX_PAIRS", 100)  # 4² + 1 × 6 in the random order, 4² + 21 × 26 with 4 + 16 cells more
    assert "samples" in handler(ask)
    ask["parameters"]["order"] = "coarse-to-fine"
    with pytest.raises(ValueError, match="at most 100 pairs"):
        handler(ask)
