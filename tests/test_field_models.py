"""Every autoregressive model of the field has the property that defines it."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from baselines.autoregressive import MODELS
from baselines.autoregressive.latent_code import Mixture
from baselines.autoregressive.layers import raster_mask, unpack
from baselines.autoregressive.locally_masked import LocallyMaskedConv, LocalMasks, local_masks
from baselines.autoregressive.orders import ORDERS, hilbert, picture, raster, reflections, s_curve, subsampled_first
from baselines.autoregressive.spatial_pixelcnn import _look_up

SMALL = {
    "NADE": {"hidden_size": 6},
    "EoNADE": {"hidden_size": 12},
    "MADE": {"hidden_size": 32},
    "PixelSequence": {"hidden_size": 6},
    "PixelRNN": {"hidden_size": 6, "num_layers": 2},
    "MultiScalePixelRNN": {"hidden_size": 6, "num_layers": 2},
    "PixelCNN": {"hidden_size": 4, "num_layers": 3},
    "GatedPixelCNN": {"hidden_size": 6, "num_layers": 3},
    "PixelCNNPlus": {"hidden_size": 6, "num_layers": 1, "dropout": 0.0},
    "PixelSNAIL": {"hidden_size": 6, "num_blocks": 2, "num_layers": 1, "key_size": 4},
    "LMConv": {"hidden_size": 6, "num_layers": 3},
    "SpatialPixelCNN": {"hidden_size": 6, "num_layers": 1, "patch_size": 4, "latent_size": 3},
    "WaveNet": {"hidden_size": 6, "dilations": (1, 2, 4, 8)},
    "ImageGPT": {"hidden_size": 8, "num_layers": 2, "num_heads": 2},
}
EXACT = [name for name in MODELS if "spatial" not in name]
BINARY = [name for name in EXACT if not MODELS[name].curves and name != "categorical-nade"]
INDEPENDENT = ("pixel-histogram", "parametric-pixels")
TRAINED = [name for name in MODELS if MODELS[name].file != "counting"]


def make(name: str, seed: int = 0, **fields):
    """A small model with weights large enough that everything depends on everything it may depend on."""
    torch.manual_seed(seed)
    entry = MODELS[name]
    levels = {} if name in ("rnade", "wavenet", "categorical-nade") else {"num_levels": 2}
    grid = {"native_grid": (12,) if entry.curves else (4, 4)}
    model = entry.make(**{**SMALL.get(entry.name, {}), **grid, **levels, **fields}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if entry.file == "counting":
                parameter.copy_(torch.randn_like(parameter))
            elif "ln" not in "".join(n for n, p in model.named_parameters() if p is parameter):
                parameter.add_(0.3 * torch.randn_like(parameter) / math.sqrt(parameter.shape[-1]))
    return model


def some_values(model, batch: int = 3, seed: int = 1) -> torch.Tensor:
    config, generator = model.config, torch.Generator().manual_seed(seed)
    values = torch.rand(batch, config.num_cells, config.value_dim, generator=generator)
    if config.num_levels:
        return (values * (config.num_levels - 1)).round() / (config.num_levels - 1)
    return values


def dependence(model, order: torch.Tensor, values: torch.Tensor | None = None) -> torch.Tensor:
    """Whether the distribution of cell i changes with the value of cell j: (D, D), true where it does.

    Values are changed, not differentiated: levels that a model looks up have no gradient.
    """
    cells = model.config.num_cells
    found = torch.zeros(cells, cells, dtype=torch.bool)
    for seed in range(3):
        values = some_values(model, 1, seed)
        changed = values.repeat(cells, 1, 1)
        index = torch.arange(cells)
        changed[index, index] = 1 - changed[index, index]
        parts = model.conditionals(torch.cat((values, changed)), order).parts()
        for part in (part for part in parts if part is not None):
            found |= ((part[1:] - part[:1]).abs().flatten(2).amax(2) > 1e-6).T
    return found


def allowed(order: torch.Tensor) -> torch.Tensor:
    """(D, D): whether cell j comes before cell i."""
    place = order.argsort()
    return place[None] < place[:, None]


@pytest.mark.parametrize("name", EXACT)
@torch.no_grad()
def test_a_cell_depends_on_those_before_it_and_no_others(name):
    model = make(name)
    for order in model.orders()[:3]:
        seen, may = dependence(model, order), allowed(order)
        assert not (seen & ~may).any()
        if name in INDEPENDENT:
            assert not seen.any()
        elif MODELS[name].file in ("counting", "nade", "image_gpt", "wavenet") or name in FULL_CONTEXT:
            assert (seen == may).all()


@torch.no_grad()
def test_made_sees_through_its_hidden_layers():
    model = make("made", direct=False)
    seen, may = dependence(model, raster((4, 4))), allowed(raster((4, 4)))
    assert seen.any() and not (seen & ~may).any()


@torch.no_grad()
def test_made_stores_only_the_weights_that_its_masks_let_through():
    model = make("made")
    masks = model.masks(raster((4, 4)))
    stored = [layer.weight for layer in (*model.hidden, model.output)]
    assert [len(weights) for weights in stored] == [int(mask.sum()) for mask in masks]
    for weights, mask in zip(stored, masks, strict=True):
        assert torch.equal(unpack(weights, mask)[mask > 0], weights)
        assert not unpack(weights, mask)[mask == 0].any()


FULL_CONTEXT = ("made", "pixel-sequence", "diagonal-bilstm", "gated-pixelcnn", "pixelcnn++", "pixelsnail")


@torch.no_grad()
def test_gradients_agree_with_what_changes():
    model = make("gated-pixelcnn")
    values = some_values(model, 1).requires_grad_()
    with torch.enable_grad():
        numbers = model.conditionals(values, raster((4, 4))).logits[0, :, 1]
        rows = [torch.autograd.grad(number, values, retain_graph=True)[0][0, :, 0] for number in numbers]
    assert torch.equal(torch.stack(rows).abs() > 0, allowed(raster((4, 4))))


@torch.no_grad()
def test_pixelcnn_has_a_blind_spot_and_gated_pixelcnn_has_none():
    side, middle = 11, 5
    cells = side * side

    def seen_from(name: str, y: int, x: int) -> torch.Tensor:
        model = make(name, native_grid=(side, side), num_layers=1)
        values = some_values(model, 1)
        changed = values.repeat(cells, 1, 1)
        changed[torch.arange(cells), torch.arange(cells)] = 1 - values[0]
        logits = model.conditionals(torch.cat((values, changed)), raster((side, side))).logits[:, y * side + x]
        return ((logits[1:] - logits[:1]).abs().amax(1) > 1e-7).view(side, side)

    y = middle
    # Both have kernels of 7 and 3. PixelCNN's reach right only while they go up a row: one row above, the pixel 4 to
    # the right is out of their reach, however near it is.
    ordinary, gated = seen_from("pixelcnn", y, 4), seen_from("gated-pixelcnn", y, 4)
    assert ordinary[y - 1, 7] and ordinary[y - 2, 8]
    assert not ordinary[y - 1, 8] and gated[y - 1, 8]
    assert not ordinary[y:, 4:].any() and not gated[y:, 4:].any()


@pytest.mark.parametrize("layer", ["row", "diagonal"])
def test_layers_of_pixelrnn_see_exactly_their_published_receptive_field(layer):
    from baselines.autoregressive.pixel_rnn import DiagonalBiLSTM, RowLSTM

    torch.manual_seed(0)
    module = {"row": RowLSTM, "diagonal": DiagonalBiLSTM}[layer](4)
    side, y, x = 7, 4, 3
    image = torch.randn(1, 4, side, side, requires_grad=True)
    module(image)[0, :, y, x].sum().backward()
    seen = image.grad[0].abs().sum(0) > 0
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    above = y - rows
    if layer == "row":  # a triangle: a column more on both sides with each row, the own row up to the pixel
        expected = (above >= 0) & (columns >= x - above - 1) & (columns <= x + above)
    else:
        expected = (above > 0) | ((above == 0) & (columns <= x))
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("name", BINARY)
@torch.no_grad()
def test_likelihoods_of_all_images_sum_to_one_and_samples_are_as_frequent(name):
    model = make(name, native_grid=(2, 2))
    images = torch.tensor(list(product((0.0, 1.0), repeat=4)))[..., None]
    positions = model.native_positions()
    nothing = positions[:, :0].expand(16, -1, -1), images[:, :0]
    likelihoods = model.log_prob(*nothing, positions.expand(16, -1, -1), images).exp()
    assert likelihoods.sum().item() == pytest.approx(1, abs=1e-4)
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample(nothing[0][:1], nothing[1][:1], positions, num_samples=2000, generator=generator)[:, 0, :, 0]
    shares = (drawn @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long().bincount(minlength=16) / 2000
    assert (shares - likelihoods).abs().max() < 5 * math.sqrt(0.25 / 2000)


@pytest.mark.parametrize("name", EXACT)
@torch.no_grad()
def test_drawing_with_caches_gives_what_whole_passes_give(name):
    """With the same random numbers, from the third cell on."""
    model = make(name)
    if MODELS[name].file == "counting":
        pytest.skip("draws all cells at once")
    order, values = model.orders_of(*context_of(model, 3))[0], some_values(model)
    generator = torch.Generator().manual_seed(3)
    fast = model.draw(values, order, 3, len(order), generator, 1.0)
    slow = values.clone()
    generator = torch.Generator().manual_seed(3)
    for cell in order[3:].tolist():
        slow[:, cell] = model.conditionals(slow, order)[:, cell].sample((), generator)
    assert torch.allclose(fast, slow, atol=1e-4)
    assert torch.equal(fast[:, order[:3]], values[:, order[:3]])


def context_of(model, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    known = torch.zeros(model.config.num_cells, dtype=torch.bool)
    known[model.orders()[0][:count]] = True
    return known, ~known


@torch.no_grad()
def test_lmconv_in_raster_order_is_a_masked_convolution():
    torch.manual_seed(0)
    grid, x = (6, 5), torch.randn(2, 3, 5, 6)
    layer = LocallyMaskedConv(3, 4, 3)
    for include in (False, True):
        kernel = torch.cat((raster_mask((2, 3), include), torch.zeros(1, 3)))
        expected = torch.nn.functional.conv2d(x, layer.weight * kernel, layer.bias, padding=1)
        masks = local_masks(raster(grid).argsort(), grid, 3, 1, include)
        assert torch.allclose(layer(x, masks), expected, atol=1e-5)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("include", [False, True])
def test_lattices_of_cells_give_what_a_mask_for_each_cell_gives(dilation, include):
    torch.manual_seed(0)
    grid, x = (6, 6), torch.randn(2, 3, 6, 6)
    layer = LocallyMaskedConv(3, 4, 3, dilation=dilation)
    kinds = {}
    for name, order in {name: make(grid) for name, make in ORDERS.items()}.items():
        for number, reflected in enumerate(reflections(order, grid)):
            masks = local_masks(reflected.argsort(), grid, 3, dilation, include)
            fast, slow = layer(x, masks), layer(x, LocalMasks(masks.cells, ()))
            assert torch.allclose(fast, slow, atol=1e-5), (name, number)
            gradients = [torch.autograd.grad(out.square().sum(), layer.weight)[0] for out in (fast, slow)]
            assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4), (name, number)
            kinds.setdefault(name, set()).add(len(masks.lattices))
    assert kinds == {"raster": {1}, "s-curve": {2}, "hilbert": {0}}


@pytest.mark.parametrize("name", ["lmconv", "eonade", "joint-histogram"])
@torch.no_grad()
def test_models_of_any_order_answer_any_context(name):
    model = make(name)
    positions, values = model.native_positions(), some_values(model, 1)
    known, hidden = [2, 7, 11], [cell for cell in range(16) if cell not in (2, 7, 11)]
    context = positions[:, known], values[:, known]
    for task in ("predict", "sample", "log_prob"):
        assert model.can(task, context[0])
    assert model.sample(*context, positions[:, hidden], num_samples=2).shape == (2, 1, 13, 1)
    assert model.predict(*context, positions[:, hidden]).mean.shape == (1, 13, 1)
    whole = model.log_prob(*context, positions[:, hidden], values[:, hidden])
    assert torch.isfinite(whole).all() and whole < 0


@torch.no_grad()
def test_a_raster_model_answers_a_prefix_and_refuses_the_rest_in_one_sentence():
    model = make("pixelcnn")
    positions, values = model.native_positions(), some_values(model, 2)
    both = positions.expand(2, -1, -1)
    first, others = both[:, :5], both[:, 5:]
    assert model.can("log_prob", first) and model.can("sample", first) and model.can("predict", first)
    whole = model.log_prob(both[:, :0], values[:, :0], both, values)
    parts = model.log_prob(both[:, :0], values[:, :0], first, values[:, :5])
    parts += model.log_prob(first, values[:, :5], others, values[:, 5:])
    assert torch.allclose(whole, parts, atol=1e-4)
    sentence = model.refusal("sample", both[:, 3:5])
    assert sentence.endswith(".") and "first in its order" in sentence
    with pytest.raises(ValueError, match="first in its order"):
        model.sample(both[:, 3:5], values[:, 3:5], others)
    with pytest.raises(ValueError, match="without a gap"):
        model.log_prob(first, values[:, :5], others[:, 2:], values[:, 7:])
    with pytest.raises(ValueError, match="expected centres of the 4×4 cells"):
        model.sample(first + 0.1, values[:, :5], others)


@torch.no_grad()
def test_the_marginal_of_the_next_cell_is_exact_and_of_later_ones_the_mean_over_samples():
    model = make("nade", native_grid=(2, 2))
    positions = model.native_positions()
    context = positions[:, :1], torch.ones(1, 1, 1)
    exact = model.predict(*context, positions[:, 1:2])
    assert torch.equal(exact.logits[0, 0], model.conditionals(torch.ones(1, 4, 1), raster((2, 2))).logits[0, 1])
    of_last = model.predict(*context, positions[:, 3:], num_samples=3000).probabilities[0, 0, 1]
    images = torch.tensor([[1.0, *rest] for rest in product((0.0, 1.0), repeat=3)])[..., None]
    everywhere = positions[:, 1:].expand(8, -1, -1)
    one = positions[:, :1].expand(8, -1, -1)
    likelihoods = model.log_prob(one, images[:, :1], everywhere, images[:, 1:]).exp()
    assert of_last.item() == pytest.approx(likelihoods[images[:, 3, 0] == 1].sum().item(), abs=0.02)


@torch.no_grad()
def test_an_ensemble_averages_the_likelihoods_of_orders():
    model = make("lmconv", native_grid=(2, 2))
    images = torch.tensor(list(product((0.0, 1.0), repeat=4)))[..., None]
    positions = model.native_positions().expand(16, -1, -1)
    scores = [
        model.log_prob(positions[:, :0], images[:, :0], positions, images, order=order) for order in model.orders()
    ]
    together = model.log_prob(positions[:, :0], images[:, :0], positions, images, num_orders=8)
    assert torch.allclose(together.exp(), torch.stack(scores).exp().mean(0), atol=1e-5)


@torch.no_grad()
def test_spatial_pixelcnn_draws_any_size_and_a_pixel_needs_only_pixels_before_it():
    model = make("spatial-pixelcnn")
    generator = torch.Generator().manual_seed(0)
    for grid in ((4, 4), (9, 7)):
        images = model.generate(2, grid, generator)
        assert images.shape == (2, 1, grid[1], grid[0]) and set(images.unique().tolist()) <= {0.0, 1.0}
    # Pixels drawn together do not see each other: one by one they come out the same.
    code = torch.randn(1, 3)
    images = 2 * model.generate(1, (6, 6), generator, code=code) - 1
    for cell in range(36):
        y, x = torch.tensor([cell // 6]), torch.tensor([cell % 6])
        later = images.clone()
        later.flatten(2)[..., cell:] *= -1
        features = model._image_features(code)
        seen, changed = (model._at(image, y, x, features).logits for image in (images, later))
        assert torch.allclose(seen, changed, atol=1e-6)
    positions = model.native_positions()
    assert model.can("sample", positions[:, :0]) and not model.can("sample", positions[:, :1])
    with pytest.raises(ValueError, match="a bound, not a likelihood"):
        model.log_prob(positions[:, :0], torch.zeros(1, 0, 1), positions, torch.zeros(1, 16, 1))
    assert model.bound(some_values(model)).shape == (3,)


@torch.no_grad()
@torch.no_grad()
def test_spatial_pixelcnn_reads_of_each_code_what_belongs_to_the_place_of_a_patch():
    model = make("spatial-pixelcnn", native_grid=(8, 8))
    codes, images = torch.randn(2, 3), torch.randn(2, 1, 8, 8)
    y, x = torch.tensor([5, 7, 2]), torch.tensor([1, 6, 3])
    together = model._at(images, y, x, model._image_features(codes)).logits.unflatten(0, (2, 3))
    for number in range(2):
        for pixel in range(3):
            features = model._image_features(codes[number : number + 1])
            one = model._at(images[number : number + 1], y[pixel, None], x[pixel, None], features).logits
            assert torch.allclose(one[0], together[number, pixel], atol=1e-5)
    top = torch.arange(8).view(1, 1, 8, 1).expand(1, 1, 8, 8).float()  # a feature that is its row
    places = torch.stack((torch.tensor([[0.0, 0.0]]), torch.tensor([[-7 / 8, 5 / 8]])))[None]  # rows 0 and 6
    assert torch.allclose(_look_up(top, places), torch.tensor([0.0, 6.0]))


@torch.no_grad()
def test_codes_are_drawn_from_a_mixture_that_fits_those_of_images():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[3.0, 0.0], [-3.0, 1.0]])
    codes = centres[torch.randint(2, (2000,), generator=generator)] + 0.2 * torch.randn(2000, 2, generator=generator)
    prior = Mixture(2, 2)
    unfitted = prior.log_prob(codes).mean()
    assert torch.allclose(unfitted, torch.distributions.Normal(0, 1).log_prob(codes).sum(1).mean())
    prior.fit(codes)
    drawn = prior.draw(2000, generator)
    assert (drawn[:, None] - centres).norm(dim=2).amin(1).max() < 1.2
    assert torch.allclose(drawn.std(0), codes.std(0), atol=0.1)
    # The mean log-density of what a mixture drew is minus its entropy: here ln 2 above that of one Gaussian.
    entropy = math.log(2) + 2 * 0.5 * math.log(2 * math.pi * math.e * 0.04)
    assert prior.log_prob(drawn).mean().item() == pytest.approx(-entropy, abs=0.1)


def test_patches_of_spatial_pixelcnn_lie_where_it_is_told():
    model = make("spatial-pixelcnn", num_levels=256, native_grid=(7, 5), largest_enlargement=4).train()
    images = 2 * torch.randint(256, (64, 1, 5, 7)) / 255 - 1
    patches, places = model._random_patches(images, torch.Generator().manual_seed(0))
    size, scale = model.config.patch_size, 4 ** places[:, 2, 0, 0]
    assert (scale == 1).sum() in range(16, 48) and scale.max() > 3 and (places[:, :2].abs() < 1).all()
    for image, patch, place, factor in zip(images, patches, places, scale, strict=True):
        height, width = (round(side * factor.item()) for side in (5, 7))
        large = F.interpolate(image[None], (height, width), mode="bilinear", align_corners=False)[0]
        column, row = (((place[axis, 0, 0] + 1) / 2 * n - 0.5).round().int() for axis, n in ((0, width), (1, height)))
        assert torch.allclose(large[:, row : row + size, column : column + size], patch, atol=0.02)
        if factor == 1:
            assert torch.allclose(image[:, row : row + size, column : column + size], patch, atol=1e-6)
    assert (model.eval()._random_patches(images, None)[1][:, 2] == 0).all()


@pytest.mark.parametrize("name", ["pixelcnn++", "pixelsnail", "lmconv"])
@torch.no_grad()
def test_colour_models_give_each_channel_those_before_it(name):
    model = make(name, value_dim=3, num_levels=256)
    values = some_values(model)
    positions = model.native_positions()
    drawn = model.sample(positions[:, :3], values[:1, :3], positions[:, 3:], num_samples=2)
    assert drawn.shape == (2, 1, 13, 3) and torch.allclose(drawn * 255, (drawn * 255).round(), atol=1e-3)
    distribution = model.conditionals(values, model.orders()[0])
    assert torch.isfinite(distribution.log_prob(values)).all() and distribution.mean.shape == (3, 16, 3)


@torch.no_grad()
def test_discretised_logistics_sum_to_one_and_their_samples_agree():
    from baselines.autoregressive.distributions import DiscretisedLogistics

    torch.manual_seed(0)
    one = DiscretisedLogistics.read(torch.randn(1, 15), 5, 1, 8)
    table = one.log_prob(torch.linspace(0, 1, 8)[:, None]).exp()
    assert table.sum().item() == pytest.approx(1, abs=1e-4)
    drawn = (one.sample((20000,)) * 7).round().long().flatten().bincount(minlength=8) / 20000
    assert (drawn - table).abs().max() < 0.02
    colour = DiscretisedLogistics.read(torch.randn(50), 5, 3, 3)
    values = torch.tensor(list(product((0.0, 0.5, 1.0), repeat=3)))
    assert colour.log_prob(values).exp().sum().item() == pytest.approx(1, abs=1e-4)
    drawn = (colour.sample((20000,)) * 2).round().long() @ torch.tensor([9, 3, 1])
    assert (drawn.bincount(minlength=27) / 20000 - colour.log_prob(values).exp()).abs().max() < 0.02


@pytest.mark.parametrize("name", TRAINED)
def test_a_few_steps_of_training_lower_the_loss(name):
    torch.manual_seed(0)
    model = make(name)
    generator = torch.Generator().manual_seed(0)
    bright = torch.rand(16, model.config.num_cells, 1, generator=generator) < 0.9
    values = bright.float() if model.config.num_levels else 0.1 * some_values(model, 16)
    exact = model(values, generator=torch.Generator().manual_seed(0)).loss
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(values, generator=torch.Generator().manual_seed(0)).loss
    rounded.backward()  # in bfloat16 where the hardware has it
    assert rounded.item() == pytest.approx(exact.item(), abs=0.05)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(10):
        loss = model(values, generator=torch.Generator().manual_seed(0)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02


@pytest.mark.parametrize("name", ["pixel-histogram", "joint-histogram", "parametric-pixels"])
def test_counting_fits_what_was_counted(name):
    model = make(name, native_grid=(2, 2))
    torch.manual_seed(0)
    images = (torch.rand(500, 4, 1) < torch.tensor([0.9, 0.2, 0.5, 0.7])[:, None]).float()
    images[:, 3] = images[:, 0]  # two pixels that are always equal
    for part in images.split(100):
        model.count(part)
    model.fit()
    means = model.predict(model.native_positions()[:, :0], images[:1, :0], model.native_positions()).mean[0, :, 0]
    assert (means - images.mean((0, 2))).abs().max() < 0.1
    positions = model.native_positions().expand(500, -1, -1)
    nats = -model.log_prob(positions[:, :0], images[:, :0], positions, images).mean()
    independent = -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in images.mean((0, 2)).tolist())
    assert nats < independent - 0.3 if name == "joint-histogram" else nats > independent - 0.05


def test_orders_visit_every_cell_once():
    for grid in ((8, 8), (28, 28), (5, 3)):
        for order in (*(make(grid) for make in ORDERS.values()), subsampled_first((grid[0], grid[1]), 2)):
            assert torch.equal(order.sort().values, raster(grid))
    x, y = hilbert((8, 8)) % 8, hilbert((8, 8)) // 8
    assert ((x.diff().abs() + y.diff().abs()) == 1).all()
    curve = s_curve((5, 3))
    assert ((curve.diff().abs() == 1) | (curve.diff().abs() == 5)).all()
    assert len({tuple(order.tolist()) for order in reflections(s_curve((4, 4)), (4, 4))}) == 8
    assert picture(raster((4, 3)), (4, 3)).size == (32, 24)
