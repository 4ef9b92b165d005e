"""Samples of whole shapes: the chain rule at cells that are chosen as values become known, then what is likely."""

from types import SimpleNamespace

import pytest
import torch

from conftest import make_model
from pixeltransformer.distribution import ValueDistribution
from signals.cells import cell_positions
from signals.shape_samples import PARTS, new_shapes, part_sizes, sample_shapes

SHAPE = dict(signal="shape", native_grid=[6, 6, 6], value_range=[-1.0, 1.0], quantization_step=None)
CELLS = cell_positions([10, 10, 10], torch.arange(1000))[None]
NOTHING = torch.zeros(1, 0, 3), torch.zeros(1, 0, 1)


@pytest.mark.parametrize("drawn", [20, 216, 1000])
def test_a_sample_is_whole_and_its_seed_decides_it(drawn):
    model = make_model(**SHAPE)
    everywhere = model.native_positions()
    known = torch.rand(1, 3, 3) - 0.5, torch.rand(1, 3, 1)

    def run(seed: int) -> list:
        generator = torch.Generator().manual_seed(seed)
        return list(sample_shapes(model, *known, everywhere, 2, drawn, 8, generator=generator))

    *shares, shapes = run(0)
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] < 1
    assert shapes.shape == (2, 216, 1) and shapes.isfinite().all() and not torch.equal(*shapes)
    assert torch.equal(shapes, run(0)[-1]) and not torch.equal(shapes, run(1)[-1])


def test_the_first_sample_does_not_depend_on_how_many_are_drawn():
    model = make_model(**SHAPE)
    one, three = (
        list(sample_shapes(model, *NOTHING, CELLS, count, 40, 8, generator=torch.Generator().manual_seed(0)))[-1]
        for count in (1, 3)
    )
    assert torch.allclose(one[0], three[0], atol=2e-3)


def test_averages_may_be_observed():
    model = make_model(**SHAPE, num_scales=2)
    known = dict(context_positions=torch.zeros(1, 1, 3), context_values=torch.ones(1, 1, 1))
    single, average = (
        list(
            sample_shapes(
                model,
                **known,
                query_positions=model.native_positions(),
                context_scales=torch.full((1, 1), scale),
                generator=torch.Generator().manual_seed(0),
            )
        )[-1]
        for scale in (0.0, 1.0)
    )
    assert average.isfinite().all() and not torch.allclose(single, average)


@pytest.mark.parametrize("name", ["num_samples", "num_drawn", "num_steps"])
@pytest.mark.parametrize("wrong", [0, -5, 10.5])
def test_a_wrong_count_is_named(name, wrong):
    with pytest.raises(ValueError, match=f"{name}: expected an integer of at least 1"):
        next(sample_shapes(make_model(**SHAPE), *NOTHING, CELLS, **{name: wrong}))


def test_new_shapes_cover_the_native_grid():
    shapes = new_shapes(make_model(**SHAPE), 3, 4, 1.0, torch.Generator().manual_seed(0))
    assert shapes.shape == (3, 216, 1) and shapes.isfinite().all()


def test_parts_add_up():
    for count in (0, 1, 7, 640):
        assert sum(part_sizes(count)) == count and len(part_sizes(count)) == len(PARTS)


class ThinPart:
    """Knows every distance but those of one corner, which has the same sign everywhere as the first one drawn there."""

    def __init__(self):
        self.asked, self.temperatures = [], []

    @staticmethod
    def corner(positions):
        return (positions > 0.3).all(-1)

    def _infer(self, positions, values, queries) -> ValueDistribution:
        seen = torch.where(self.corner(positions)[..., None], values, 0).sum((1, 2))
        chance = torch.where(seen == 0, 0.4, (seen < 0).float())[:, None].expand(queries.shape[:2])
        chance = torch.where(self.corner(queries), chance, 0.0)
        logits = torch.stack((chance, 1 - chance), -1).log().clamp(min=-50)
        means = torch.tensor([[-0.1], [0.1]]).expand(*queries.shape[:2], 2, 1)
        return ValueDistribution(logits, means, torch.full(logits.shape, -6.0))

    def predict(self, context_positions, context_values, query_positions, context_scales=None, reduce=lambda d: d):
        return reduce(self._infer(context_positions, context_values, query_positions))

    def sample_iter(self, context_positions, context_values, query_positions, generator, temperature, **_):
        self.asked.append(query_positions)
        self.temperatures.append(temperature)
        first = query_positions[:, :1]
        drawn = self._infer(context_positions, context_values, first).sample(generator=generator)
        known = torch.cat((context_positions, first), 1), torch.cat((context_values, drawn), 1)
        found = self._infer(*known, query_positions)
        yield SimpleNamespace(share=1.0, values=found.sample(generator=generator)[None])


def test_later_parts_are_drawn_where_it_is_uncertain_which_cells_are_inside():
    model = ThinPart()
    *_, shapes = sample_shapes(model, *NOTHING, CELLS, 4, 10, generator=torch.Generator().manual_seed(1))
    second = model.asked[1]
    unseen = ~model.corner(model.asked[0]).any(1)
    assert unseen.any() and model.corner(second[unseen]).all()
    signs = shapes[:, model.corner(CELLS[0])].sign()[..., 0]
    assert (signs == signs[:, :1]).all()  # a part is there as a whole, or not at all


def test_what_is_not_drawn_is_filled_as_is_likely_not_with_the_mean():
    """The corner is inside with probability 0.4: its mean is positive, and filling it overlaps most."""
    model = ThinPart()
    *_, shapes = sample_shapes(
        model, *NOTHING, CELLS, 4, 1, temperature=0.5, generator=torch.Generator().manual_seed(0)
    )
    unseen = ~model.corner(model.asked[0]).any(1)
    assert unseen.any() and (shapes[unseen][:, model.corner(CELLS[0])] < 0).all()
    assert model.temperatures == [0.5]
