"""Bad and odd data: folders and file names, rows that cannot be decoded, and what containers say of their pictures."""

import os
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import datasets
import numpy as np
from datasets import Dataset, Features, Value
from PIL import Image

from benchmarks.reliability.tally import Tally, quiet
from signals.clips import read_clip
from signals.image import Images
from signals.video import Videos

FORMATS = (".png", ".jpg", ".gif", ".bmp", ".webp", ".tiff")
SPLIT_WORDS = ("train", "training", "test", "testing", "validation", "val", "dev", "eval")
ODD_NAMES = (
    "a b",
    "x#y",
    "q?",
    "*",
    "[1]",
    "100%",
    "50%20",
    "new\nline",
    "café",
    "🙂",
    "a:b",
    "-flag",
    "n" * 200,
    "b..c",
)


def damage(data: bytes) -> dict[str, bytes]:
    """A file's bytes, spoilt in ways that happen to files."""
    return {
        "emptied": b"",
        "cut in half": data[: len(data) // 2],
        "cut to 20 bytes": data[:20],
        "a page of HTML": b"<!doctype html><title>404</title>" * 8,
        "zeros": bytes(len(data)),
    }


def noise(side: int = 16, seed: int = 0) -> Image.Image:
    """An image that no format stores in few bytes."""
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(side, side), dtype=np.uint8))


