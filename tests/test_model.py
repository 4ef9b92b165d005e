"""Truths about the network: what it depends on, and what it does not."""

import pickle

import numpy as np
import pytest
import torch

from conftest import make_context, make_model
from pixeltransformer.attention import Memory, Span
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.head import uniform_bins
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel


def parameters_of(distribution):
    return torch.cat([part.reshape(*distribution.batch_shape, -1) for part in distribution.parts.values()], -1)


def same(first, second, tolerance: float = 1e-4) -> bool:
    return torch.allclose(parameters_of(first), parameters_of(second), atol=tolerance)


def test_permuted_context_gives_the_same_prediction(model):
    positions, values = make_context(model)
    queries = model.native_positions()
    order = torch.randperm(positions.shape[1])
    first, second = (
        model.predict(p, v, queries) for p, v in ((positions, values), (positions[:, order], values[:, order]))
    )
    assert same(first, second)


def test_prediction_depends_on_values_positions_and_query(model):
    positions, values = make_context(model)
    queries = model.native_positions()
    base = model.predict(positions, values, queries)
    assert not same(base, model.predict(positions, values.flip(1), queries))
    assert not same(base, model.predict(positions.flip(1), values, queries))
    assert not same(base, model.predict(positions, values, queries.flip(1)))


def test_padding_with_a_mask_changes_nothing(model):
    positions, values = make_context(model)
    queries = model.native_positions()
    padded = [torch.cat((part, torch.full_like(part[:, :3], 0.9)), 1) for part in (positions, values)]
    mask = torch.ones(2, positions.shape[1] + 3, dtype=torch.bool)
    mask[:, -3:] = False
    assert same(model.predict(positions, values, queries), model.predict(*padded, queries, context_mask=mask))
    samples = [
        model.sample(*context, queries[:, :9], generator=torch.Generator().manual_seed(0), context_mask=m)
        for context, m in (((positions, values), None), (padded, mask))
    ]
    assert torch.allclose(*samples, atol=1e-4)


def test_a_batch_equals_its_items_one_by_one(model):
    positions, values = make_context(model, batch=3)
    queries = model.native_positions()
    together = model.predict(positions, values, queries)
    for index in range(3):
        alone = model.predict(positions[index : index + 1], values[index : index + 1], queries)
        assert same(together[index : index + 1], alone)


def test_queries_do_not_see_each_other_and_chunks_change_nothing(model):
    positions, values = make_context(model)
    queries = model.native_positions()
    whole = model.predict(positions, values, queries)
    assert same(whole, model.predict(positions, values, queries, chunk_size=7))
    assert same(whole[:, 3:5], model.predict(positions, values, queries[:, 3:5]))


def test_nothing_observed_is_well_defined(model):
    positions, values = make_context(model, context=0)
    marginal = model.predict(positions, values, model.native_positions())
    assert torch.isfinite(marginal.mean).all()
    sample = model.sample(positions, values, model.native_positions())
    assert torch.isfinite(sample).all()


def test_buffer_is_causal_and_context_is_not(model):
    """A buffer value changes the prediction of later ones and of nothing else."""
    positions, values = make_context(model, context=4)
    buffer_positions, buffer_values = make_context(model, context=6, seed=2)
    queries = model.native_positions()[:, :5].expand(2, -1, -1)
    arguments = dict(context_positions=positions, context_values=values, query_positions=queries)
    before = model(**arguments, buffer_positions=buffer_positions, buffer_values=buffer_values)
    changed = buffer_values.clone()
    changed[:, 2] = 1 - changed[:, 2]
    after = model(**arguments, buffer_positions=buffer_positions, buffer_values=changed)
    assert same(before.distribution, after.distribution)
    assert same(before.buffer_distribution[:, :3], after.buffer_distribution[:, :3])
    for later in range(3, 6):
        assert not same(
            before.buffer_distribution[:, later : later + 1], after.buffer_distribution[:, later : later + 1]
        )


def test_no_token_sees_at_evaluation_what_it_did_not_see_in_training(model):
    """The training pass and the incremental one agree on every conditional, at K = 0 and above, in blocks too.

    In particular the "nothing observed" token belongs to block 0 and never sees a drawn value.
    """
    for context in (0, 3):
        for blocks in (torch.tensor([1, 2, 3, 4, 5, 6]), torch.tensor([1, 1, 2, 3, 3, 3])):
            positions, values = make_context(model, context=context)
            buffer_positions, buffer_values = make_context(model, context=6, seed=2)
            trained = model(
                positions,
                values,
                buffer_positions[:, :1],
                buffer_positions=buffer_positions,
                buffer_values=buffer_values,
                buffer_blocks=blocks,
            ).buffer_distribution
            memory = model.encode(positions, values)
            frozen = [(keys.clone(), other.clone()) for keys, other in memory.layers]
            for block in blocks.unique():
                here = blocks == block
                embedded = model.embed_positions(buffer_positions[:, here])
                assert same(trained[:, here], model.decode(memory, embedded))
                model.append(memory, embedded, buffer_values[:, here])
            for (keys, other), (old_keys, old_other) in zip(memory.layers, frozen, strict=True):
                assert torch.equal(keys[..., : context + 1, :], old_keys)
                assert torch.equal(other[..., : context + 1, :], old_other)


