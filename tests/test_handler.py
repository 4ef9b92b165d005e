"""The handler for Inference Endpoints answers as the model does, and refuses what is wrong or too much by name."""

import json
import math
import random
import shutil

import pytest
import torch

from conftest import ROOT, make_model
from handler import MAX_INPUTS, MAX_SAMPLES, EndpointHandler


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> EndpointHandler:
    folder = tmp_path_factory.mktemp("served")
    make_model().save_pretrained(folder)
    shutil.copy(ROOT / "handler.py", folder)
    return EndpointHandler(str(folder))


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
    (item(positions=[[0, 0]] * 5000), "inputs.positions: expected at most 4,096, got 5,000"),
    (item(positions=[[0.0, 0.0], [0.0]]), r"inputs.positions\[1\]: expected a list of 2"),
    (item(positions=[[0.0, 0.0], [0.0, "a"]]), r"inputs.positions\[1\]"),
    (item(positions=[[0.0, 0.0], [0.0, math.nan]]), r"inputs.positions\[1\]: .*finite"),
    (item(positions=[[0.0, 0.0], [0.0, 10**400]]), r"inputs.positions\[1\]: .*finite"),
    (item(positions=[[0.0, 0.0], [0.0, 1.5]]), r"inputs.positions: expected numbers in \[-1, 1\], got 1.5"),
    (item(values=[[0.0]]), "inputs.values: expected one for each of 2 positions, got 1"),
    (item(values=[[0.0], [7.0]]), r"inputs.values: expected numbers in \[0, 1\], got 0 to 7"),
    (item(values=[[0.0], [True]]), r"inputs.values\[1\]"),
    (item(scales=[0]), "inputs.scales: expected one number for each of 2 positions"),
    (item(scales=[0, math.nan]), r"inputs.scales\[1\]: .*finite"),
    (item(scales=[0, 1]), "inputs.scales: expected numbers from 0 to 0 .*, got 0 to 1"),
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
    ({"inputs": {"grid": [200, 200]}, "parameters": {"task": "sample"}}, "queries: expected at most 4,096 places"),
    ({"inputs": [{"grid": [64, 64]}] * 32, "parameters": {"task": "sample", "num_samples": 16}}, "inputs: .*pairs"),
]


@pytest.mark.parametrize(("request_", "message"), BAD)
def test_bad_requests_are_refused_by_name_before_any_work(served, monkeypatch, request_, message):
    monkeypatch.setattr(served, "_answer", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=message):
        served(request_)


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
