"""Values have sizes: the model, the pyramid it learns from, and sampling from coarse to fine."""

import pytest
import torch

from conftest import make_context, make_model
from pixeltransformer.checks import SamplingOptions
from pixeltransformer.coarse_to_fine import (
    _halve,
    cell_numbers,
    draw_scales,
    grid_at,
    plan_scales,
    score_scales,
)
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.context import Context
from pixeltransformer.levels import Levels
from pixeltransformer.streams import Streams
from signals.cells import average_cells, values_at_scales
from signals.image import Images
from signals.video import Videos
from training.episodes import Averages, EpisodeSampler, EpisodeSizes, OneScale, Pixels, make_episode


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["grey", "skipping", "colour", "video", "shape"])
def scaled(request):
    """Small models of every kind that has scales."""
    variants = {
        "grey": dict(native_grid=[8, 8], num_scales=3),
        "skipping": dict(native_grid=[8, 8], num_scales=4, chain_scales=[3, 1, 0]),
        "colour": dict(native_grid=[8, 4], num_scales=2, value_dim=3),
        "video": dict(signal="video", native_grid=[4, 8, 4], num_scales=3),
        "shape": dict(
            signal="shape", native_grid=[4, 4, 4], num_scales=2, value_range=[-1.5, 1.5], quantization_step=None
        ),
    }
    return make_model(**variants[request.param])


def observe(model, count: int = 5):
    """A context of native cells, the other cells, and their values."""
    positions = model.native_positions()
    order = torch.randperm(positions.shape[1], generator=generator(3))
    values = torch.rand(1, positions.shape[1], model.config.value_dim, generator=generator(4))
    if model.config.quantization_step:
        values = (values * 255).round() / 255
    known, asked = order[:count], order[count:]
    return positions[:, known], values[:, known], positions[:, asked], values[:, asked]


def test_no_scales_and_scale_zero_are_the_same(scaled):
    known, values, queries, _ = observe(scaled)
    plain = scaled.predict(known, values, queries)
    zero = scaled.predict(known, values, queries, context_scales=known[..., 0] * 0, query_scales=queries[..., 0] * 0)
    assert torch.equal(plain.means, zero.means) and torch.equal(plain.log_weights, zero.log_weights)


def test_a_model_without_scales_has_no_parameters_for_them_and_says_so():
    plain, scaled = make_model(), make_model(num_scales=2)
    assert set(scaled.state_dict()) - set(plain.state_dict()) == {
        f"{kind}_position.scale.coarser" for kind in ("token", "query")
    }
    positions, values = make_context(plain)
    with pytest.raises(
        ValueError, match="query_scales: expected scales from 0 to 0 .* of this model, got numbers from 1"
    ):
        plain.predict(positions, values, positions, query_scales=torch.ones(2, 7))
    with pytest.raises(ValueError, match='order: "coarse-to-fine" expected a model trained with scales'):
        plain.sample(positions, values, plain.native_positions(), order="coarse-to-fine")


def test_scales_of_context_and_queries_change_the_answer_smoothly(scaled):
    known, values, queries, _ = observe(scaled)
    means = [
        scaled.predict(known, values, queries, query_scales=torch.full_like(queries[..., 0], scale)).mean
        for scale in (0.0, 0.5, 0.5001, 1.0)
    ]
    assert not torch.allclose(means[0], means[3], atol=1e-3)
    assert torch.allclose(means[1], means[2], atol=1e-2)
    coarse = scaled.predict(known, values, queries, context_scales=torch.ones_like(known[..., 0])).mean
    assert not torch.allclose(means[0], coarse, atol=1e-3)


def test_a_checkpoint_without_scales_can_be_given_them(tmp_path):
    plain = make_model()
    plain.save_pretrained(tmp_path)
    scaled = type(plain).from_pretrained(tmp_path, num_scales=2)
    positions, values = make_context(plain)
    assert torch.equal(*(model.predict(positions, values, positions).means for model in (plain, scaled)))


@pytest.mark.parametrize("arguments", [{}, {"num_steps": 12}, {"finish": "mean"}, {"num_steps": 3, "finish": "mean"}])
def test_coarse_to_fine_draws_the_same_cached_or_not(scaled, arguments):
    scaled.double()  # in float32, one rounding between two levels makes another sample of all that follows
    known, values, queries, _ = (part.double() for part in observe(scaled))
    draws = [
        scaled.sample(
            known, values, queries, 2, generator=generator(), order="coarse-to-fine", use_cache=cached, **arguments
        )
        for cached in (True, False)
    ]
    assert draws[0].shape == (2, 1, queries.shape[1], scaled.config.value_dim)
    assert torch.isfinite(draws[0]).all() and torch.allclose(*draws, atol=1e-3)


