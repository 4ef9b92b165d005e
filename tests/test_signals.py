"""All kinds of signals stand behind one interface; what each is made of."""

import numpy as np
import pytest
import torch
import trimesh
from datasets import Array3D, Dataset, Features, Value
from PIL import Image

from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals import find, kinds
from signals.base import Rows
from signals.field import Fields
from signals.image import Images
from signals.mesh import mesh_to_sdf, normalize, occupancy_to_sdf, read_mesh, save_mesh, sdf_to_mesh
from signals.polynomial import Polynomials, polynomial
from signals.shape import Shapes
from signals.video import MovingDigits, Videos, bounce, read_clip, save_clip

KINDS = ["field", "image", "polynomial", "shape", "video"]


def ball(radius: float = 0.6) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=3, radius=radius)


@pytest.fixture
def occupancy_folder(tmp_path):
    """A parquet dataset of 12 grids of 8³: boxes at different positions."""
    grids = []
    for number in range(12):
        grid = np.zeros((8, 8, 8), np.uint8)
        x, y, z = number % 3, number // 3, 1
        grid[x : x + 4, y : y + 3, z : z + 2] = 1
        grids.append(grid)
    features = Features({"occupancy": Array3D((8, 8, 8), "uint8"), "name": Value("string")})
    (tmp_path / "boxes").mkdir()
    Dataset.from_dict({"occupancy": grids, "name": ["box"] * 12}, features=features).to_parquet(
        tmp_path / "boxes" / "train-00000-of-00001.parquet"
    )
    return tmp_path / "boxes"


@pytest.fixture
def signal(request, image_folder, occupancy_folder, tmp_path):
    """One of each kind, in small."""
    y, x = np.mgrid[:24, :40]
    np.save(tmp_path / "waves.npy", np.sin(x / 5) + np.cos(y / 4 + x / 9))
    made = {
        "field": lambda: Fields(dataset_name=str(tmp_path / "waves.npy"), patch_size=8),
        "image": lambda: Images(dataset_name=str(image_folder), validation_size=8),
        "polynomial": lambda: Polynomials(num_polynomials=50, validation_size=8),
        "shape": lambda: Shapes(dataset_name=str(occupancy_folder), validation_size=4),
        "video": lambda: Videos(
            dataset_name=str(image_folder), validation_size=8, frames=3, frame_size=12, digit_size=8
        ),
    }
    return made[request.param]()


def test_these_kinds_are_there():
    assert kinds() == KINDS


