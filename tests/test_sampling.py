"""Joint samples and joint likelihoods follow the chain rule, cached or not."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_context, make_model
from pixeltransformer.orders import block_sizes, values_in_context


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"method": "one-by-one"}, {"num_steps": 5}, {"num_autoregressive": 6}, {"num_autoregressive": 0}],
)
@pytest.mark.parametrize("context", [0, 5])
def test_cached_sampler_equals_the_uncached(model, context, arguments):
    positions, values = make_context(model, context=context)
    queries = model.native_positions()[:, :12]
    draws = [
        model.sample(positions, values, queries, num_samples=3, generator=generator(), use_cache=cached, **arguments)
        for cached in (True, False)
    ]
    assert draws[0].shape == (3, 2, 12, model.config.value_dim)
    assert torch.allclose(*draws, atol=5e-4)  # rounding grows along a chain; another mask would change values by 1


def test_cached_sampler_equals_teacher_forced_evaluation(model):
    """The distributions from which the sampler drew are those of one training pass over what it drew."""
    model.config.max_buffer_share = 1.0
    positions, values = make_context(model)
    queries = model.native_positions()[:, :10].expand(2, -1, -1)
    order = torch.randperm(10, generator=generator())
    seen, decode = [], model.decode

    def spy(*args):
        seen.append(decode(*args))
        return seen[-1]

    model.decode = spy
    sample = model.sample(positions, values, queries, order=order, generator=generator(), method="one-by-one")[0]
    del model.decode
    forced = model(
        positions, values, queries[:, :1], buffer_positions=queries[:, order], buffer_values=sample[:, order]
    ).buffer_distribution
    for step, drawn_from in enumerate(seen):
        for part in ("log_weights", "means", "log_stds"):
            one, other = getattr(drawn_from, part)[:, 0], getattr(forced, part)[:, step]
            assert torch.allclose(one, other, atol=1e-4)


def test_log_prob_of_one_query_is_that_of_predict(model):
    positions, values = make_context(model)
    queries, truth = make_context(model, context=1, seed=4)
    joint = model.log_prob(positions, values, queries, truth)
    marginal = model.predict(positions, values, queries).log_prob(truth)[:, 0]
    assert torch.allclose(joint, marginal, atol=1e-4)


def test_joint_log_prob_is_the_sum_of_conditionals(model):
    model.config.max_buffer_share = 1.0
    positions, values = make_context(model, context=3)
    queries, truth = make_context(model, context=6, seed=4)
    order = torch.randperm(6, generator=generator())
    total = torch.zeros(2)
    for step in range(6):
        known, now = order[:step], order[step : step + 1]
        conditional = model(
            positions,
            values,
            queries[:, :1],
            buffer_positions=torch.cat((queries[:, known], queries[:, now]), 1),
            buffer_values=torch.cat((truth[:, known], truth[:, now]), 1),
        ).buffer_distribution[:, -1:]
        total += conditional.log_prob(truth[:, now])[:, 0]
    assert torch.allclose(model.log_prob(positions, values, queries, truth, order=order), total, atol=1e-3)


def test_a_buffer_beyond_its_share_becomes_context(model):
    """Each value is scored given those before it, in a buffer as long as they are few enough."""
    model.config.max_buffer_share = 0.4
    positions, values = make_context(model, context=3)
    queries, truth = make_context(model, context=6, seed=4)
    in_context = values_in_context(3, [1] * 6, 0.4)
    assert in_context == [0, 0, 0, 3, 3, 3, 3]  # of 6 known values, a buffer of 3 is more than 0.4
    total = torch.zeros(2)
    for now, held in zip(range(6), in_context, strict=False):
        total += model(
            torch.cat((positions, queries[:, :held]), 1),
            torch.cat((values, truth[:, :held]), 1),
            queries[:, :1],
            buffer_positions=queries[:, held : now + 1],
            buffer_values=truth[:, held : now + 1],
        ).buffer_distribution.log_prob(truth[:, held : now + 1])[:, -1]
    assert torch.allclose(model.log_prob(positions, values, queries, truth, order=torch.arange(6)), total, atol=1e-3)


@settings(deadline=None)
@given(st.integers(0, 30), st.lists(st.integers(1, 9), min_size=1, max_size=40), st.floats(0, 1))
def test_the_buffer_keeps_to_its_share(known, sizes, share):
    in_context = values_in_context(known, sizes, share)
    drawn = [0, *itertools.accumulate(sizes)]
    assert len(in_context) == len(drawn) and in_context == sorted(in_context) and set(in_context) <= set(drawn)
    for held, there in zip(in_context, drawn, strict=True):
        assert held <= there and (there - held) <= share * (known + there)
    assert share < 1 or not any(in_context)


def test_joint_log_prob_does_not_depend_on_chunks(model):
    from pixeltransformer.sampling import joint_log_prob

    positions, values = make_context(model, context=3)
    queries, truth = make_context(model, context=9, seed=4)
    for blocks in (None, torch.tensor([1, 1, 1, 2, 2, 3, 3, 3, 3])):
        whole, cut = (
            joint_log_prob(model, positions, values, queries, truth, torch.arange(9), blocks=blocks, chunk_size=size)
            for size in (100, 2)
        )
        assert torch.allclose(whole, cut, atol=1e-3)


def test_blocks_are_scored_as_independent_given_the_past(model):
    positions, values = make_context(model, context=3)
    queries, truth = make_context(model, context=4, seed=4)
    one_block = model.log_prob(positions, values, queries, truth, blocks=torch.ones(4, dtype=torch.long))
    marginals = model.predict(positions, values, queries).log_prob(truth).sum(1)
    assert torch.allclose(one_block, marginals, atol=1e-3)


def test_same_seed_same_sample_and_another_seed_another(model):
    positions, values = make_context(model)
    queries = model.native_positions()[:, :8]
    first, second, third = (model.sample(positions, values, queries, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, third)


def test_samples_of_one_call_differ(grey_model):
    positions, values = make_context(grey_model)
    draws = grey_model.sample(positions, values, grey_model.native_positions(), num_samples=3)
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[1], draws[2])


def test_hybrid_fills_the_rest_with_the_conditional_mean(model):
    positions, values = make_context(model)
    queries = model.native_positions()[:, :9]
    order = torch.randperm(9, generator=generator())
    filled = model.sample(positions, values, queries, num_autoregressive=0, order=order)[0]
    assert torch.allclose(filled, model.predict(positions, values, queries).mean, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"num_steps": 3}, {"num_autoregressive": 4}, {"order": "coarse-to-fine"}])
def test_what_is_drawn_can_be_changed_and_trained_on(options):
    """Values are drawn in inference mode, whose tensors could be neither."""
    model = make_model(num_scales=2 if "order" in options else 1)
    positions, values = make_context(model)
    queries = model.native_positions()
    for state in model.sample_iter(positions, values, queries, **options):
        for part in (state.values, state.drawn, state.coarse):
            assert part is None or not part.is_inference()
    drawn = state.values[0]
    drawn[:, 0] = 0.5
    model(positions, values, queries.expand(2, -1, -1), drawn).loss.backward()
    assert model.head.weight.grad.abs().sum() > 0


def test_hybrid_needs_room_only_for_what_it_draws(grey_model):
    grey_model.config.max_tokens = 12
    context, queries = make_context(grey_model, context=5), grey_model.native_positions()
    drawn = grey_model.sample(*context, queries, num_autoregressive=7, generator=generator())
    assert drawn.shape == (1, 2, 36, 1) and drawn.isfinite().all()
    with pytest.raises(ValueError, match="at most 12 .*got 5 \\+ 8"):
        grey_model.sample(*context, queries, num_autoregressive=8)


def test_iteration_reveals_more_at_each_step_and_ends_as_sample(grey_model):
    positions, values = make_context(grey_model)
    queries = grey_model.native_positions()
    counts, last = [], None
    for state in grey_model.sample_iter(positions, values, queries, num_steps=6, generator=generator()):
        assert torch.equal(state.drawn, ~state.values.isnan().any(-1))
        counts.append(int(state.drawn[0, 0].sum()))
        last = state.values.clone()
    assert counts == sorted(set(counts)) and len(counts) == 6 and counts[-1] == 36
    assert torch.equal(last, grey_model.sample(positions, values, queries, num_steps=6, generator=generator()))


@pytest.mark.parametrize(
    "options", [{}, {"num_steps": 6}, {"num_steps": 4, "num_autoregressive": 9}, {"order": "coarse-to-fine"}]
)
def test_states_that_are_kept_stay_what_they_were(options):
    model = make_model(num_scales=2 if "order" in options else 1)
    inputs = (*make_context(model), model.native_positions())

    def seen(state) -> list[torch.Tensor]:
        parts = (state.values, state.drawn.float(), state.coarse)
        return [part.nan_to_num(-1.0).clone() for part in parts if part is not None]

    at_once = [seen(state) for state in model.sample_iter(*inputs, generator=generator(), **options)]
    later = [seen(state) for state in list(model.sample_iter(*inputs, generator=generator(), **options))]
    assert len(at_once) == len(later) > 2
    for parts in zip(at_once, later, strict=True):
        assert all(torch.equal(*pair) for pair in zip(*parts, strict=True))


@pytest.mark.parametrize(
    ("queries", "steps"), [(10, 1), (10, 10), (10, 3), (784, 64), (1024, 1000), (5, 99), (1, None)]
)
def test_block_sizes_are_positive_and_complete(queries, steps):
    sizes = block_sizes(queries, steps)
    assert sum(sizes) == queries and min(sizes) >= 1
    assert len(sizes) == min(steps or queries, queries)


def test_samples_follow_the_joint_distribution():
    """Of two binary pixels all four outcomes come as often as `log_prob` says."""
    from conftest import make_model

    model = make_model(native_grid=[2, 1], quantization_step=1.0, num_bins=2, min_std=0.05)
    positions, values = torch.zeros(1, 0, 2), torch.zeros(1, 0, 1)
    queries, order = model.native_positions(), torch.tensor([0, 1])
    draws = model.sample(positions, values, queries, num_samples=4000, order=order, generator=generator())
    codes = (draws[:, 0, :, 0] @ torch.tensor([1.0, 2.0])).long()
    for code in range(4):
        outcome = torch.tensor([[[code % 2], [code // 2]]], dtype=torch.float32)
        expected = model.log_prob(positions, values, queries, outcome, order=order).exp().item()
        assert abs((codes == code).float().mean().item() - expected) < 0.03


def test_padding_does_not_change_the_blocks(grey_model):
    positions, values = make_context(grey_model, context=2)
    queries, mask = grey_model.native_positions(), torch.arange(20).expand(2, -1) < 2
    padded = F.pad(positions, (0, 0, 0, 18)), F.pad(values, (0, 0, 0, 18), value=0.5)

    def counts(*context, **options):
        states = grey_model.sample_iter(*context, queries, num_steps=4, **options)
        return [int(state.drawn[0, 0].sum()) for state in states]

    assert counts(positions, values) == counts(*padded, context_mask=mask)


def test_coarse_cells_count_as_tokens():
    model = make_model(native_grid=[8, 8], num_scales=3, max_tokens=17)
    context = make_context(model, context=1)
    query = model.native_positions()[:, :1]
    model.sample(*context, query, num_steps=2)
    for finish in ("sample", "mean"):
        with pytest.raises(ValueError, match="at most 17"):
            model.sample(*make_context(model, context=2), query, order="coarse-to-fine", num_steps=3, finish=finish)


def test_chunks_of_no_value_are_refused(grey_model):
    queries = grey_model.native_positions()
    with pytest.raises(ValueError, match="chunk_size"):
        grey_model.log_prob(*make_context(grey_model), queries, torch.rand(2, queries.shape[1], 1), chunk_size=0)


def in_and_out_of_a_batch(model, seed: int = 0):
    """Two items that know 7 and 2 values, batched under a mask; and each alone, without it."""
    positions, values = make_context(model)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, [0, 2, 3, 4, 6]] = False
    return (positions, values, mask), [(positions[i : i + 1, mask[i]], values[i : i + 1, mask[i]]) for i in range(2)]


@pytest.mark.parametrize("num_steps", [None, 4])
def test_the_likelihood_of_an_item_does_not_depend_on_its_batch(model, num_steps):
    model.config.max_buffer_share = 0.3
    (positions, values, mask), alone = in_and_out_of_a_batch(model)
    queries, truth = make_context(model, context=12, seed=4)
    together = model.log_prob(
        positions, values, queries, truth, order=torch.arange(12), context_mask=mask, num_steps=num_steps
    )
    for item, context in enumerate(alone):
        part = queries[item : item + 1], truth[item : item + 1]
        single = model.log_prob(*context, *part, order=torch.arange(12), num_steps=num_steps)
        assert torch.allclose(together[item], single[0], atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"method": "one-by-one"}, {"num_steps": 5}, {"num_autoregressive": 6}])
def test_the_samples_of_an_item_do_not_depend_on_its_batch(model, options):
    """With a generator for each item, not even on its place in the batch."""
    model.config.max_buffer_share = 0.3
    model.double()  # in float32, a rounding between two levels would change all that follows
    (positions, values, mask), alone = in_and_out_of_a_batch(model)
    queries = model.native_positions()[:, :12].double()
    positions, values = positions.double(), values.double()
    together = model.sample(
        positions, values, queries, 3, context_mask=mask, generator=[generator(5), generator(6)], **options
    )
    for item, context in enumerate(alone):
        context = [part.double() for part in context]
        single = model.sample(*context, queries, 2, generator=[generator(5 + item)], **options)
        assert torch.allclose(together[:2, item], single[:, 0], atol=1e-6)


def test_an_item_keeps_its_samples_when_others_are_added(grey_model):
    positions, values = make_context(grey_model)
    queries = grey_model.native_positions()[:, :8]
    both = grey_model.sample(positions, values, queries, generator=generator())
    first = grey_model.sample(positions[:1], values[:1], queries, generator=generator())
    assert torch.allclose(both[:, :1], first) and not torch.allclose(both[:, 1:], first)


def test_a_list_of_generators_has_one_for_each_item(grey_model):
    with pytest.raises(ValueError, match="generator: expected one torch.Generator, or one for each of 2 items, got 1"):
        grey_model.sample(*make_context(grey_model), grey_model.native_positions(), generator=[generator()])


@pytest.mark.parametrize("order", ["random", "spread", "raster"])
def test_orders_have_the_same_names_in_sampling_and_likelihood(grey_model, order):
    positions, values = make_context(grey_model)
    queries = grey_model.native_positions()
    sample = grey_model.sample(positions, values, queries, order=order, generator=generator())[0]
    scored = [grey_model.log_prob(positions, values, queries, sample, order, generator(seed)) for seed in (0, 1)]
    assert scored[0].isfinite().all() and torch.equal(*scored) == (order == "raster")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"order": "hilbert"},
            'order: expected one of "random", "spread", "raster", "coarse-to-fine", got \'hilbert\'',
        ),
        ({"method": "exact"}, 'method: expected one of "speculative", "one-by-one", got \'exact\''),
        ({"method": "one-by-one", "num_steps": 3}, "num_steps: expected None with method='one-by-one', got 3"),
        ({"finish": "mean"}, 'finish: expected "sample", or "mean" with order="coarse-to-fine", got "mean"'),
        ({"num_samples": 0}, "num_samples: expected an integer of at least 1, got 0"),
    ],
)
def test_wrong_options_are_named(grey_model, options, message):
    with pytest.raises(ValueError, match=message):
        grey_model.sample(*make_context(grey_model), grey_model.native_positions(), **options)