@pytest.mark.parametrize("num_steps", [None, 20])
def test_what_is_drawn_in_a_cell_has_its_average(scaled, num_steps):
    """From the coarsest scale to the queries, with some of them observed."""
    config = scaled.config
    for count in (0, 5):
        known, values, queries, _ = observe(scaled, count)
        levels, context = {}, Context(known, values)
        options = SamplingOptions(num_samples=2, num_steps=num_steps, order="coarse-to-fine")
        for _, _, scale, so_far in draw_scales(scaled, context, queries, Streams.of(generator(), 1, 2), options):
            levels[scale] = so_far()[0]
        sums = torch.zeros(2, torch.Size(config.native_grid).numel(), config.value_dim)
        for positions, part in ((known, values), (queries, levels[0])):
            numbers = cell_numbers(config, positions, config.native_grid).expand(2, -1)[..., None]
            sums.scatter_(1, numbers.expand(-1, -1, config.value_dim), part.expand(2, -1, -1))
        levels[0] = sums
        assert list(levels) == (config.chain_scales or list(range(config.num_scales))[::-1])
        for scale, finer in zip(config.chain, config.chain[1:], strict=False):
            average = levels[finer].unflatten(1, [grid_at(config, finer)[axis] for axis in config.axes_slowest_first])
            for _ in range(scale - finer):
                average = average_cells(average)
            average = average.flatten(1, -2)
            free = torch.ones(average.shape[1], dtype=torch.bool)
            if finer == 0 and count:  # observed values may contradict what is drawn around them
                free[cell_numbers(config, known, grid_at(config, scale))[0]] = False
            tolerance = 0.6 * (config.quantization_step or 3 / 255)
            assert (average - levels[scale])[:, free].abs().max() <= tolerance


@pytest.mark.parametrize("num_steps", [None, 20])
def test_observed_averages_are_kept(num_steps):
    """Averages over cells of the chain are not drawn again: what is drawn inside them agrees with them."""
    model = make_model(native_grid=[8, 8], num_scales=3)
    cells = {scale: model.native_positions(grid_at(model.config, scale))[0] for scale in (1, 2)}
    known = torch.stack((cells[2][0], cells[1][6], cells[1][7])).expand(2, -1, -1)
    values = torch.tensor([[[0.2], [0.8], [1.0]], [[0.6], [0.0], [0.4]]])
    scales, mask = torch.tensor([[2.0, 1.0, 1.0]] * 2), torch.tensor([[True] * 3, [True, False, True]])
    samples = model.sample(
        known,
        values,
        model.native_positions(),
        3,
        num_steps,
        generator=generator(),
        order="coarse-to-fine",
        context_scales=scales,
        context_mask=mask,
    )
    image = samples.view(3, 2, 8, 8, 1)
    half, quarter = average_cells(image.flatten(0, 1)), average_cells(average_cells(image.flatten(0, 1)))
    half, quarter = half.view(3, 2, 16), quarter.view(3, 2, 4)
    tolerance = 1 / 255
    assert (quarter[:, :, 0] - values[:, 0, 0]).abs().max() < tolerance
    assert (half[:, 0, 6] - 0.8).abs().max() < tolerance and (half[:, :, 7] - values[:, 2, 0]).abs().max() < tolerance


@pytest.mark.parametrize("scales", [[], [0], [2, 1], [0, 1], [3, 0], [2, 2, 0], [1.5, 0]])
def test_chains_that_do_not_end_at_the_queries_are_refused(scales):
    with pytest.raises(
        ValueError, match=r"chain_scales: expected (None or falling scales from at most 2 .*|list.*), got \["
    ):
        PixelTransformerConfig(num_scales=3, chain_scales=scales)


def test_steps_are_as_many_as_asked_for(scaled):
    known, values, queries, _ = observe(scaled)
    for finish in ("sample", "mean"):
        states = list(scaled.sample_iter(known, values, queries, num_steps=24, order="coarse-to-fine", finish=finish))
        assert len(states) == states[-1].num_steps <= 24
        assert [state.share for state in states] == pytest.approx([n / len(states) for n in range(1, len(states) + 1)])
        assert [state.step for state in states] == list(range(1, len(states) + 1))
        assert states[0].coarse is not None and states[-1].drawn.all()