@pytest.mark.parametrize("signal", KINDS, indirect=True)
class TestEveryKind:
    def test_its_config_makes_a_model_that_answers(self, signal):
        training, _ = signal.load(seed=0)
        fields = signal.config_fields(training)
        config = PixelTransformerConfig(signal=signal.kind, hidden_size=16, **fields)
        model = PixelTransformerModel(config).eval()
        batch = signal.collate(training.first(3))
        positions, values = signal.pairs(batch, 9)
        assert positions.shape == (3, 9, config.position_dim) and values.shape == (3, 9, config.value_dim)
        assert model.predict(positions[:, :4], values[:, :4], positions[:, 4:]).log_prob(values[:, 4:]).isfinite().all()
        if config.value_range is not None:
            assert values.min() >= config.value_range[0] and values.max() <= config.value_range[1]

    def test_cells_stand_in_the_model_s_order(self, signal):
        """`positions` and `native_positions` agree, and looking a signal up there gives `grid_values`."""
        training, _ = signal.load(seed=0)
        fields = signal.config_fields(training)
        config = PixelTransformerConfig(signal=signal.kind, hidden_size=16, **fields)
        native = PixelTransformerModel(config).native_positions()
        assert torch.allclose(signal.positions(fields["native_grid"]), native[0])
        batch = signal.collate(training.first(2))
        values = signal.grid_values(batch, fields["native_grid"])
        positions, seen = signal.pairs(batch, 30, torch.Generator().manual_seed(0))
        near = torch.cdist(positions, native.expand(2, -1, -1)).argmin(-1, keepdim=True)
        error = (values.gather(1, near.expand_as(seen)) - seen).abs().max()
        assert error < (0.2 if signal.kind == "polynomial" else 1e-6)  # polynomials are never asked at cells alone

    def test_training_and_validation_share_no_signal(self, signal):
        training, validation = signal.load(seed=0)
        held_out = {row.numpy().tobytes() for row in validation.first(99)}
        assert not held_out & {row.numpy().tobytes() for row in training.first(99)}

    def test_rows_and_places_are_reproducible(self, signal):
        first, second = signal.load(seed=0)[0], signal.load(seed=0)[0]
        assert all(torch.equal(a, b) for a, b in zip(first.first(5), second.first(5), strict=True))
        batch = signal.collate(first.first(5))
        draws = [signal.pairs(batch, 7, torch.Generator().manual_seed(3), True) for _ in range(2)]
        assert torch.equal(draws[0][0], draws[1][0]) and torch.equal(draws[0][1], draws[1][1])

    def test_it_is_shown_with_what_is_unknown_left_out(self, signal):
        training, _ = signal.load(seed=0)
        grid = signal.config_fields(training)["native_grid"]
        values = signal.grid_values(signal.collate(training.first(1)), grid)[0]
        picture = signal.render(values, grid)
        values[: len(values) // 2] = float("nan")
        assert isinstance(picture, Image.Image)
        assert np.any(np.asarray(signal.render(values, grid)) != np.asarray(picture))


def test_unknown_kind_and_unfit_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="--kind: expected one of field, image, polynomial, shape, video"):
        find("audio")
    (tmp_path / "none.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"--kind: expected one subclass of Signal in .*none.py, got none"):
        find(str(tmp_path / "none.py"))


def test_rows_keep_what_fits_and_decode_the_rest_again():
    decoded = []
    rows = Rows(range(3), lambda row: decoded.append(row) or torch.full((4,), row, dtype=torch.uint8), cache_bytes=8)
    for index in (0, 1, 2, 0, 1, 2):
        assert rows[index][0] == index
    assert decoded == [0, 1, 2, 2]


# ------------------------------------------------------------------ polynomials


def test_polynomial_is_the_sum_of_its_powers():
    x = torch.tensor([[[-1.0], [0.0], [0.5]]])
    values = polynomial(torch.tensor([[1.0, 2.0, 4.0]]), x)[0, :, 0]
    assert torch.allclose(values.float(), torch.tensor([3.0, 1.0, 3.0]))


def test_coefficients_are_standard_normal():
    rows = Polynomials(num_polynomials=4000).load(seed=0)[0]
    drawn = torch.stack(rows.first(4000))
    assert drawn.shape == (4000, 7)
    assert drawn.mean(0).abs().max() < 0.08 and (drawn.std(0) - 1).abs().max() < 0.06


# ----------------------------------------------------------------------- shapes


def test_distances_of_a_ball_are_exact():
    sdf = mesh_to_sdf(ball(), [16, 14, 12])
    assert sdf.shape == (12, 14, 16, 1)
    truth = Shapes(dataset_name="none").positions([16, 14, 12]).norm(dim=-1) - 0.6
    assert torch.allclose(sdf.flatten(), truth, atol=0.01)


def test_distances_of_an_occupied_half_space():
    """Between centres of cells, less half a cell: the surface lies on the face between full and empty."""
    grid = np.zeros((8, 8, 8), np.uint8)
    grid[:3] = 1  # x below
    sdf = occupancy_to_sdf(grid)
    assert torch.allclose(sdf[4, 4, :, 0], (torch.arange(8) - 2.5) * 0.25)
    with pytest.raises(ValueError, match="all empty"):
        occupancy_to_sdf(np.zeros((4, 4, 4)))


def test_mesh_survives_the_way_to_distances_and_back():
    mesh = sdf_to_mesh(mesh_to_sdf(ball(), [32, 32, 32]))
    assert mesh.is_watertight
    assert abs(mesh.volume / (4 / 3 * np.pi * 0.6**3) - 1) < 0.03 and mesh.volume > 0
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.6).max() < 0.02
    assert sdf_to_mesh(torch.ones(4, 4, 4, 1)) is None