def try_files() -> Tally:
    """All of this module."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        for number, try_some in enumerate((_bad_images, _bad_rows, _names, _modes, _bad_clips, _containers, _datasets)):
            root = Path(folder, str(number))
            root.mkdir()
            with quiet():
                try_some(tally, root)
    return tally


def _left_out(folder: Path, good: int, name: str) -> bool:
    """Whether a training on images leaves out one row, says which file it was, and has all others."""
    parts = Images(dataset_name=str(folder), validation_size=1).load(0)
    read = sum(len(rows.first(99)) for rows in parts)
    messages = [message for rows in parts for message in rows.bad.values()]
    return read == good and len(messages) == 1 and name in messages[0] and "row " in messages[0]


def _bad_images(tally: Tally, root: Path) -> None:
    """A spoilt file between whole ones is named and left out."""
    for ending in FORMATS:
        whole = root / f"whole{ending}"
        noise().save(whole)
        for number, (way, data) in enumerate(damage(whole.read_bytes()).items()):
            folder = root / f"{ending[1:]}-{number}"
            folder.mkdir()
            for index in range(3):
                noise(seed=index).save(folder / f"{index}.png")
            (folder / f"spoilt{ending}").write_bytes(data)
            name = f"spoilt{ending}"
            tally.answer(f"{ending}, {way}", lambda folder=folder, name=name: _left_out(folder, 3, name))


def _bad_rows(tally: Tally, root: Path) -> None:
    """Rows of a table whose images are missing, undecoded or nothing of the kind."""
    good = root / "good.png"
    noise().save(good)
    data = good.read_bytes()
    structure = {"bytes": Value("binary"), "path": Value("string")}
    columns = {
        "bytes": (Value("binary"), lambda file, path: file),
        "structures": (structure, lambda file, path: {"bytes": file, "path": path}),
        "images": (datasets.Image(), lambda file, path: None if file is None else {"bytes": file, "path": path}),
    }
    for name, (feature, make) in columns.items():
        for way, spoilt in {"whole": data, "none": None, "empty": b"", "text": b"no image", "half": data[:150]}.items():
            folder = root / f"{name}-{way}"
            rows = [make(data, "a.png")] * 3 + [make(spoilt, "spoilt.png")]
            Dataset.from_dict({"image": rows}, features=Features(image=feature)).to_parquet(folder / "train.parquet")
            told = "spoilt.png" if spoilt is not None and name != "bytes" else "row "
            if way == "whole":
                tally.answer(f"a column of {name}", lambda folder=folder: _all_read(folder, 4))
            else:
                tally.answer(
                    f"a column of {name}, one {way}", lambda folder=folder, told=told: _left_out(folder, 3, told)
                )


def _all_read(folder: Path, count: int) -> bool:
    """Whether every file of a folder of images is used and read."""
    parts = Images(dataset_name=str(folder), validation_size=1).load(0)
    return sum(len(rows.first(99)) for rows in parts) == count and not any(rows.bad for rows in parts)


def _names(tally: Tally, root: Path) -> None:
    """Names of files decide nothing, names of folders the split."""
    for word in SPLIT_WORDS:
        for pattern in ("{}_1", "{}", "{}-00000-of-00001", "my_{}_picture"):
            folder = root / f"named {word} {pattern}".replace("{}", "x")
            folder.mkdir()
            for name in ("a", "b", "c", pattern.format(word)):
                noise().save(folder / f"{name}.png")
            case = f"a file called {pattern.format(word)}.png"
            tally.answer(case, lambda folder=folder: _all_read(folder, 4))
        for written in (word, word.upper()):
            folder = root / f"split {written}"
            for name in ("train", written):
                (folder / name).mkdir(parents=True, exist_ok=True)
                noise().save(folder / name / f"{written}.png")
            expected = {"train": {"train"}, "test": {"train", "test"}, "eval": {"train", "test"}}
            wanted = expected.get(word.removesuffix("ing"), {"train", "validation"})
            tally.answer(
                f"a folder called {written}",
                lambda folder=folder, wanted=wanted: set(Images(dataset_name=str(folder)).splits()) == wanted,
            )
    for number, name in enumerate(ODD_NAMES):
        folder = root / f"odd {number} {name[:20]}"
        folder.mkdir()
        for other in ("a", "b", name):
            noise().save(folder / f"{other}.png")
        tally.answer(f"a file called {name[:20]!r}", lambda folder=folder: _all_read(folder, 3))


def _modes(tally: Tally, root: Path) -> None:
    """Grey pictures are grey and coloured ones coloured, in whatever mode; a mode of unknown range is refused."""
    tints = {"grey": (90, 90, 90), "colour": (200, 40, 90)}
    for name, tint in tints.items():
        for mode in ("RGB", "RGBA", "P", *(("L", "LA", "1") if name == "grey" else ("CMYK",))):
            folder = root / f"{name}-{mode}"
            folder.mkdir()
            for index in range(3):
                ending = ".tiff" if mode == "CMYK" else ".png"
                picture = Image.new("RGB", (8, 8), tint)  # whose colours `convert` would mix from a palette of its own
                picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
                picture.save(folder / f"{index}{ending}")
            wanted = 1 if name == "grey" else 3
            tally.answer(
                f"{name} pictures of mode {mode}", lambda folder=folder, wanted=wanted: _channels(folder) == wanted
            )
    for mode in ("I", "F"):
        folder = root / mode
        folder.mkdir()
        for index in range(3):
            noise(seed=index).save(folder / f"{index}.png")
        Image.new(mode, (16, 16), 1000).save(folder / "unknown.tiff")
        tally.answer(f"an image of mode {mode}", lambda folder=folder: _left_out(folder, 3, "unknown.tiff"))


def _channels(folder: Path) -> int:
    return Images(dataset_name=str(folder), validation_size=1).load(0)[0][0].shape[-1]


CORNERS = np.zeros((32, 64, 3), np.uint8)
CORNERS[:16, :32], CORNERS[:16, 32:], CORNERS[16:, :32], CORNERS[16:, 32:] = 0, 80, 160, 240


def write_clip(
    path: Path, pictures: list, times: list | None = None, aspect: Fraction | None = None, turn=None
) -> None:
    """A clip of pictures (y, x, 3); `times` in tenths of a second, `turn` of the display in degrees and mirrored."""
    with av.open(str(path), "w") as container:
        codec = {".mpg": "mpeg1video", ".mpeg": "mpeg1video", ".webm": "libvpx"}.get(path.suffix.lower(), "libx264")
        stream = container.add_stream(codec, rate=25 if codec == "mpeg1video" else 10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "1"}
            stream.time_base = stream.codec_context.time_base = Fraction(1, 10)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn is not None:
            stream.set_display_rotation(*turn)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def greys(*levels: int) -> list[np.ndarray]:
    """Frames of one level each."""
    return [np.full((32, 32, 3), level, np.uint8) for level in levels]


def _bad_clips(tally: Tally, root: Path) -> None:
    """A file that is no clip, or holds too few frames, is named."""
    for ending in (".mp4", ".mkv", ".mpg", ".webm", ".avi", ".mov"):
        whole = root / f"whole{ending}"
        write_clip(whole, [np.asarray(noise(32, seed).convert("RGB")) for seed in range(6)])
        ways = damage(whole.read_bytes())
        ways.pop("cut in half")  # players show what is left of some
        for number, (way, data) in enumerate(ways.items()):
            path = root / f"spoilt-{number}{ending}"
            path.write_bytes(data)
            word = rf"spoilt-{number}\{ending}: expected a video(?!.*not permitted)"
            tally.refuse(f"{ending}, {way}", lambda path=path: read_clip(path, [2, 8, 8], 1), word)
        word = rf"whole\{ending}: expected at least 99 frames \(--frames\), got 6"
        tally.refuse(f"{ending}, too short", lambda path=whole: read_clip(path, [99, 8, 8], 1), word)


def _upright(path: Path, turn: tuple[int, bool]) -> bool:
    """Whether a clip of `CORNERS` is read as it would be shown."""
    seen = np.rot90(CORNERS, turn[0] // 90)[:, :: -1 if turn[1] else 1]
    error = np.abs(read_clip(path, [2, seen.shape[1], seen.shape[0]], 1)[0, ..., 0].numpy().astype(int) - seen[..., 0])
    return bool(np.median(error) < 8 and (error < 30).mean() > 0.85)


def _levels(path: Path, expected: list[int]) -> bool:
    """Whether the frames that are read have these mean levels."""
    found = read_clip(path, [len(expected), 32, 32], 1).float().mean((1, 2, 3))
    return bool(np.abs(found.numpy() - expected).max() < 8)


def _containers(tally: Tally, root: Path) -> None:
    """Rotation, the shape of pixels and the times of frames are followed; every ending that is read is found."""
    for turn in ((degrees, mirrored) for degrees in (0, 90, 180, -90) for mirrored in (False, True)):
        path = root / f"turned {turn}.mp4"
        write_clip(path, [CORNERS] * 4, turn=turn)
        tally.answer(f"a display matrix of {turn[0]}°, mirrored {turn[1]}", lambda p=path, t=turn: _upright(p, t))
    for ending in (".mp4", ".mkv"):
        for number, (times, expected) in enumerate((
            ([0, 1, 2, 3, 4], [40, 80, 120]),
            ([0, 35, 45, 55, 65], [0, 0, 40, 120]),
            ([0, 1, 2, 3, 50], [120, 120, 120]),
            ([7, 42, 52, 62, 72], [0, 0, 40, 120]),
        )):  # fmt: skip
            path = root / f"times-{number}{ending}"
            write_clip(path, greys(0, 40, 80, 120, 160), times)
            if number == 0:
                expected = [0, 80, 160]
            tally.answer(f"{ending} with frames at {times}", lambda p=path, e=expected: _levels(p, e))
    for aspect in (Fraction(2, 1), Fraction(1, 2)):
        path, top = root / f"aspect {aspect.numerator}.mp4", greys(0)[0]
        top[:8] = 250
        write_clip(path, [top] * 4, aspect=aspect)
        grid = [2, 64, 32] if aspect > 1 else [2, 16, 32]
        tally.answer(
            f"pixels of {aspect}",
            lambda p=path, g=grid: bool((read_clip(p, g, 1)[0, :6].float() > 150).float().mean() > 0.95),
        )
    for ending in (".mp4", ".MP4", ".m4v", ".mpg", ".mpeg", ".webm", ".mkv", ".mov", ".avi"):
        folder = root / f"ending {ending}"
        folder.mkdir()
        for name in "ab":
            write_clip(folder / f"{name}{ending}", greys(0, 40, 80, 120))
        tally.answer(f"a folder of {ending}", lambda folder=folder: len(
            Videos(dataset_name=str(folder), validation_size=1, frames=2).load(0)[0].first(9)
        ) == 1)  # fmt: skip


def _datasets(tally: Tally, root: Path) -> None:
    """What is no dataset of images, clips or shapes is refused by the flag's name."""
    contents: dict[str, Callable[[Path], object]] = {
        "an empty folder": lambda folder: None,
        "notes only": lambda folder: (folder / "notes.txt").write_text("x"),
        "a table without images": lambda folder: (folder / "train.csv").write_text("a,b\n1,2\n3,4\n"),
        "an empty table": lambda folder: (folder / "train.csv").write_text(""),
        "broken JSON": lambda folder: (folder / "train.json").write_text('{"a": ['),
        "a broken table": lambda folder: (folder / "train.parquet").write_bytes(b"PAR1 broken"),
        "a broken archive": lambda folder: (folder / "train.zip").write_bytes(b"PK\3\4 broken"),
        "a link to nowhere": lambda folder: (folder / "a.png").symlink_to("/nowhere.png"),
        "one image": lambda folder: noise().save(folder / "a.png"),
        "hidden files": lambda folder: noise().save(folder / ".a.png"),
    }
    word = r"^--(dataset_name|validation_size): "
    for number, (case, fill) in enumerate(contents.items()):
        folder = root / str(number)
        folder.mkdir()
        fill(folder)
        for kind in (Images, Videos):
            tally.refuse(
                f"{kind.kind}: {case}",
                lambda f=folder, kind=kind: kind(dataset_name=str(f), validation_size=1).load(0),
                word,
            )
    file = root / "file.txt"
    file.write_text("x")
    for name in (str(file), "no/such dataset", "", os.devnull):
        tally.refuse(f"image: {name[-20:]}", lambda name=name: Images(dataset_name=name).load(0), word)