def test_the_chain_scores_each_scale_as_the_forward_pass_does(scaled):
    scaled.config.max_buffer_share = 1.0
    known, values, queries, truth = observe(scaled)
    scores = score_scales(scaled, Context(known, values), queries, truth, Streams.of(generator(), 1))
    total = scaled.log_prob(known, values, queries, truth, order="coarse-to-fine", generator=generator())
    assert torch.allclose(total, sum(scores.values()), atol=1e-3)
    coarser = None
    whole = torch.zeros(1, torch.Size(scaled.config.native_grid).numel(), scaled.config.value_dim)
    for positions, part in ((known, values), (queries, truth)):
        numbers = cell_numbers(scaled.config, positions, scaled.config.native_grid)[..., None]
        whole.scatter_(1, numbers.expand_as(part), part)
    pyramid = [whole.unflatten(1, [scaled.config.native_grid[axis] for axis in scaled.config.axes_slowest_first])]
    for _ in range(scaled.config.num_scales - 1):
        pyramid.append(_halve(pyramid[-1], scaled.config))
    for level in plan_scales(scaled, Context(known, values), queries, None, Streams.of(generator(), 1)):
        order = level.order[0]
        level_values = pyramid[level.scale].flatten(1, -2) if level.scale else truth
        given = level.given(Context(known, values), coarser)
        scales = torch.full_like(level.positions[..., 0], level.scale)
        distribution = scaled(
            given.positions,
            given.values,
            queries[:, :1],
            buffer_positions=level.positions[:, order],
            buffer_values=level_values[:, order],
            context_scales=given.scales,
            buffer_scales=scales,
        ).buffer_distribution
        expected = distribution.log_prob(level_values[:, order]).sum(1)
        assert torch.allclose(scores[level.scale], expected, atol=1e-2)
        coarser = level_values


def test_the_chain_wants_every_native_cell(scaled):
    known, values, queries, truth = observe(scaled)
    with pytest.raises(ValueError, match="expected context and queries to be the .* native cells once each"):
        scaled.log_prob(known, values, queries[:, 1:], truth[:, 1:], order="coarse-to-fine")


def test_a_scale_that_is_observed_as_a_whole_is_neither_drawn_nor_scored():
    model = make_model(native_grid=[4, 4], num_scales=2)
    cells, coarse = model.native_positions(), model.native_positions([2, 2])
    averages = torch.tensor([0.2, 0.4, 0.6, 0.8]).view(1, 4, 1)
    known = coarse, averages
    scales = dict(context_scales=torch.ones(1, 4))
    drawn = model.sample(*known, cells, order="coarse-to-fine", **scales)[0]
    scored = model.log_prob(*known, cells, drawn, order="coarse-to-fine", generator=generator(), **scales)
    parts = score_scales(model, Context(*known, scales=torch.ones(1, 4)), cells, drawn, Streams.of(generator(), 1))
    assert parts[1].item() == 0 and scored.item() == pytest.approx(parts[0].item(), abs=1e-3)


def test_cells_are_numbered_as_native_positions_lists_them(scaled):
    for scale in range(scaled.config.num_scales):
        grid = grid_at(scaled.config, scale)
        numbers = cell_numbers(scaled.config, scaled.native_positions(grid), grid)[0]
        assert torch.equal(numbers, torch.arange(len(numbers)))


def test_averages_between_positions_and_scales_are_linear():
    arrays = torch.rand(2, 8, 8, 3, generator=generator())
    pyramid = [arrays, average_cells(arrays), average_cells(average_cells(arrays))]
    assert torch.allclose(pyramid[2][:, 1, 0], arrays[:, 4:, :4].mean((1, 2)))
    centre = torch.tensor([[[-0.5, 0.5]]]).expand(2, -1, -1)  # of a cell of scale 2, (x, y)
    assert torch.allclose(values_at_scales(pyramid, centre, torch.full((2, 1), 2.0))[:, 0], pyramid[2][:, 1, 0])
    halfway = values_at_scales(pyramid, centre, torch.full((2, 1), 1.5))
    ends = [values_at_scales(pyramid, centre, torch.full((2, 1), scale)) for scale in (1.0, 2.0)]
    assert torch.allclose(halfway, (ends[0] + ends[1]) / 2)


