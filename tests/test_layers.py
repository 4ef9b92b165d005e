"""Layers are modules that compute in their forward: what wraps or replaces modules has an effect."""

import copy
import json

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

from conftest import make_context, make_model
from pixeltransformer.attention import Block, FeedForward, KeysValues
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel

SCALES = dict(num_scales=2, value_dim=3, correlated_channels=True)


def loss_of(model: PixelTransformerModel | PeftModel, **more) -> torch.Tensor:
    """The loss of a small episode with a buffer and scales."""
    positions, values = make_context(model, context=9)
    parts = {"context": slice(0, 3), "buffer": slice(3, 6), "query": slice(6, 9)}
    episode = {f"{name}_positions": positions[:, part] for name, part in parts.items()}
    episode |= {f"{name}_values": values[:, part] for name, part in parts.items()}
    if model.config.num_scales > 1:
        episode |= {f"{name}_scales": torch.ones(2, 3) for name in parts}
    return model(**episode, **more).loss


def test_forward_hooks_fire_in_every_module():
    model = make_model(**SCALES)
    fired = set()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: fired.add(name))
    loss_of(model)
    lists = {name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    assert fired == {name for name, _ in model.named_modules()} - lists
    for call in ("predict", "sample"):  # which answer without the model's own forward
        fired.clear()
        positions, values = make_context(model)
        getattr(model, call)(positions, values, model.native_positions()[:, :4])
        blocks = {
            name for name, module in model.named_modules() if isinstance(module, Block | FeedForward | KeysValues)
        }
        assert blocks <= fired


def test_a_hook_changes_what_the_model_says(model):
    positions, values = make_context(model)
    before = model.predict(positions, values, positions).means
    for block in (model.encoder[0], model.decoder[-1].feed_forward):
        handle = block.register_forward_hook(lambda module, arguments, output: output * 0)
        assert not torch.allclose(model.predict(positions, values, positions).means, before, atol=1e-4)
        handle.remove()
        assert torch.equal(model.predict(positions, values, positions).means, before)


def test_lora_adapters_learn_save_and_load(tmp_path):
    model = make_model(**SCALES)
    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=["query_key_value", "query", "projection", "output", "up", "down"])
    adapted = get_peft_model(copy.deepcopy(model), lora)
    assert loss_of(adapted).item() == pytest.approx(loss_of(model).item(), abs=1e-6)
    adapters = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert len(adapters) == 2 * (4 * 2 + 4 * 2 + 1)  # two matrices for each linear layer of 2 + 2 blocks and the memory
    optimizer = torch.optim.SGD(adapters.values(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in adapted.named_parameters()}
    for _ in range(2):  # the first of the two matrices gets gradients once the second is not 0
        optimizer.zero_grad()
        loss = loss_of(adapted)
        loss.backward()
        optimizer.step()
    assert all(parameter.grad.abs().max() > 0 for parameter in adapters.values())
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in adapters)
    positions, values = make_context(model)
    adapted.eval().save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(model), tmp_path).eval()
    answers = [one.predict(positions, values, positions).means for one in (adapted, loaded, model)]
    assert torch.equal(answers[0], answers[1]) and not torch.allclose(answers[0], answers[2], atol=1e-4)
    merged = loaded.merge_and_unload()
    assert torch.allclose(merged.predict(positions, values, positions).means, answers[0], atol=1e-4)


def test_dynamic_int8_quantises_every_layer_and_changes_little(model):
    positions, values = make_context(model)
    exact = model.predict(positions, values, positions)
    small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    for module in small.modules():
        if isinstance(module, Block | FeedForward | KeysValues):
            assert not any(type(child) is nn.Linear for child in module.children())
    found = small.predict(positions, values, positions)
    away = (found.mean - exact.mean).abs().max()
    assert 0 < away < 0.2 * exact.mean.std() + 0.05
    assert torch.isfinite(small.sample(positions, values, model.native_positions()[:, :6])).all()


@pytest.mark.parametrize("kind", ["cpu", "disk"])
def test_offloaded_weights_give_the_same_answers(model, kind, tmp_path):
    positions, values = make_context(model)
    queries = model.native_positions()[:, :6]

    def answers(model):
        sample = model.sample(positions, values, queries, generator=torch.Generator().manual_seed(0))
        return [
            model.predict(positions, values, model.native_positions()).means,
            sample,
            model.log_prob(positions, values, queries, sample[0], generator=torch.Generator().manual_seed(0)),
            loss_of(model),
        ]

    before = answers(model)
    if kind == "cpu":
        cpu_offload(model, execution_device="cpu")
    else:
        disk_offload(model, str(tmp_path), execution_device="cpu")
    assert all(parameter.device.type == "meta" for parameter in model.parameters())
    for one, other in zip(before, answers(model), strict=True):
        assert torch.equal(one, other)


def test_pruned_weights_are_those_that_compute(model):
    positions, values = make_context(model)
    pruned = copy.deepcopy(model)
    for block in pruned.encoder:
        prune.l1_unstructured(block.query_key_value, "weight", amount=0.5)
    found = pruned.predict(positions, values, positions).means
    assert not torch.allclose(found, model.predict(positions, values, positions).means, atol=1e-4)
    for block, own in zip(pruned.encoder, model.encoder, strict=True):
        prune.remove(block.query_key_value, "weight")
        own.query_key_value.weight.data = block.query_key_value.weight.data
    assert torch.equal(found, model.predict(positions, values, positions).means)


def test_weights_in_the_layout_of_an_earlier_version_are_refused(tmp_path):
    make_model(**SCALES).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    query, key, value = weights.pop("encoder.0.query_key_value.weight").chunk(3)
    weights |= {"encoder.0.query.weight": query, "encoder.0.key.weight": key, "encoder.0.value.weight": value}
    weights = {name: weight.clone() for name, weight in weights.items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="weights of this version.*unexpected: encoder.0.key.weight, encoder"):
        PixelTransformerModel.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_scales": 1}))
    with pytest.raises(ValueError, match="weights of this version"):
        PixelTransformerModel.from_pretrained(tmp_path, num_scales=2)
