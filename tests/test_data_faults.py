"""Data as users have it: odd names, endings, containers and metadata; files that are broken; guesses that mislead."""

import os
import struct
import sys
import zlib
from fractions import Fraction

import av
import datasets
import numpy as np
import pytest
import torch
import trimesh
from datasets import Dataset, Features, Value
from PIL import Image
from small_training import arguments

from processes import python
from signals import find
from signals.base import Rows
from signals.image import Images
from signals.shape import Shapes
from signals.video import Videos, read_clip
from train_accelerate import train


def write_images(folder, names, mode: str = "L", size=(8, 8)) -> None:
    """Small images with a value of their own each."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, 5 + 9 * number % 250).convert(mode).save(path)


def write_clip(path, frames=6, side=(32, 32), times=None, aspect=None, turn=None, draw=None) -> None:
    """A clip whose frame n is grey of level 40 n, or what `draw` gives; `times` in tenths of a second."""
    with av.open(str(path), "w") as container:
        codec = {".mpg": "mpeg1video", ".webm": "libvpx"}.get(path.suffix.lower(), "libx264")
        stream = container.add_stream(codec, rate=25 if codec == "mpeg1video" else 10)
        stream.width, stream.height, stream.pix_fmt = *side, "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "1"}
            stream.time_base = stream.codec_context.time_base = Fraction(1, 10)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn is not None:
            stream.set_display_rotation(*turn)
        for number in range(frames):
            array = np.full((side[1], side[0], 3), 40 * number, np.uint8) if draw is None else draw
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# ------------------------------------------------------- which files are read


def test_file_names_are_no_names_of_splits(tmp_path, capsys):
    write_images(tmp_path, [f"{kind}_{number}.png" for kind in ("cat", "dog", "train", "test") for number in range(6)])
    training, validation = Images(dataset_name=str(tmp_path), validation_size=4).load(0)
    assert len(training) + len(validation) == 24
    assert "24 of 24 files used (train 24)" in capsys.readouterr().err


def test_folders_are_names_of_splits_however_they_are_written(tmp_path):
    write_images(tmp_path, [f"{folder}/{n}.png" for folder in ("Train", "val", "testing") for n in range(3)])
    signal = Images(dataset_name=str(tmp_path), validation_split="validation")
    assert [len(rows) for rows in signal.load(0)] == [3, 3] and set(signal.splits()) == {"train", "validation", "test"}


def test_names_that_are_odd_are_read_and_what_is_left_out_is_told(tmp_path, capsys):
    folder = tmp_path / "my [photos] #1 50%20 *?"
    odd = ["a b.png", "café.PNG", "100%.png", "x#y.png", "q?.png", "a:b.png", "[1].png", "new\nline.png", "test.png"]
    write_images(folder, odd)
    write_images(folder, [".hidden.png", "__MACOSX/._a.png", ".ipynb_checkpoints/a.png"])
    (folder / "notes.txt").write_text("x")
    (tmp_path / "outside.png").write_bytes((folder / "a b.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    left_out = 5
    try:
        (folder / os.fsdecode(b"\xff.png")).write_bytes((folder / "a b.png").read_bytes())
        left_out += 1
    except OSError:  # file systems that allow Unicode alone
        pass
    training, validation = Images(dataset_name=str(folder), validation_size=1).load(0)
    assert len(training.first(99)) + len(validation.first(99)) == len(odd) and not training.bad
    told = capsys.readouterr().err
    assert f"{len(odd)} of {len(odd) + left_out} files used" in told
    assert all(part in told for part in ("3 hidden", "1 .txt", "1 links that lead out of the folder"))


def test_dataset_files_whose_names_are_no_splits_are_told(tmp_path, image_folder, capsys):
    rows = Images(dataset_name=str(image_folder)).splits()["train"]
    for name in ("train-00000-of-00001", "more"):
        rows.to_parquet(tmp_path / "data" / f"{name}.parquet")
    Images(dataset_name=str(tmp_path / "data"), validation_size=8).load(0)
    told = capsys.readouterr().err
    assert "1 of 2 files used (train 1)" in told and "more.parquet" in told


def test_a_saved_dataset_and_one_with_a_picture_beside_it_are_read(tmp_path, image_folder):
    rows = Images(dataset_name=str(image_folder)).splits()["train"]
    rows.save_to_disk(str(tmp_path / "saved"))
    assert len(Images(dataset_name=str(tmp_path / "saved"), validation_size=8).load(0)[0]) == 32
    rows.to_parquet(tmp_path / "hub" / "train-00000-of-00001.parquet")
    write_images(tmp_path / "hub", ["logo.png"])
    assert len(Images(dataset_name=str(tmp_path / "hub"), validation_size=8).load(0)[0]) == 32


def test_every_ending_that_the_decoder_reads_is_a_clip(tmp_path, capsys):
    names = ["a.mp4", "b.MP4", "c.m4v", "d.mpg", "e.mpg", "f.webm", "g.mkv"]
    for name in names:
        write_clip(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    training, validation = Videos(dataset_name=str(tmp_path), validation_size=1, frames=3).load(0)
    assert len(training.first(9)) + len(validation.first(9)) == len(names) and not training.bad
    assert "7 of 8 files used (train 7); left out: 1 .txt" in capsys.readouterr().err


# ------------------------------------------------------ metadata of containers

CORNERS = np.zeros((32, 64, 3), np.uint8)
CORNERS[:16, :32], CORNERS[:16, 32:], CORNERS[16:, :32], CORNERS[16:, 32:] = 0, 80, 160, 240


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_clips_stand_upright_as_their_display_matrix_says(tmp_path, degrees, mirrored):
    write_clip(tmp_path / "clip.mp4", side=(64, 32), turn=(degrees, mirrored), draw=CORNERS)
    seen = np.rot90(CORNERS, degrees // 90)  # anticlockwise
    seen = seen[:, ::-1] if mirrored else seen
    height, width = seen.shape[:2]
    clip = read_clip(tmp_path / "clip.mp4", [2, width, height], 1)
    error = np.abs(clip[0, ..., 0].numpy().astype(int) - seen[..., 0])
    assert np.median(error) < 8 and (error < 30).mean() > 0.85


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    """Twice as wide as high: a picture of 32×32 is shown as 64×32, with its top quarter bright."""
    top = np.zeros((32, 32, 3), np.uint8)
    top[:8] = 250
    write_clip(tmp_path / "clip.mp4", aspect=Fraction(2, 1), draw=top)
    clip = read_clip(tmp_path / "clip.mp4", [2, 64, 32], 1)[0, ..., 0].float().mean(1)
    assert (clip[:6] > 200).all() and (clip[10:] < 50).all()


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_frames_are_chosen_by_the_time_at_which_they_are_shown(tmp_path, ending):
    """The first is shown for 3.5 seconds, the next three for one each, the last for a tenth."""
    write_clip(tmp_path / f"clip{ending}", frames=5, times=[0, 35, 45, 55, 65])
    clip = read_clip(tmp_path / f"clip{ending}", [4, 32, 32], 1).float().mean((1, 2, 3))
    assert torch.allclose(clip, torch.tensor([0.0, 0.0, 40.0, 120.0]), atol=8)


# ------------------------------------------------------ rows that are broken


def spoil(path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_truncated_image_is_named_and_left_out(tmp_path, image_folder, capsys):
    spoil(image_folder / "17.png")
    folder = train(*arguments(image_folder, tmp_path / "run", max_train_steps=12, report_to="none"))
    assert (folder / "model.safetensors").exists()
    assert "left out (1 of at most 20) row 17 of the data" in (told := capsys.readouterr().err) and "17.png" in told
    train(*arguments(image_folder, tmp_path / "run", max_train_steps=14, resume="latest", report_to="none"))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_more_bad_rows_than_allowed_end_a_training_in_one_line(tmp_path, image_folder, workers):
    for name in ("03", "04", "05"):
        spoil(image_folder / f"{name}.png")
    command = ["train_accelerate.py", "--dataset_name", image_folder, "--output_dir", tmp_path / "run"]
    flags = "--max_train_steps 40 --max_bad_rows 1 --validation_size 8 --validation_contexts 0 --max_context 8 "
    flags += "--buffer_size 2 --max_queries 2 --token_budget 64 --report_to none --hidden_size 16 --bins uniform "
    command += [*flags.split(), "--num_encoder_layers", "1", "--num_workers", workers]
    done = python(*command)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("train_accelerate.py: row ") and "of the data" in last and ".png" in last


@pytest.mark.parametrize("kind", [OSError, SyntaxError, struct.error, zlib.error, KeyError, RuntimeError, EOFError])
def test_whatever_reading_raises_names_the_row(kind):
    def decode(row: int) -> torch.Tensor:
        if row == 2:
            raise kind("broken")
        return torch.full((1,), row)

    with pytest.raises(ValueError, match="row 2 of the data: .*broken"):
        Rows(range(4), decode)[2]
    rows = Rows(range(4), decode, skip=1)
    assert rows[2] == 3 and [int(row) for row in rows.first(3)] == [0, 1, 3] and len(rows.bad) == 1


@pytest.mark.parametrize("kind", ["binary", "structure", "undecoded", "with an empty row"])
def test_images_that_are_stored_undecoded_are_read(tmp_path, image_folder, kind):
    files = [path.read_bytes() for path in sorted(image_folder.glob("*.png"))]
    structures = [{"bytes": file, "path": None} for file in files]
    features = {
        "binary": Value("binary"),
        "structure": {"bytes": Value("binary"), "path": Value("string")},
        "undecoded": datasets.Image(decode=False),
        "with an empty row": datasets.Image(),
    }
    column = files if kind == "binary" else structures
    if kind == "with an empty row":
        column = [None, *structures[1:]]
    rows = Dataset.from_dict({"image": column}, features=Features(image=features[kind]))
    rows.to_parquet(tmp_path / "data" / "train.parquet")
    signal = Images(dataset_name=str(tmp_path / "data"), validation_size=8)
    training, validation = signal.load(0)
    assert len(training.first(99)) + len(validation.first(99)) == 40 - (kind == "with an empty row")
    config = type("Config", (), {"native_grid": [8, 8], "value_dim": 1})
    assert signal.load_split("train", config)[5].shape == (8, 8, 1)


def test_clips_that_are_stored_undecoded_are_read(tmp_path):
    write_clip(tmp_path / "clip.mp4")
    file = (tmp_path / "clip.mp4").read_bytes()
    Dataset.from_dict({"clip": [file] * 3}, features=Features(clip=Value("binary"))).to_parquet(
        tmp_path / "data" / "train.parquet"
    )
    training, _ = Videos(dataset_name=str(tmp_path / "data"), validation_size=1, frames=3).load(0)
    assert training[0].shape == (3, 32, 32, 1)


def test_a_video_without_frames_is_told_as_such(tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match="sound.mkv: expected a video file, cannot decode it: it holds no video"):
        read_clip(tmp_path / "sound.mkv", [2, 8, 8], 1)
    write_clip(tmp_path / "whole.mpg")
    (tmp_path / "cut.mpg").write_bytes((tmp_path / "whole.mpg").read_bytes()[:120])
    with pytest.raises(ValueError, match="cut.mpg: expected a video") as told:
        read_clip(tmp_path / "cut.mpg", [2, 8, 8], 1)
    assert "not permitted" not in str(told.value)


# -------------------------------------------------------------------- guesses


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1", "CMYK"])
def test_grey_pictures_are_grey_in_whatever_mode(tmp_path, mode, capsys):
    ending = ".jpg" if mode == "CMYK" else ".png"
    write_images(tmp_path, [f"{number}{ending}" for number in range(9)], mode)
    training, _ = Images(dataset_name=str(tmp_path), validation_size=1).load(0)
    assert training[0].shape == (8, 8, 1)
    assert "--channels auto: grey, as 0 of 8 images looked at have colours" in capsys.readouterr().err


def test_colours_count_wherever_they_stand(tmp_path):
    write_images(tmp_path, [f"{number}.png" for number in range(9)])
    Image.new("P", (8, 8)).convert("RGB").save(tmp_path / "8.png")
    Image.new("RGB", (8, 8), (200, 40, 90)).quantize(4).save(tmp_path / "7.png")
    signal = Images(dataset_name=str(tmp_path), validation_size=1)
    assert signal.load(0)[0][0].shape == (8, 8, 3)


def test_images_with_several_frames_are_clips_for_videos(tmp_path, capsys):
    frames = [Image.new("RGB", (16, 16), (40 * n,) * 3) for n in range(6)]
    for number in range(3):
        options = dict(save_all=True, append_images=frames[1:], duration=[100] * 5 + [500], lossless=True)
        frames[0].save(tmp_path / f"{number}.webp", **options)
    frames[0].save(tmp_path / "still.webp")
    clips = dict(frames=2, frame_size=8)
    training, _ = Videos(dataset_name=str(tmp_path), validation_size=1, **clips).load(0)
    assert len(training) == 2 and "3 of 4 files used (train 3); left out: 1 still .webp" in capsys.readouterr().err
    assert training[0].float().mean((1, 2, 3)).tolist() == pytest.approx([80, 200], abs=3)  # by time, of a second
    Images(dataset_name=str(tmp_path), validation_size=1).load(0)
    assert "3 images looked at are animated: their first frames are used" in capsys.readouterr().err


def test_flags_of_bouncing_images_concern_them_alone(tmp_path, image_folder):
    for number in range(3):
        write_clip(tmp_path / f"{number}.mp4")
    training, _ = Videos(dataset_name=str(tmp_path), validation_size=1, frames=3, frame_size=8).load(0)
    assert training[0].shape == (3, 8, 8, 1)
    with pytest.raises(ValueError, match="--digit_size: expected at most the 8 pixels of a frame, got 16"):
        Videos(dataset_name=str(image_folder), validation_size=1, frames=3, frame_size=8).load(0)


# ---------------------------------------------------------- kinds of signals

KIND = """
from dataclasses import dataclass
from signals.polynomial import Polynomials as Base

