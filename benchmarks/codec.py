"""Measure the codec against PNG, WebP and JPEG XL: `python -m benchmarks.codec --checkpoint … --dataset_name …`.

Codes held-out images in files of `--images_a_file` images, decodes them and compares every pixel. Results go to
docs/performance/`--output`.json after each file, and a second call goes on where the first one stopped. `--photographs`
takes five photographs of scikit-image, reduced by `--reduce`, instead of a dataset. `--report` writes the table of
docs/CODEC.md from all results but those named codec-speed-…, which are for docs/PERFORMANCE.md: measure them on an idle
machine, with `--threads` as many as it has cores. Needs `pip install pillow-jxl-plugin`.
"""

import argparse
import io
import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pillow_jxl  # noqa: F401  (Pillow's plugin for JPEG XL)
import torch
from PIL import Image

from applications.codec.coding import Options, decode, encode
from applications.codec.pictures import Picture, to_image, to_picture
from benchmarks.timing import FOLDER, machine, write
from evaluation.tables import make_table, markdown
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals import find

PAGE, START, END = Path("docs/CODEC.md"), "<!-- measured -->", "<!-- end -->"
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "camera")
METHODS = {
    "png": ("PNG", dict(optimize=True)),
    "webp": ("WEBP", dict(lossless=True, quality=100, method=6)),
    "jxl": ("JXL", dict(lossless=True, effort=9)),
}


def stored(image: Image.Image, method: str) -> tuple[int, int]:
    """Bytes of an image as a file, and without what surrounds the compressed pixels."""
    name, options = METHODS[method]
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    data = buffer.getvalue()
    with Image.open(io.BytesIO(data)) as back:
        if not np.array_equal(np.array(back.convert(image.mode)), np.array(image)):
            raise RuntimeError(f"{method}: expected a lossless file, got other pixels")
    return len(data), sum(PAYLOADS[method](data))


def png_payload(data: bytes) -> Iterator[int]:
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield length if data[at + 4 : at + 8] == b"IDAT" else 0
        at += 12 + length


def webp_payload(data: bytes) -> Iterator[int]:
    at = 12
    while at < len(data):
        (length,) = struct.unpack("<I", data[at + 4 : at + 8])
        yield length if data[at : at + 4] == b"VP8L" else 0
        at += 8 + length + length % 2


def jxl_payload(data: bytes) -> Iterator[int]:
    if data[:2] == b"\xff\x0a":  # a bare codestream: no container
        yield len(data)
        return
    at = 0
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield length - 8 if data[at + 4 : at + 8] in (b"jxlc", b"jxlp") else 0
        at += length or len(data)


PAYLOADS: dict[str, Callable[[bytes], Iterator[int]]] = {"png": png_payload, "webp": webp_payload, "jxl": jxl_payload}


def pictures_of(flags: argparse.Namespace, config) -> list[Picture]:
    """The images to code, as the checkpoint sees them."""
    if flags.photographs:
        from skimage import data

        images = [Image.fromarray(getattr(data, name)()).reduce(flags.reduce) for name in PHOTOGRAPHS]
        return [to_picture(name, image, config.value_dim) for name, image in zip(PHOTOGRAPHS, images, strict=True)]
    images = find("image")(dataset_name=flags.dataset_name, image_size=flags.image_size)
    rows = images.load_split(flags.split, config, flags.limit)
    mode = "L" if config.value_dim == 1 else "RGB"
    return [Picture(f"{index:05d}", row.numpy(), mode) for index, row in enumerate(rows)]


def measure_file(pictures: list[Picture], model, flags: argparse.Namespace) -> dict:
    """Code some images as one file, decode it and compare; sizes of all methods in bytes, seconds of both ways."""
    options = Options(flags.num_steps, flags.batch_size, flags.share, torch.get_num_threads())
    clocks = [(time.perf_counter(), time.process_time())]
    made = encode(pictures, model, flags.checkpoint, options)
    clocks.append((time.perf_counter(), time.process_time()))
    found = decode(made.data, model)
    clocks.append((time.perf_counter(), time.process_time()))
    same = [np.array_equal(one.picture.levels, of.levels) for one, of in zip(found, pictures, strict=True)]
    images = [to_image(picture) for picture in pictures]
    result = {
        "images": len(pictures),
        "identical": sum(same),
        "pixels": sum(picture.levels[..., 0].size for picture in pictures),
        "file": len(made.data),
        "payload": made.payload_bits / 8,
        "ideal": made.ideal_bits / 8,
    }
    for number, name in enumerate(("encode", "decode")):
        for clock, kind in enumerate(("seconds", "cpu_seconds")):
            result[f"{name}_{kind}"] = clocks[number + 1][clock] - clocks[number][clock]
    for method in METHODS:
        sizes = [stored(image, method) for image in images]
        result[method], result[f"{method}_payload"] = (sum(size) for size in zip(*sizes, strict=True))
    return result