def test_loss_is_the_mean_over_queries_and_buffer(model):
    positions, values = make_context(model)
    queries, truth = make_context(model, context=5, seed=2)
    buffer_positions, buffer_values = make_context(model, context=3, seed=3)
    out = model(positions, values, queries, truth, None, buffer_positions, buffer_values)
    total = out.distribution.log_prob(truth).sum() + out.buffer_distribution.log_prob(buffer_values).sum()
    assert torch.allclose(out.loss, -total / (2 * 8), atol=1e-5)
    assert model(positions, values, queries).loss is None


def test_gradients_reach_every_parameter(model):
    model.train()
    positions, values = make_context(model)
    queries, truth = make_context(model, context=5, seed=2)
    buffer_positions, buffer_values = make_context(model, context=3, seed=3)
    model(positions, values, queries, truth, None, buffer_positions, buffer_values).loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


def test_mean_stays_inside_the_value_range():
    model = make_model(initializer_range=2.0, value_dim=3)
    positions, values = make_context(model)
    marginal = model.predict(positions, values, model.native_positions())
    assert marginal.means.min() >= 0 and marginal.means.max() <= 1
    assert marginal.mean.min() >= 0 and marginal.mean.max() <= 1


def test_uniform_bins_fill_the_range_of_every_channel():
    bins = uniform_bins(PixelTransformerConfig(value_dim=3, num_bins=27))
    assert bins.unique(dim=0).shape == (27, 3)
    assert bins.amin(0).tolist() == [0, 0, 0] and bins.amax(0).tolist() == [1, 1, 1]
    assert torch.allclose(uniform_bins(PixelTransformerConfig(num_bins=3))[:, 0], torch.tensor([0.0, 0.5, 1.0]))


def test_bfloat16_model_gives_finite_float32_distributions(model):
    model = model.to(torch.bfloat16)
    positions, values = make_context(model)
    marginal = model.predict(positions, values, model.native_positions())
    assert marginal.mean.dtype == torch.float32 and torch.isfinite(marginal.mean).all()
    assert torch.isfinite(model.sample(positions, values, model.native_positions()[:, :6])).all()


def test_attention_sees_only_differences_of_positions():
    """A block's output is unchanged when all positions move together."""
    model = make_model()
    tokens = torch.randn(1, 5, 32)
    positions = torch.rand(1, 5, 2) - 0.5
    outputs = []
    for shift in (0.0, 0.3):
        rotation = model.rotation(positions + shift)
        outputs.append(model.encoder[0](tokens, rotation, Memory(1, bounds=None), [Span(0, 5, 5)]))
    assert torch.allclose(*outputs, atol=1e-4)


def test_native_positions_are_cell_centres_with_x_fastest():
    model = make_model(native_grid=[4, 2])
    positions = model.native_positions()[0]
    assert torch.allclose(positions[0], torch.tensor([-0.75, -0.5]))
    assert torch.allclose(positions[1], torch.tensor([-0.25, -0.5]))
    assert torch.allclose(positions[4], torch.tensor([-0.75, 0.5]))
    video = make_model(signal="video", native_grid=[3, 4, 2]).native_positions()[0]  # t, x, y
    assert torch.allclose(video[1] - video[0], torch.tensor([0.0, 0.5, 0.0]))
    assert torch.allclose(video[4] - video[0], torch.tensor([0.0, 0.0, 1.0]))


def test_paper_configuration_is_the_published_one():
    config = PixelTransformerConfig.paper(value_dim=3)
    published = (config.num_encoder_layers, config.num_decoder_layers, config.hidden_size, config.intermediate_size)
    assert published == (10, 10, 256, 512) and config.num_attention_heads == 4 and config.num_bins == 512
    assert not config.rotary and config.norm_position == "post" and config.position_bandwidth == 2.0
    assert PixelTransformerModel(PixelTransformerConfig.paper(hidden_size=16, num_bins=2)).rotary is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal", ""),
        ("native_grid", [4, 0]),
        ("hidden_size", 30),
        ("value_range", [1.0, 0.0]),
        ("norm", "batch"),
        ("min_std", 0.9 - 1),
        ("max_std", 1e-9),
        ("rotary_max_frequency", 0.0),
        ("max_tokens", 12.5),
        ("quantization_step", -1.0),
        ("num_bins", 0),
        ("position_bandwidth", 0.0),
        ("value_bandwidth", -1.0),
        ("value_bandwidth", float("nan")),
        ("value_range", [0.0, float("inf")]),
        ("quantization_step", 0.3),
        ("max_buffer_share", "half"),
        ("num_bins", True),
        ("num_bins", 16.0),
        ("axes", [0]),
        ("axes", [1, 1]),
        ("axes", "yx"),
        ("native_grid", 28),
        ("native_grid", [28, 28.5]),
        ("num_scales", 4),  # 28 = 7 × 2 × 2
    ],
)
def test_bad_configuration_names_the_field(field, value):
    with pytest.raises(ValueError, match=f"PixelTransformerConfig.{field}: expected .*, got"):
        PixelTransformerConfig(**{field: value, **({"num_attention_heads": 4} if field == "hidden_size" else {})})


