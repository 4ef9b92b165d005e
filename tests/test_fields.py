"""Fields: maps of real numbers with missing cells, read, trained on and written back."""

import re

import numpy as np
import pytest
import torch
import xarray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from conftest import ROOT, make_model
from evaluation.job import Job
from evaluation.sections.patterns import mean_signal
from evaluation.sections.references import methods
from examples import terrain
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.field import Fields, predictor
from signals.field_files import read_field, to_maps, write_field
from signals.field_maps import _windows, predict_map
from signals.kriging import ROUGHNESS_WEIGHT, Kernel, Kriged, Kriging
from train_accelerate import train
from training import setup
from training.arguments import parse_arguments
from training.episodes import make_episode
from training.run import set_up

SMALL = "--hidden_size 16 --num_attention_heads 2 --num_encoder_layers 1 --num_decoder_layers 1 --intermediate_size 16"
SMALL += " --num_bins 2 --max_context 12 --buffer_size 4 --max_queries 4 --token_budget 128 --max_train_steps 2"
SMALL += " --validation_contexts 0 4 --validation_images 4 --report_to none --mixed_precision no --patch_size 6"


@pytest.fixture
def field() -> xarray.Dataset:
    """Temperature and wind on 20×32 cells, in which a hole and a stripe have no values."""
    y, x = np.mgrid[:20, :32]
    warm = (15 + 3 * np.sin(x / 4) + 0.2 * y).astype(np.float32)
    warm[5:8, 3:6] = np.nan
    warm[:, 20] = np.nan
    wind = (np.cos(y / 3) * 5).astype(np.float32)
    return xarray.Dataset(
        {"t": (("lat", "lon"), warm, {"units": "degC"}), "wind": (("lat", "lon"), wind, {"units": "m s-1"})},
        {"lat": np.linspace(50, 40, 20), "lon": ("lon", np.linspace(0, 8, 32), {"units": "degrees_east"})},
        {"title": "made up"},
    )


@pytest.fixture
def stored(field, tmp_path):
    return write_field(field, tmp_path / "field.nc")


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_units_coordinates_and_missing_cells_survive_a_file(field, tmp_path, ending):
    for _ in range(2):  # a second writing replaces the first
        read = read_field(write_field(field, tmp_path / f"field.{ending}"))
    xarray.testing.assert_identical(read.drop_attrs(), field.drop_attrs())
    assert (read.t.attrs["units"], read.wind.attrs["units"], read.lon.attrs["units"]) == (
        "degC",
        "m s-1",
        "degrees_east",
    )
    assert read_field(tmp_path / f"field.{ending}", ["wind"]).data_vars.keys() == {"wind"}


def test_arrays_of_numpy_are_fields_too(field, tmp_path):
    warm = field.t.values
    np.save(tmp_path / "a.npy", np.nan_to_num(warm, nan=-9999))
    assert np.array_equal(read_field(tmp_path / "a.npy", missing_value=-9999).value, warm, equal_nan=True)
    np.savez(tmp_path / "a.npz", t=warm, x=np.arange(32), facts=np.array(3.0))
    read = read_field(tmp_path / "a.npz")
    assert list(read.data_vars) == ["t"] and read.x.values.tolist() == list(range(32))
    np.save(tmp_path / "many.npy", np.stack([warm, warm + 1, warm + 2]).astype(np.float64))
    assert to_maps(read_field(tmp_path / "many.npy")).shape == (3, 20, 32, 1)


def test_variables_of_several_files_are_the_same_in_any_order(field, tmp_path):
    write_field(field, tmp_path / "maps" / "a.nc")
    write_field(field[["wind", "t"]], tmp_path / "maps" / "b.nc")
    first, second = Fields(str(tmp_path / "maps"))._maps["train"]
    assert torch.equal(first.nan_to_num(), second.nan_to_num())
    write_field(field[["wind"]], tmp_path / "maps" / "c.nc")
    with pytest.raises(ValueError, match="--dataset_name: expected the variables of a.nc .* in c.nc"):
        Fields(str(tmp_path / "maps"))._maps  # noqa: B018