def measure(flags: argparse.Namespace, command: str) -> None:
    torch.set_num_threads(flags.threads)
    model = PixelTransformerModel.from_pretrained(flags.checkpoint).eval()
    pictures = pictures_of(flags, model.config)
    path = FOLDER / f"{flags.output}.json"
    files = []
    if path.exists() and not flags.redo:
        before = json.loads(path.read_text())
        files = before["files"] if before["command"] == command else []
    for start in range(len(files) * flags.images_a_file, len(pictures), flags.images_a_file):
        files.append(measure_file(pictures[start : start + flags.images_a_file], model, flags))
        what = {"checkpoint": Path(flags.checkpoint).name, "num_steps": flags.num_steps, "share": flags.share}
        what |= {"photographs": flags.photographs, "reduce": flags.reduce, "total": total(files), "files": files}
        write(flags.output, what, command)
        print(json.dumps(total(files)), flush=True)


def total(files: list[dict]) -> dict:
    """Sums over files."""
    return {name: round(sum(file[name] for file in files), 3) for name in files[0]}


def report() -> None:
    """Write the table of docs/CODEC.md between its marks."""
    paths = [path for path in sorted(FOLDER.glob("codec-*.json")) if not path.stem.startswith("codec-speed-")]
    sizes, commands = [], []
    for one in (json.loads(path.read_text()) for path in paths):
        sums = one["total"]
        name = f"`{one['checkpoint']}`" + (", photographs" if one["photographs"] else "")
        images = sums["images"]
        row = [name, f"{sums['identical']:,} of {images:,}"]
        for payload in ("", "_payload"):
            ours = sums["payload" if payload else "file"]
            each = [sums[f"{method}{payload}"] for method in METHODS]
            sizes.append([*row, "without container" if payload else "files"])
            sizes[-1] += [f"{size / images:,.0f}" for size in (*each, ours)]
            sizes[-1] += [f"{ours / each[-1]:.1%}", f"{ours / sums['ideal'] - 1:+.2%}"]
        commands.append(f"`{one['command']}`, on {one['machine']}.")
    columns = ["checkpoint", "identical", "bytes an image", "PNG", "WebP", "JPEG XL", "this codec"]
    columns += ["of JPEG XL", "above -log2 p"]
    table = markdown(make_table([(title, 0) for title in columns], sizes))
    page = PAGE.read_text()
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n{table}\n\n" + "\n\n".join(commands) + f"\n\n{END}{after}")
    print(f"wrote {PAGE}, measured on {machine()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Options()
    parser.add_argument("--checkpoint", help="checkpoint folder or Hub id")
    parser.add_argument("--dataset_name", help="Hub dataset or folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--image_size", type=int, nargs="*", default=[], help="side that images are reduced to")
    parser.add_argument("--limit", type=int, default=1000, help="images to code")
    parser.add_argument("--photographs", action="store_true", help="photographs of scikit-image instead of a dataset")
    parser.add_argument("--reduce", type=int, default=1, help="divide the photographs' sides by this")
    parser.add_argument("--images_a_file", type=int, default=250)
    parser.add_argument("--num_steps", type=int, default=default.num_steps)
    parser.add_argument("--batch_size", type=int, default=default.batch_size)
    parser.add_argument("--share", type=float, default=default.share)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", help="name of the result, beginning with codec-")
    parser.add_argument("--redo", action="store_true", help="forget what was measured before")
    parser.add_argument("--report", action="store_true", help="write docs/CODEC.md")
    flags = parser.parse_args()
    if flags.report:
        report()
        return
    given = {name: value for name, value in vars(flags).items() if value != parser.get_default(name) and name != "redo"}
    shown = {**given, "dataset_name": f"data/{Path(flags.dataset_name).name}"} if flags.dataset_name else given
    words = [f"--{name}" + ("" if value is True else f" {str(value).strip('[]')}") for name, value in shown.items()]
    measure(flags, "python -m benchmarks.codec " + " ".join(words))


if __name__ == "__main__":
    main()