def test_axes_of_a_mesh_are_those_of_positions():
    long = trimesh.creation.box(extents=(1.6, 0.8, 0.4))
    back = sdf_to_mesh(mesh_to_sdf(long, [32, 32, 32]))
    assert np.allclose(back.extents, (1.6, 0.8, 0.4), atol=0.1)


@pytest.mark.parametrize("ending", [".glb", ".obj", ".ply"])
def test_meshes_are_written_and_read(tmp_path, ending):
    save_mesh(ball(), tmp_path / f"ball{ending}")
    mesh = read_mesh(tmp_path / f"ball{ending}")
    assert mesh.is_watertight and mesh.volume == pytest.approx(ball().volume, rel=1e-3)
    assert np.allclose(np.abs(normalize(mesh).bounds), 0.9, atol=0.01)
    with pytest.raises(ValueError, match=r"path: expected a name ending in .glb, .obj, .ply, got .*\.xyz"):
        save_mesh(ball(), tmp_path / "ball.xyz")


def test_open_and_broken_meshes_are_refused_by_name(tmp_path):
    mesh = ball()
    mesh.update_faces(np.arange(len(mesh.faces)) > 200)
    mesh.export(tmp_path / "open.ply")
    with pytest.raises(ValueError, match=r"open.ply: expected a watertight mesh, got one with \d+ open edges"):
        read_mesh(tmp_path / "open.ply")
    (tmp_path / "broken.ply").write_text("no mesh")
    with pytest.raises(ValueError, match="broken.ply: expected a mesh"):
        read_mesh(tmp_path / "broken.ply")


def test_small_holes_are_closed(tmp_path):
    mesh = ball()
    mesh.update_faces(np.arange(len(mesh.faces)) > 0)
    mesh.export(tmp_path / "hole.ply")
    assert read_mesh(tmp_path / "hole.ply").is_watertight


def test_folder_of_meshes_is_a_dataset(tmp_path):
    for number in range(3):
        ball(0.3 + 0.1 * number).export(tmp_path / f"{number}.obj")
    training, validation = Shapes(dataset_name=str(tmp_path), validation_size=1, shape_size=12).load(seed=0)
    assert len(training) == 2 and training[0].shape == (12, 12, 12, 1) and len(validation) == 1
    assert torch.allclose(training[0], validation[0], atol=0.02)  # all normalised to one size


def test_places_near_the_surface_have_their_share(occupancy_folder):
    signal = Shapes(dataset_name=str(occupancy_folder), validation_size=4, near_surface=0.8)
    batch = signal.collate(signal.load(seed=0)[0].first(8))
    enlarged = torch.nn.functional.interpolate(batch.movedim(-1, 1), scale_factor=3, mode="trilinear")
    batch = enlarged.movedim(1, -1)  # more cells to choose from
    for continuous in (False, True):
        positions, values = signal.pairs(batch, 100, torch.Generator().manual_seed(0), continuous)
        near = (values.abs() < 0.13).float().mean()
        assert 0.7 < near <= 1.0
        assert len({tuple(place) for place in positions[0].tolist()}) == 100
    plain = Shapes(dataset_name=str(occupancy_folder)).pairs(batch, 100, torch.Generator().manual_seed(0))[1]
    assert (plain.abs() < 0.13).float().mean() < near


# ----------------------------------------------------------------------- videos