@pytest.mark.parametrize(("grid", "most"), [([7, 7], 1), ([2, 2], 2), ([8, 12], 3), ([64], 7), ([4, 32, 32], 3)])
def test_as_many_scales_are_accepted_as_the_grid_can_be_halved(grid, most):
    assert PixelTransformerConfig(native_grid=grid, num_scales=most).num_scales == most
    with pytest.raises(ValueError, match=f"num_scales: expected at most {most}, .* got {most + 1}"):
        PixelTransformerConfig(native_grid=grid, num_scales=most + 1)


def test_numbers_of_other_libraries_become_python_s(tmp_path):
    given = dict(native_grid=np.array([8, 8]), num_scales=np.int64(2), value_range=torch.tensor([0.0, 1.0]))
    given |= dict(quantization_step=np.float64(1 / 255), max_buffer_share=np.float32(0.5), axes=(np.int8(1), 0))
    config = PixelTransformerConfig(**given)
    config.save_pretrained(tmp_path)
    loaded = PixelTransformerConfig.from_pretrained(tmp_path)
    for name in given:
        assert getattr(loaded, name) == getattr(config, name)
    assert loaded.native_grid == [8, 8] and type(loaded.num_scales) is int and loaded.axes == [1, 0]
    assert loaded.levels == (0.0, 1.0, 1 / 255)


@pytest.mark.parametrize(
    ("signal", "grid", "expected"),
    [
        ("image", [4, 2], [1, 0]),
        ("polynomial", [9], [0]),
        ("shape", [2, 2, 2], [2, 1, 0]),
        ("video", [3, 4, 2], [0, 2, 1]),
    ],
)
def test_axes_of_the_shipped_kinds_are_derived(signal, grid, expected):
    assert PixelTransformerConfig(signal=signal, native_grid=grid).axes_slowest_first == expected


def test_the_axes_of_any_kind_are_kept_with_its_checkpoint(tmp_path):
    """A scan: arrays (t, x), positions (t, x)."""
    model = make_model(signal="scan", native_grid=[3, 2], axes=[0, 1])
    model.save_pretrained(tmp_path)
    positions = PixelTransformerModel.from_pretrained(tmp_path).native_positions()[0]
    assert torch.allclose(positions[1] - positions[0], torch.tensor([0.0, 1.0]))  # x runs fastest
    assert torch.allclose(positions[2] - positions[0], torch.tensor([2 / 3, 0.0]))


def test_input_embeddings_are_a_layer_that_can_be_replaced(model):
    """As transformers expects of every model."""
    layer = model.get_input_embeddings()
    assert isinstance(layer, torch.nn.Module) and layer is model.token_value
    context, queries = make_context(model), model.native_positions()
    before = model.predict(*context, queries).means
    other = torch.nn.Linear(layer.in_features, layer.out_features)
    model.set_input_embeddings(other)
    assert model.get_input_embeddings() is other and model.get_output_embeddings() is None
    assert not torch.allclose(model.predict(*context, queries).means, before)


def test_a_prediction_sees_weights_written_through_data():
    first, second = make_model(seed=0).eval(), make_model(seed=1).eval()
    context, queries = make_context(first), first.native_positions()
    first.predict(*context, queries)
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        mine.data.copy_(other.data)
    assert torch.equal(first.predict(*context, queries).mean, second.predict(*context, queries).mean)


def test_inference_mode_leaves_a_model_that_can_be_trained_and_saved_whole(grey_model, tmp_path):
    context, queries = make_context(grey_model), grey_model.native_positions()
    size = len(pickle.dumps(grey_model))
    with torch.inference_mode():
        grey_model.predict(*context, queries)
        make_model().predict(*context, queries)
    assert len(pickle.dumps(grey_model)) == size
    torch.save(grey_model, tmp_path / "model.pt")
    values = torch.rand(2, queries.shape[1], 1)
    grey_model.train()(*context, queries.expand(2, -1, -1), query_values=values).loss.backward()
