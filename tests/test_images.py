"""Images become positions and values, and the other way round."""

from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from baselines.nearest import nearest_values
from signals.cells import cell_positions, random_pairs, values_at_positions
from signals.data import load_splits
from signals.image import Images, find_image_column, image_to_array, to_image, to_values
from signals.plan import fill_lines


def test_folder_of_images_loads_as_arrays(image_folder):
    training, validation = Images(dataset_name=str(image_folder), validation_size=8).load(seed=0)
    assert len(training) == 32 and len(validation) == 8
    batch = Images.collate(training.first(3))
    assert batch.shape == (3, 8, 8, 1) and batch.dtype == torch.uint8
    files = {np.array(Image.open(path)).tobytes() for path in image_folder.glob("*.png")}
    rows = [row.numpy().tobytes() for part in (training, validation) for row in part.first(40)]
    assert set(rows) == files  # none is lost, none in both


def test_images_for_a_checkpoint_of_two_levels_are_binarised(image_folder):
    config = SimpleNamespace(native_grid=[8, 8], value_dim=1, quantization_step=1.0)
    rows = Images(dataset_name=str(image_folder)).load_split("train", config, 8)
    assert set(torch.stack(list(rows)).unique().tolist()) == {0, 255}


def test_lines_of_pictures_are_filled_up():
    pictures = torch.zeros(7, 2, 2, 1)
    assert fill_lines(pictures, 3).flatten(1).mean(1).tolist() == [0.0] * 7 + [1.0] * 2
    assert fill_lines(pictures[:2], 3).shape == (2, 2, 2, 1)


def test_a_tenth_of_a_few_images_is_held_out_and_one_image_is_too_few(image_folder, tmp_path):
    training, validation = Images(dataset_name=str(image_folder)).load(seed=0)
    assert (len(training), len(validation)) == (36, 4)
    first = sorted(image_folder.glob("*.png"))[0]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / first.name).write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match="--validation_size: expected fewer than the 1 rows of split 'train', got 1"):
        Images(dataset_name=str(tmp_path / "one")).load(seed=0)


def test_parquet_folder_loads(tmp_path, image_folder):
    (tmp_path / "parquet").mkdir()
    rows = load_splits(str(image_folder))["train"]
    rows.to_parquet(tmp_path / "parquet" / "train-00000-of-00001.parquet")
    again = load_splits(str(tmp_path / "parquet"))["train"]
    assert find_image_column(again) == "image" and len(again) == 40


def test_unknown_dataset_and_missing_column_are_named(tmp_path):
    with pytest.raises(ValueError, match="--dataset_name: cannot load .*no/such-dataset"):
        load_splits("no/such-dataset")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="--dataset_name: .*empty folder"):
        load_splits(str(tmp_path / "empty"))

    def rows(**features):
        return datasets.Dataset.from_dict({name: [] for name in features}, features=datasets.Features(features))

    with pytest.raises(ValueError, match=r"image column; the columns are text \(Value\)"):
        find_image_column(rows(text=datasets.Value("string")))
    two = rows(a=datasets.Image(), b=datasets.Image())
    with pytest.raises(ValueError, match="--image_column: expected one of a, b"):
        find_image_column(two)
    assert find_image_column(two, "b") == "b"
    with pytest.raises(ValueError, match="--image_column: .*got 'c'"):
        find_image_column(two, "c")


def test_images_of_different_sizes_mix_in_one_batch():
    """Each is looked at at its own resolution; the small one, having too few cells, between them."""
    signal = Images(dataset_name="none")
    batch = signal.collate([torch.full((2, 2, 1), 51, dtype=torch.uint8), torch.zeros(5, 4, 1, dtype=torch.uint8)])
    positions, values = signal.pairs(batch, 10)
    assert positions.shape == (2, 10, 2) and values.shape == (2, 10, 1)
    assert torch.allclose(values[0], torch.tensor(0.2)) and (values[1] == 0).all()
    with pytest.raises(ValueError, match="images: expected arrays of shape"):
        signal.grid_values(batch, [4, 5])


def test_every_image_comes_at_each_size(image_folder):
    training, _ = Images(dataset_name=str(image_folder), image_size=[6, 12], validation_size=8).load(seed=0)
    assert len(training) == 64 and {tuple(row.shape) for row in training.first(4)} == {(6, 6, 1), (12, 12, 1)}


def test_mirroring_flips_x_and_nothing_else():
    signal = Images(dataset_name="none", horizontal_flip=True)
    batch = torch.arange(12, dtype=torch.uint8).view(1, 3, 4, 1).expand(40, -1, -1, -1)
    flipped = signal.augment(batch, torch.Generator().manual_seed(0))
    kinds = {bytes(row.flatten().tolist()) for row in flipped}
    assert kinds == {bytes(batch[0].flatten().tolist()), bytes(batch[0].flip(1).flatten().tolist())}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_read(mode):
    array = image_to_array(Image.new(mode, (20, 10)), (8, 6), 3)
    assert array.shape == (6, 8, 3) and array.dtype == np.uint8


def test_sixteen_bits_keep_their_brightness_and_unknown_ranges_are_refused():
    deep = Image.fromarray(np.array([[0, 300, 30000, 65535]], np.uint16))
    assert image_to_array(deep, None, 1)[0, :, 0].tolist() == [0, 1, 117, 255]
    with pytest.raises(ValueError, match="image: expected 8 or 16 bits per channel, got mode 'F'"):
        image_to_array(Image.new("F", (2, 2)), None, 1)


def test_transparent_pixels_are_white():
    assert (image_to_array(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), None, 3) == 255).all()


def test_continuous_lookup_agrees_with_the_grid_at_cell_centres():
    arrays = torch.rand(2, 3, 5, 2)  # (B, y, x, V)
    positions = cell_positions([5, 3], torch.arange(15)).expand(2, -1, -1)
    assert torch.allclose(values_at_positions(arrays, positions), arrays.flatten(1, 2), atol=1e-5)
    volume = torch.rand(1, 2, 3, 4, 1)
    positions = cell_positions([4, 3, 2], torch.arange(24))[None]
    assert torch.allclose(values_at_positions(volume, positions), volume.flatten(1, 3), atol=1e-5)


def test_continuous_lookup_is_linear_between_centres():
    arrays = torch.arange(4.0).view(1, 1, 4, 1)
    halfway = torch.tensor([[[-0.5, 0.0]]])
    assert values_at_positions(arrays, halfway).item() == pytest.approx(0.5)


def test_random_cells_are_distinct_and_values_match():
    arrays = torch.rand(2, 4, 6, 3)
    positions, values = random_pairs(arrays, 24)
    assert len({tuple(place) for place in positions[0].tolist()}) == 24
    assert torch.allclose(values_at_positions(arrays, positions), values, atol=1e-5)
    with pytest.raises(ValueError, match="count: expected at most the 24 cells"):
        random_pairs(arrays, 25)


def test_values_survive_the_way_to_an_image():
    array = torch.randint(0, 256, (5, 4, 3), dtype=torch.uint8)
    assert np.array_equal(np.array(to_image(to_values(array))), array.numpy())


def test_nearest_neighbour_of_an_observed_place_is_its_value():
    positions, values = torch.rand(2, 6, 2), torch.rand(2, 6, 1)
    assert torch.equal(nearest_values(positions, values, positions.flip(1)), values.flip(1))
    with pytest.raises(ValueError, match="context_positions"):
        nearest_values(positions[:, :0], values[:, :0], positions)