@dataclass
class Mine(Base):
    kind = "mine"
"""


def test_a_file_may_be_called_like_any_module(tmp_path):
    import random

    (tmp_path / "random.py").write_text(KIND)
    assert find(str(tmp_path / "random.py")).kind == "mine"
    assert sys.modules["random"] is random


@pytest.mark.parametrize("code", ["class Broken(:", "import no_such_module", "1 / 0"])
def test_a_file_that_cannot_be_imported_is_told(tmp_path, code):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ValueError, match="--kind: cannot import .*mine.py: (Syntax|ModuleNotFound|ZeroDivision)Error"):
        find(str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text("from signals.base import Signal\nclass Half(Signal):\n    kind = 'half'\n")
    with pytest.raises(ValueError, match="--kind: expected Half in .* to define config_fields, .*too"):
        find(str(tmp_path / "mine.py"))


def test_loading_leaves_a_signal_as_it_is(tmp_path, image_folder):
    trimesh.creation.box(extents=(1, 1, 1)).export(tmp_path / "box.obj")
    shapes = Shapes(dataset_name=str(tmp_path), shape_size=8)
    before = dict(vars(shapes))
    config = type("Config", (), {"native_grid": [8, 8, 8], "value_dim": 1, "value_range": [-0.1, 0.1]})
    assert shapes.load_split("train", config)[0].abs().max() == pytest.approx(0.1)
    assert vars(shapes) == before
    images = Images(dataset_name=str(image_folder), streaming=True, validation_split="train", shuffle_rows=8)
    before = dict(vars(images))
    assert images.load(0)[0].stream is not None
    assert vars(images) == before
