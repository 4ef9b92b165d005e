"""What users of transformers and torch do with a model works with this one."""

import copy
import multiprocessing

import numpy as np
import pytest
import torch
from transformers import AutoModel

from conftest import make_context, make_model
from pixeltransformer import PixelTransformerModel

CORRELATED = dict(value_dim=3, correlated_channels=True)


def means(model, seed: int = 1) -> torch.Tensor:
    return model.predict(*make_context(model, seed=seed), model.native_positions()).mean


@pytest.mark.parametrize("device_map", ["auto", "cpu", "disk"])
def test_a_device_map_places_the_parts(grey_model, tmp_path, device_map):
    grey_model.save_pretrained(tmp_path / "model")
    if device_map == "disk":  # the decoder's weights stay on disk until they are needed
        device_map = {name: "cpu" for name, _ in grey_model.named_children()} | {"bin_centers": "cpu"}
        device_map["decoder"] = "disk"
    loaded = PixelTransformerModel.from_pretrained(
        tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload"
    )
    assert torch.allclose(means(loaded.eval()), means(grey_model), atol=1e-6)


def test_a_copy_is_a_model_of_its_own(grey_model):
    twin = copy.deepcopy(grey_model)
    before = means(grey_model)
    assert torch.equal(means(twin), before)
    with torch.no_grad():
        twin.head.weight.mul_(2)
    assert torch.equal(means(grey_model), before) and not torch.equal(means(twin), before)


def test_weights_in_several_files_load_again(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    loaded = AutoModel.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert torch.equal(means(loaded.eval()), means(grey_model))
    loaded.save_pretrained(tmp_path / "again", max_shard_size="30KB")
    assert torch.equal(means(PixelTransformerModel.from_pretrained(tmp_path / "again")), means(grey_model))


def answer(model: torch.nn.Module) -> np.ndarray:
    torch.set_num_threads(1)
    return means(model).numpy()


def test_a_model_travels_to_a_spawned_process(grey_model):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(answer, (grey_model,))
    assert np.allclose(found, means(grey_model).numpy(), atol=1e-6)


def test_a_compiled_model_gives_the_same_in_one_graph(grey_model):
    compiled = torch.compile(grey_model, backend="aot_eager", fullgraph=True)
    inputs = (*make_context(grey_model), grey_model.native_positions())
    with torch.no_grad():
        assert torch.allclose(compiled(*inputs).distribution.mean, means(grey_model), atol=1e-6)


def test_gradients_reach_the_context_and_are_those_of_differences():
    """With respect to observed values and to their positions."""
    model = make_model().double()
    inputs = [part.double().requires_grad_() for part in make_context(model, 1)]
    queries = model.native_positions()[:, :5].double()
    target = torch.full((1, 5, 1), 0.4, dtype=torch.double)

    def score(positions, values):
        return model(positions, values, queries).distribution.log_prob(target).sum()

    gradients = torch.autograd.grad(score(*inputs), inputs)
    for number, gradient in enumerate(gradients):
        moved = torch.zeros_like(gradient)
        index = np.unravel_index(int(gradient.abs().argmax()), gradient.shape)
        moved[index] = 1e-3
        ends = [
            score(*(part.detach() + (side * moved if number == which else 0) for which, part in enumerate(inputs)))
            for side in (-1, 1)
        ]
        assert ((ends[1] - ends[0]) / 2e-3).item() == pytest.approx(gradient[index].item(), rel=2e-2)


@pytest.mark.parametrize("config", [{}, CORRELATED], ids=["grey", "correlated"])
def test_the_exported_mean_is_the_models(config, tmp_path):
    """As a graph of torch and served by onnxruntime, for sizes other than those it was traced with."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from examples.export_onnx import NAMES, arguments_for, export_mean, export_onnx

    model = make_model(num_encoder_layers=1, num_decoder_layers=1, **config)
    inputs = arguments_for(model, 1, 11, 20)
    expected = model.predict(*inputs).mean
    mean = export_mean(model)
    assert torch.allclose(mean.module()(*inputs), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(export_onnx(mean, tmp_path / "mean.onnx"))
    served = session.run(["mean"], {name: part.numpy() for name, part in zip(NAMES, inputs, strict=True)})[0]
    assert np.allclose(served, expected.numpy(), atol=1e-5)


def test_int8_weights_by_torchao_change_the_mean_little():
    quantization = pytest.importorskip("torchao.quantization")
    model = make_model(hidden_size=64, num_attention_heads=2)
    expected = means(model)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    assert (means(model) - expected).abs().max() < 0.05