def test_what_is_no_field_is_named(field, tmp_path):
    (tmp_path / "broken.nc").write_text("no netCDF")
    np.save(tmp_path / "line.npy", np.zeros(5))
    np.savez(tmp_path / "two.npz", a=np.zeros((4, 4)), b=np.zeros((5, 4)))
    wrong = {"broken.nc": "cannot read a field", "line.npy": "two dimensions", "two.npz": "conflicting sizes"}
    for name, words in wrong.items():
        with pytest.raises(ValueError, match=f"{name}: .*{words}"):
            read_field(tmp_path / name)
    with pytest.raises(ValueError, match=r"expected the maps rain, got t \(20, 32\)"):
        read_field(write_field(field, tmp_path / "field.nc"), ["rain"])
    with pytest.raises(ValueError, match="a name that ends in .zarr"):
        write_field(field, tmp_path / "field.csv")
    with pytest.raises(ValueError, match="--dataset_name: expected an existing file"):
        Fields("missing.nc").load(0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected fields .* in the folder"):
        Fields(str(tmp_path / "empty")).load(0)
    with pytest.raises(ValueError, match="--test_block: expected x0 y0 x1 y1"):
        Fields("a.nc", test_block=[0.5, 0, 0.2, 1])
    with pytest.raises(ValueError, match="--patch_size: expected patches of 24×24 cells"):
        Fields(str(tmp_path / "field.nc"), patch_size=24).load(0)


def test_training_sees_nothing_of_what_is_held_out(field, tmp_path):
    """Neither in its patches nor in the mean and standard deviation of values."""
    block = dict(validation_block=[0, 0, 0.5, 0.4], test_block=[0.5, 0.5, 1, 1])
    standards, patches = [], []
    for change in (0.0, 1000.0):
        changed = field.copy(deep=True)
        changed.t.values[:8, :16] += change
        changed.t.values[10:, 16:] += change
        path = write_field(changed, tmp_path / f"{change}.nc")
        signal = Fields(str(path), patch_size=4, **block)
        rows, _ = signal.load(0)
        standards.append(signal.standard)
        patches.append(torch.stack(list(rows)))
    assert standards[0] == standards[1] and standards[0]["units"] == ["degC", "m s-1"]
    assert torch.equal(patches[0].nan_to_num(9), patches[1].nan_to_num(9))
    whole = torch.cat([patch.flatten(0, 1) for patch in patches[0]])
    assert whole.nanmean(0).abs().max() < 0.5


def test_a_folder_may_say_what_is_held_out(field, tmp_path):
    for split in ("train", "validation", "test"):
        write_field(field, tmp_path / "maps" / split / "field.zarr")
    signal = Fields(str(tmp_path / "maps"), patch_size=5, max_missing=0.0)
    training, validation = signal.load(0)
    config = make_model(native_grid=[5, 5], value_dim=2, field=signal.standard).config
    assert len(validation) == len(signal.load_split("test", config)) and len(training) > len(validation)
    assert len(signal.load_split("test", config, 2)) == 2
    with pytest.raises(ValueError, match="--split: expected one of train"):
        signal.load_split("other", config)


def test_missing_cells_are_neither_observed_nor_asked_for(stored):
    signal = Fields(str(stored), patch_size=6, max_missing=0.4, turn=True, shift=0.5)
    rows, _ = signal.load(0)
    holed = [row for row in rows if row.isnan().any()][:6]
    assert holed and max(float(row.isnan().any(-1).float().mean()) for row in rows) <= 0.4
    batch = signal.collate(holed)
    count = signal.num_cells({"native_grid": [6, 6]})
    assert count < 36
    positions, values = signal.pairs(batch, count, torch.Generator().manual_seed(0))
    assert values.isfinite().all() and all(len(row.unique(dim=0)) == count for row in positions)
    for pattern in signal.patterns.values():
        seen = signal.observe(batch, pattern, [6, 6], torch.Generator().manual_seed(0))
        assert all(part.isfinite().all() for part in seen) and seen.query_values.shape[1] > 0
    arguments, _ = parse_arguments(f"--output_dir x --kind field --dataset_name {stored} {SMALL}".split())
    model = make_model(native_grid=[6, 6], value_dim=2, value_range=None, quantization_step=None)
    sampler = setup.make_sampler(arguments, signal, model.config)
    for step in range(20):
        episode = make_episode(signal, batch, sampler.sizes(step), 0, step)
        assert all(part.isfinite().all() for part in episode.values())
    with pytest.raises(ValueError, match="expected 0 where fields have missing cells"):
        signal.pairs(batch, 4, continuous=True)
    with pytest.raises(ValueError, match="--num_scales: expected 1"):
        signal.pyramid(batch, 2)
    with pytest.raises(ValueError, match="as whole grids are asked for"):
        signal.grid_values(batch, [6, 6])
    assert not signal.is_native(holed[0], [6, 6])


def test_fields_with_missing_cells_are_compared_with_means_and_baselines(stored):
    signal = Fields(str(stored), patch_size=6, max_missing=0.4)
    rows, _ = signal.load(0)
    model = make_model(native_grid=[6, 6], value_dim=2, value_range=None, quantization_step=None)
    model.config.field = signal.standard
    job = Job(model, signal, "train")
    assert any(row.isnan().any() for row in rows)
    assert mean_signal(job).isfinite().all() and mean_signal(job).shape == (36, 2)
    fitted = methods(job)
    assert "Gaussian process" in fitted and fitted["nearest"].center.isfinite().all()


def test_turned_and_shifted_patches_hold_the_same_differences(stored):
    signal = Fields(str(stored), patch_size=5, turn=True, shift=2.0)
    row = signal.load(0)[0][0]
    batch = signal.augment(row.expand(40, -1, -1, -1), torch.Generator().manual_seed(0))
    lowest = batch.flatten(1, 2).amin(1, keepdim=True)
    ordered = (batch.flatten(1, 2) - lowest).sort(1).values
    assert torch.allclose(ordered, ordered[:1].expand_as(ordered), atol=1e-5)
    assert lowest.std() > 1 and len(batch.sub(lowest[:, None]).round(decimals=3).unique(dim=0)) == 8


def test_a_trained_field_is_inferred_in_its_own_units(stored, field, tmp_path):
    flags = f"--kind field --dataset_name {stored} --output_dir {tmp_path}/run {SMALL}"
    model = PixelTransformerModel.from_pretrained(train(*parse_arguments(flags.split()))).eval()
    assert model.config.field["variables"] == ["t", "wind"] and model.config.correlated_channels
    assert "degC" in (tmp_path / "run" / "export" / "README.md").read_text()
    land = ~np.isnan(field.t.values)
    kept = np.random.default_rng(0).random(land.shape) < 0.2
    inferred = predict_map(model, field.where(kept), wanted=land)
    for name in ("t", "wind"):
        assert inferred[name].attrs == field[name].attrs
        assert inferred[f"{name}_std"].attrs["units"] == field[name].attrs["units"]
        values, std = inferred[name].values, inferred[f"{name}_std"].values
        assert np.isfinite(values[land]).all() and np.isnan(values[~land & ~kept]).all()
        assert np.array_equal(values[kept & land], field[name].values[kept & land])
        assert (std[kept & land] == 0).all() and (std[land & ~kept] > 0).all()
    xarray.testing.assert_equal(inferred.coords.to_dataset(), field.coords.to_dataset())
    read = read_field(write_field(inferred, tmp_path / "map.zarr"))
    assert set(read.data_vars) == {"t", "t_std", "wind", "wind_std"}
    assert np.isfinite(predict_map(model, field[["t", "wind"]].isel(lat=slice(4), lon=slice(3))).t).all()  # small
    with pytest.raises(ValueError, match="expected the variables t, wind, got wind"):
        predict_map(model, field[["wind"]])
    field.t.attrs["units"] = "K"
    with pytest.raises(ValueError, match="expected t in 'degC', .* got 'K'"):
        predict_map(model, field)


def test_observed_values_stay_where_another_variable_is_missing(field):
    """The model does not see cells that are observed in part: without them, its answers are the same."""
    standard = {"variables": ["t", "wind"], "units": ["degC", "m s-1"], "center": [15.0, 0.0], "spread": [2.0, 3.0]}
    values = dict(value_dim=2, value_range=None, quantization_step=None, offset_radius=None)
    model, missing = make_model(signal="field", field=standard, **values), np.isnan(field.t.values)
    inferred = predict_map(model, field)
    assert np.array_equal(inferred.wind, field.wind) and (inferred.wind_std == 0).all()
    assert np.isfinite(inferred.t).all() and ((inferred.t_std.values > 0) == missing).all()
    without = predict_map(model, field.assign(wind=field.wind.where(~missing)))
    assert np.array_equal(inferred.t, without.t)
    nowhere = predict_map(model, field, wanted=np.zeros(missing.shape))
    assert np.array_equal(nowhere.wind, field.wind) and np.array_equal(np.isnan(nowhere.t), missing)


@pytest.mark.parametrize("shape", [(6, 6), (20, 32), (7, 5), (3, 40), (1, 1)])
def test_windows_answer_each_cell_once(shape):
    count = np.zeros(shape, int)
    for window, core in _windows(shape, (6, 6)):
        count[core] += 1
        for whole, part in zip(window, core, strict=True):
            assert whole.start <= part.start and part.stop <= whole.stop
    assert (count == 1).all()


def test_the_terrain_example_draws_its_map(tmp_path):
    path = terrain.make_field(tmp_path / "terrain.nc")
    stored = read_field(path)
    assert stored.elevation.attrs["units"] == "m" and 0.01 < float(stored.elevation.isnull().mean()) < 0.1
    standard = {"variables": ["elevation"], "units": ["m"], "center": [500.0], "spread": [150.0]}
    values = dict(value_range=None, quantization_step=None, offset_radius=None)
    model = make_model(signal="field", native_grid=[32, 32], field=standard, **values)
    truth, inferred = terrain.infer_map(model, path, 8)
    assert np.array_equal(np.isnan(truth.elevation), np.isnan(inferred.elevation))
    terrain.draw(truth, inferred, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_the_lines_of_the_page_make_a_map(field, tmp_path, monkeypatch):
    standard = {"variables": ["t", "wind"], "units": ["degC", "m s-1"], "center": [15.0, 0.0], "spread": [2.0, 3.0]}
    values = dict(value_dim=2, value_range=None, quantization_step=None, offset_radius=None)
    make_model(signal="field", field=standard, **values).save_pretrained(tmp_path / "runs" / "heights" / "export")
    write_field(field.where(np.random.default_rng(0).random((20, 32)) < 0.3), tmp_path / "sensors.nc")
    write_field(xarray.Dataset({"land": (("lat", "lon"), ~np.isnan(field.t.values))}), tmp_path / "land.nc")
    page = (ROOT / "docs" / "FIELDS.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(compile(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1), "page", "exec"), {})
    assert read_field("map.nc").t.attrs["units"] == "degC"


def roughness(kernel: Kernel, positions: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """As an average over channels and ROUGHNESS_WEIGHT values of variance 1, each value whitened."""
    covariance = kernel.covariance(positions, positions) + kernel.noise * torch.eye(positions.shape[1])
    whitened = torch.linalg.solve(torch.linalg.cholesky(covariance), values).square().mean(-1).sum(-1)
    return ((ROUGHNESS_WEIGHT + whitened) / (ROUGHNESS_WEIGHT + positions.shape[1])).sqrt()[:, None, None]


def test_kriging_is_the_gaussian_process_of_scikit_learn():
    """At any number of observed values, but surer in smooth maps; what is left out is predicted from the others."""
    kriging = Kriging((Kernel(9, 1.3, [0.4, 0.8], 0.01),))
    kernel = ConstantKernel(1.3) * Matern([0.4, 0.8], nu=1.5) + WhiteKernel(0.01)
    positions, values = torch.rand(2, 9, 2, dtype=torch.double) * 2 - 1, torch.randn(2, 9, 3, dtype=torch.double)
    values[1] *= 5
    queries = torch.rand(2, 5, 2, dtype=torch.double)
    mean, std = kriging.predict(positions, values, queries)
    rough = roughness(kriging.kernels[0], positions, values)
    assert rough[1] > 2 * rough[0]
    for row, plain in enumerate(std / rough):
        reference = GaussianProcessRegressor(kernel, optimizer=None).fit(positions[row], values[row])
        expected = reference.predict(queries[row], return_std=True)
        assert np.allclose(mean[row], expected[0], atol=1e-4) and np.allclose(plain, expected[1][:, :1], atol=1e-4)
    nothing = kriging.predict(positions[:, :0], values[:, :0], queries)
    assert (nothing[0] == 0).all() and torch.allclose(nothing[1], torch.full_like(std, 1.31**0.5))
    left_out = kriging.left_out(positions, values) * rough
    for index in range(9):
        others = [number for number in range(9) if number != index]
        known = positions[:, others], values[:, others]
        mean, std = kriging.predict(*known, positions[:, [index]])
        expected = (values[:, [index]] - mean) / std * roughness(kriging.kernels[0], *known)
        assert torch.allclose(left_out[:, [index]], expected, atol=1e-3)


def test_the_kernel_is_that_of_the_nearest_number_of_values():
    """Nearest by ratio; leaving values out uses it too."""
    few, many = Kernel(16, 1.0, [0.9, 0.9], 0.1), Kernel(64, 0.5, [0.3, 0.3], 0.0)
    kriging = Kriging((few, many))
    chosen = {count: kriging.kernel(count) for count in (0, 1, 16, 31, 33, 64, 500)}
    assert [count for count, kernel in chosen.items() if kernel is few] == [0, 1, 16, 31]
    positions, values = torch.rand(1, 40, 2) * 2 - 1, torch.randn(1, 40, 1)
    for count, kernel in ((20, few), (40, many)):
        known, alone = (positions[:, :count], values[:, :count]), Kriging((kernel,))
        assert torch.equal(kriging.left_out(*known), alone.left_out(*known))
        both = zip(kriging.predict(*known, positions), alone.predict(*known, positions), strict=True)
        assert all(torch.equal(*pair) for pair in both)


def test_fitted_kernels_are_that_of_the_values():
    """There is one for each number of values; numbers above those of a map become the map's."""
    positions, generator = torch.rand(60, 2, dtype=torch.double) * 2 - 1, torch.Generator().manual_seed(0)
    factor = Kernel(60, 2.0, [0.5, 0.5], 1e-4).factor(positions[None])[0]
    values = (factor @ torch.randn(60, 200, dtype=torch.double, generator=generator)).T
    found = Kriging.fit(positions, values, (30, 60, 100), generator, isotropic=True).kernels
    assert [kernel.observed for kernel in found] == [30, 60]
    for kernel in found:
        assert kernel.variance == pytest.approx(2.0, rel=0.3) and kernel.lengths == pytest.approx([0.5] * 2, rel=0.2)
    assert Kernel.fit(positions.expand(2, -1, -1), values[:2]).lengths[0] != found[0].lengths[0]


def test_scores_of_the_terrain_example_are_of_cells_not_observed(tmp_path):
    """In metres; what exceeds the network's is that of the same cells."""
    signal = Fields(str(terrain.make_field(tmp_path / "terrain.nc")), kriging=True, test_block=[0.0, 0.72, 0.3, 1.0])
    standard = {"variables": ["elevation"], "units": ["m"], "center": [500.0], "spread": [150.0], "kernels": []}
    config = make_model(signal="field", native_grid=[32, 32], field=standard, value_range=None, quantization_step=None)
    kriging = Kriging((Kernel(32, 0.7, [0.7, 0.6], 0.0),))
    process = terrain.StartingPoint(config.config, kriging)
    worse = terrain.StartingPoint(config.config, Kriging((Kernel(32, 0.7, [0.1, 0.1], 0.0),)))
    table = terrain.compare({terrain.NETWORK_NAME: process, "worse": worse}, signal, config.config)
    for better, other in zip(table[::2], table[1::2], strict=True):
        assert better["nats_above_network"] == better["square_above_network_interval"] == 0
        assert other["square_above_network"] == pytest.approx(other["rmse"] ** 2 - better["rmse"] ** 2)
        assert other["nats_above_network"] == pytest.approx(other["nats"] - better["nats"], abs=1e-4)
        assert 0 < better["rmse"] < other["rmse"] < 300
    lines = terrain.markdown(table).splitlines()
    assert len(lines) == 2 + len(table) and len({line.count("|") for line in lines}) == 1


def test_a_model_of_residuals_answers_in_values(stored, tmp_path):
    """What it was trained on is (value - kriging's mean) / std, and its answers are turned back."""
    flags = f"--kind field --dataset_name {stored} --output_dir {tmp_path}/run {SMALL} --kriging true --turn true"
    arguments, signal = parse_arguments(flags.split())
    model = PixelTransformerModel.from_pretrained(train(arguments, signal)).eval()
    answering = predictor(model)
    assert isinstance(answering, Kriged) and answering.kriging == signal.kriged
    rows = [row for row in signal.load_split("train", model.config) if not row.isnan().any()][:3]
    positions, values = signal.pairs(torch.stack(rows), 20, torch.Generator().manual_seed(0))
    for context in (0, 7):
        same, residuals = signal.revise(torch.stack(rows), positions, values, context, None)
        assert torch.equal(same, positions)
        known, asked = slice(context), slice(context, None)
        found = answering.predict(positions[:, known], values[:, known], positions[:, asked])
        of_residuals = model.predict(positions[:, known], residuals[:, known], positions[:, asked])
        _, std = signal.kriged.predict(positions[:, known], values[:, known], positions[:, asked])
        expected = of_residuals.log_prob(residuals[:, asked]) - 2 * std[..., 0].log()  # two channels
        assert torch.allclose(found.log_prob(values[:, asked]).double(), expected.double(), atol=1e-3)
    with pytest.raises(ValueError, match="--kriging: expected true"):
        Fields(str(stored), patch_size=6).load_split("test", model.config)


def test_a_start_from_another_field_answers_in_the_units_of_the_new_one(stored, field, tmp_path):
    """With the new names, scale and kernels, whatever the checkpoint was trained on."""
    old = {"variables": ["a", "b"], "units": ["K", ""], "center": [270.0, 1.0], "spread": [9.0, 2.0], "kernels": []}
    values = dict(value_dim=2, value_range=None, quantization_step=None, offset_radius=None)
    make_model(signal="field", field=old, **values).save_pretrained(tmp_path / "old")
    flags = f"--kind field --dataset_name {stored} --output_dir x --max_train_steps 1 --patch_size 6"
    for kriging in ("false", "true"):
        words = [*flags.split(), "--kriging", kriging, "--init_from", str(tmp_path / "old")]
        arguments, signal = parse_arguments(words)
        config = setup.make_model(arguments, signal, signal.load(0)[0]).config
        assert config.field == signal.standard and config.field["units"] == ["degC", "m s-1"]
        assert ("kernels" in config.field) == (kriging == "true")


def test_kriging_is_refused_with_scales_before_the_training(stored, tmp_path):
    """Residuals of single cells and averages of values would be mixed in a step."""
    flags = f"--kind field --dataset_name {stored} --output_dir {tmp_path}/run {SMALL} --max_missing 0"
    with pytest.raises(ValueError, match="--num_scales: expected 1 with --kriging, got 2"):
        set_up(*parse_arguments([*flags.split(), "--kriging", "true", "--num_scales", "2"]))