def test_digits_bounce_and_stay_inside(image_folder):
    from signals.data import load_splits

    clips = MovingDigits(load_splits(str(image_folder))["train"], "image", [20, 16, 16], 8, 2)
    clip = clips[3]
    assert clip.shape == (20, 16, 16, 1) and clip.dtype == np.uint8
    assert np.array_equal(clip, clips[3]) and not np.array_equal(clip, clips[4])
    assert all(frame.max() > 200 for frame in clip)  # no digit leaves
    assert np.any(clip[0] != clip[1])
    path = np.array([bounce(np.array([t * 0.7, t * 0.3]), np.array([2.0, 3.0])) for t in range(40)])
    assert path.min() >= 0 and path[:, 0].max() <= 2 and path[:, 1].max() <= 3
    assert np.abs(np.diff(path, axis=0)).max() <= 0.7 + 1e-9


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_clips_are_written_and_read(tmp_path, ending):
    values = torch.linspace(0, 1, 6).view(6, 1, 1, 1).expand(6, 8, 10, 3)
    save_clip(values, tmp_path / f"clip{ending}", zoom=4)
    clip = read_clip(tmp_path / f"clip{ending}", [3, 10, 8], 1)
    assert clip.shape == (3, 8, 10, 1)
    levels = clip.float().mean((1, 2, 3)) / 255
    assert torch.allclose(levels, torch.tensor([0.2, 0.6, 1.0]), atol=0.25) and (levels.diff() > 0.2).all()
    with pytest.raises(ValueError, match=r"clip.*: expected at least 7 frames \(--frames\), got 6"):
        read_clip(tmp_path / f"clip{ending}", [7, 10, 8], 1)


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    with pytest.raises(ValueError, match="broken.mp4: expected a video file, cannot decode it"):
        read_clip(tmp_path / "broken.mp4", [2, 4, 4], 1)
    with pytest.raises(ValueError, match="path: expected a name ending in .mp4 or .gif"):
        save_clip(torch.zeros(2, 4, 4, 1), tmp_path / "clip.txt")


def test_folder_of_clips_is_a_dataset(tmp_path):
    for number in range(3):
        values = torch.rand(6, 8, 8, 1, generator=torch.Generator().manual_seed(number)).expand(-1, -1, -1, 3)
        save_clip(values, tmp_path / f"{number}.mp4", zoom=2)
    signal = Videos(
        dataset_name=str(tmp_path), validation_size=1, frames=4, frame_size=8, digit_size=4, channels="colour"
    )
    training, validation = signal.load(seed=0)
    assert len(training) == 2 and len(validation) == 1
    assert training[0].shape == (4, 8, 8, 3) and signal.config_fields(training)["native_grid"] == [4, 8, 8]


# ---------------------------------------------------------------------- streams


@pytest.mark.parametrize("kind", ["occupancies", "meshes", "clips"])
def test_shapes_and_clips_stream(kind, occupancy_folder, tmp_path):
    """The same signals as without streaming, in an order of the stream's own, over and over."""
    flags = dict(validation_split="validation", cache_dir=str(tmp_path / "cache"))
    folder = tmp_path / "data"
    if kind == "occupancies":
        folder = occupancy_folder
        source = folder / "train-00000-of-00001.parquet"
        (folder / "validation-00000-of-00001.parquet").write_bytes(source.read_bytes())
    for number in range(4 if kind != "occupancies" else 0):
        place = folder / ("validation" if number == 3 else "train")
        place.mkdir(parents=True, exist_ok=True)
        if kind == "meshes":
            trimesh.creation.box(extents=(1.6, 0.8, 0.2 + 0.4 * number)).export(place / f"{number}.obj")
        else:
            values = torch.full((4, 8, 8, 3), number / 3)
            save_clip(values, place / f"{number}.mp4", zoom=2)

    def load(streaming: bool):
        if kind == "clips":
            clips = dict(frames=4, frame_size=8, digit_size=4, channels="colour")
            return Videos(dataset_name=str(folder), streaming=streaming, **clips, **flags).load(seed=0)
        return Shapes(dataset_name=str(folder), streaming=streaming, shape_size=8, **flags).load(seed=0)

    (stored, _), (streamed, validation) = load(False), load(True)
    expected = sorted(stored[index].double().sum().item() for index in range(len(stored)))
    for epoch in range(2):
        rows = [streamed[index] for index in range(epoch * len(stored), (epoch + 1) * len(stored))]
        assert np.allclose(sorted(row.double().sum().item() for row in rows), expected)
    assert validation[0].shape == stored[0].shape


def test_bouncing_images_do_not_stream(image_folder):
    signal = Videos(dataset_name=str(image_folder), streaming=True, validation_split="train")
    with pytest.raises(ValueError, match="--streaming: expected a dataset of videos"):
        signal.load(seed=0)