@pytest.mark.parametrize(("scale", "given"), [(0, 1), (0, 2), (1, 2), (1, None), (2, None)])
def test_a_chain_step_gives_all_coarser_cells_and_asks_for_those_of_its_scale(scale, given):
    signal = Videos(dataset_name="none", frames=4, frame_size=8, digit_size=4)
    batch = torch.randint(0, 256, (2, 4, 8, 8, 1), generator=generator(), dtype=torch.uint8)
    siblings = 3 if scale == 1 else 0
    kind = OneScale(3, Levels(0.0, 1.0, 1 / 255), scale, given, siblings)
    sizes = EpisodeSizes(3, 2, 2, 1, 2, kind)
    episode = make_episode(signal, batch, sizes, 0, 0)
    pyramid = signal.pyramid(batch, 3, Levels(0.0, 1.0, 1 / 255))
    positions = [signal.positions(signal.grid_of(part[0])) for part in pyramid]
    coarser = 0 if given is None else len(positions[given])
    assert episode["context_positions"].shape[1] == coarser + 3 + siblings
    if coarser:
        assert torch.equal(episode["context_positions"][0, :coarser], positions[given])
        assert torch.equal(episode["context_values"][:, :coarser], pyramid[given].flatten(1, -2))
        assert (episode["context_scales"][:, :coarser] == given).all()
    assert (episode["context_scales"][:, coarser : coarser + 3] == 0).all()
    own = {"context": slice(coarser + 3, None), "buffer": slice(None), "query": slice(None)}
    seen = []
    for name, part in own.items():
        assert (episode[f"{name}_scales"][:, part] == scale).all()
        distance = torch.cdist(episode[f"{name}_positions"][:, part], positions[scale])
        assert (distance < 1e-5).any(-1).all()
        seen.append(distance.argmin(-1))
        expected = pyramid[scale].flatten(1, -2).gather(1, seen[-1][..., None])
        assert torch.allclose(episode[f"{name}_values"][:, part], expected)
    assert all(len(row.unique()) == len(row) for row in torch.cat(seen, 1))  # no cell is there twice


def test_averages_are_those_at_their_position_and_others_are_pixels():
    signal = Images(dataset_name="none")
    batch = torch.randint(0, 256, (3, 8, 8, 3), generator=generator(), dtype=torch.uint8)
    sizes = EpisodeSizes(20, 4, 16, 1, 3, Averages(3))
    episode = make_episode(signal, batch, sizes, 0, 0)
    for name in ("context", "query"):
        scales = episode[f"{name}_scales"]
        assert scales.max() <= 2 and (scales == 0).any() and (scales > 1).any()
        expected = values_at_scales(signal.pyramid(batch, 3), episode[f"{name}_positions"], scales)
        assert torch.allclose(episode[f"{name}_values"], expected, atol=1e-5)
    assert (episode["buffer_scales"] == 0).all()


def test_steps_mix_pixels_averages_and_single_scales_within_the_budget():
    sampler = EpisodeSampler(
        0, 64, 16, 16, 512, num_cells=256, grid=(16, 16), num_scales=3, chain_probability=0.4, average_probability=0.2
    )
    steps = [sampler.sizes(step) for step in range(300)]
    assert {type(size.kind) for size in steps} == {Pixels, Averages, OneScale}
    chains = {(size.kind.scale, size.kind.coarser) for size in steps if isinstance(size.kind, OneScale)}
    assert chains == {(0, 1), (0, 2), (1, 2), (1, None), (2, None)}
    for size in steps:
        if isinstance(size.kind, OneScale) and size.kind.coarser is not None:
            assert size.kind.num_coarser == 4 ** (4 - size.kind.coarser)
        assert size.signals * (size.kind.added + size.context + 2 * size.buffer + size.queries) <= 512
        assert size.buffer >= 1 and size.queries >= 1
        if size.kind.scale:
            assert size.kind.siblings + size.buffer + size.queries <= sampler.cells_of(size.kind.scale)
    siblings = [size.kind.siblings for size in steps if size.kind.scale]
    assert 0 in siblings and max(siblings) > 16
    assert all(size.kind.siblings == 0 for size in steps if isinstance(size.kind, OneScale) and not size.kind.scale)


@pytest.mark.parametrize(("side", "budget"), [(256, 4096), (64, 4096), (16, 120)])
def test_no_step_takes_more_than_the_token_budget(side, budget):
    shares = dict(chain_probability=0.6, average_probability=0.2, long_buffer_probability=0.3)
    sampler = EpisodeSampler(0, 64, 16, 16, budget, num_cells=side**2, grid=(side, side), num_scales=5, **shares)
    chains = 0
    for step in range(300):
        size = sampler.sizes(step)
        assert size.signals * (size.kind.added + size.context + 2 * size.buffer + size.queries) <= budget
        assert min(size.signals, size.queries) >= 1 and min(size.buffer, size.context, size.kind.added) >= 0
        chains += isinstance(size.kind, OneScale) and size.kind.coarser is not None
    assert chains > 50


def test_sides_that_cannot_be_halved_are_named():
    signal = Images(dataset_name="none")
    with pytest.raises(ValueError, match=r"--num_scales: expected sides that can be halved 3 times, .* \(28, 28\)"):
        signal.pyramid(torch.zeros(1, 28, 28, 1, dtype=torch.uint8), 4)
