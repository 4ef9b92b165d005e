"""Code images losslessly with the probabilities of a checkpoint.

    python -m applications.codec encode --checkpoint checkpoints/cifar10 a.png b.png folder/ --output out.ptz
    python -m applications.codec decode out.ptz --output folder
    python -m applications.codec info out.ptz

Needs `pip install constriction`. docs/CODEC.md explains the options.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from applications.codec.coding import Decoded, Encoded, Known, Options, decode, encode
from applications.codec.container import CodecError, Header, read
from applications.codec.pictures import Picture, find_files, read_mask, read_picture, target_of, to_image
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel


def load(checkpoint: str) -> PixelTransformerModel:
    try:
        return PixelTransformerModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        raise CodecError(f"--checkpoint: cannot load {checkpoint!r}: {error}") from error


def run_encode(flags: argparse.Namespace) -> None:
    model = load(flags.checkpoint)
    files = find_files(flags.inputs)
    pictures = [read_picture(name, path, model.config.value_dim) for name, path in files]
    masks = None if flags.known is None else [read_mask(flags.known)] * len(pictures)
    first = None if flags.first is None else tuple(flags.first)
    options = Options(flags.num_steps, flags.batch_size, flags.share, flags.threads, first)
    total = sum(picture.levels[..., 0].size for picture in pictures)
    if masks is not None:
        total -= sum(int(mask.sum()) for mask in masks)
    with tqdm(total=total, unit="pixel", desc="encode") as bar:
        made = encode(pictures, model, flags.checkpoint, options, masks, bar.update)
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_bytes(made.data)
    print(report(made, pictures, flags.output))


def report(made: Encoded, pictures: list[Picture], output: Path) -> str:
    """What a file takes, next to what the model says."""
    pixels = sum(picture.levels[..., 0].size for picture in pictures)
    size, payload = len(made.data), made.payload_bits / 8
    return (
        f"{output}: {len(pictures)} images, {pixels:,} pixels, {size:,} bytes ({8 * size / pixels:.3f} bits a pixel), "
        f"of them payload {payload:,.0f}; -log2 p is {made.ideal_bits / 8:,.1f} bytes"
    )


def run_decode(flags: argparse.Namespace) -> None:
    data = flags.file.read_bytes()
    header, _ = read(data)
    model = load(flags.checkpoint or header.checkpoint)
    known = None
    if flags.known is not None or flags.held is not None:
        known = held_pixels(flags, header, model.config.value_dim)
    targets = [(target_of(flags.output, entry.name), target_of(flags.output, entry.name, "-std.png"))
               for entry in header.entries]  # fmt: skip
    total = sum(entry.width * entry.height for entry in header.entries)
    if known is not None:
        total -= sum(int(held.mask.sum()) for held in known)
    with tqdm(total=total, unit="pixel", desc="decode") as bar:
        found = decode(data, model, known, flags.only_first, flags.part, bar.update)
    for one, (target, std) in zip(found, targets, strict=True):
        save(one, target, std)
    whole = not any(one.stds.any() for one in found)
    print(f"{flags.output}: {len(found)} images" + ("" if whole else ", the rest as mean (*.png) and std (*-std.png)"))


def held_pixels(flags: argparse.Namespace, header: Header, channels: int) -> list[Known]:
    """The mask of known pixels, and the images that the receiver holds, in the file's order."""
    if flags.known is None or flags.held is None:
        raise CodecError("--known, --held: expected both, the mask and the images that hold the known pixels")
    mask = read_mask(flags.known)
    pictures = [read_picture(name, path, channels) for name, path in find_files([flags.held])]
    by_name = {picture.name: picture for picture in pictures}
    if len(header.entries) == len(pictures) == 1:
        by_name = {header.entries[0].name: pictures[0]}
    missing = [entry.name for entry in header.entries if entry.name not in by_name]
    if missing:
        raise CodecError(f"--held: expected images named like those of the file, got none for {', '.join(missing[:4])}")
    return [Known(mask, by_name[entry.name].levels) for entry in header.entries]


def save(found: Decoded, target: Path, std: Path) -> None:
    """The image and, where something is missing, the standard deviations of what is: white at 64 levels."""
    target.parent.mkdir(parents=True, exist_ok=True)
    to_image(found.picture).save(target)
    if found.stds.any():
        Image.fromarray((found.stds * 4).clip(0, 255).astype("uint8")).save(std)


def run_info(flags: argparse.Namespace) -> None:
    header, batches = read(flags.file.read_bytes())
    sizes = sorted({(entry.width, entry.height) for entry in header.entries})
    payload, total = sum(len(batch.payload) for batch in batches), flags.file.stat().st_size
    pixels = sum(entry.width * entry.height for entry in header.entries)
    lines = {
        "images": f"{len(header.entries):,}, of " + ", ".join("{}×{}".format(*size) for size in sizes[:8]),
        "size": f"{total:,} bytes, of them payload {payload:,}; {8 * total / max(pixels, 1):.3f} bits a pixel",
        "checkpoint": f"{header.checkpoint} (weights {header.digest.hex()})",
        "chain": f"{header.num_steps} passes, buffer share {header.share:g}, {len(batches)} batches of "
        f"{header.batch_size} tiles",
        "arithmetic": f"{header.arithmetic}, {header.threads} threads",
        "first": "no region" if header.first is None else "region x={} y={} {}×{}".format(*header.first),
        "known": "no pixels" if header.known is None else "some pixels: decoding needs --known and --held",
    }
    print("\n".join(f"{name:10} {line}" for name, line in lines.items()))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("applications.codec", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(required=True)
    own, default = commands.add_parser("encode", help="images to a file"), Options()
    own.add_argument("inputs", nargs="+", type=Path, help="image files and folders of them")
    own.add_argument("--checkpoint", required=True, help="checkpoint folder or Hub id")
    own.add_argument("--output", type=Path, required=True, help="file to write, ending in .ptz")
    own.add_argument("--num_steps", type=int, default=default.num_steps, help="passes of the network a batch")
    own.add_argument("--batch_size", type=int, default=default.batch_size, help="tiles coded at a time")
    own.add_argument("--share", type=float, default=default.share, help="buffer share: smaller costs time, saves bits")
    own.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads, on both sides")
    own.add_argument("--known", type=Path, help="mask image: pixels that are not black need no code")
    own.add_argument("--first", type=int, nargs=4, metavar=("X", "Y", "W", "H"), help="region to code first")
    own.set_defaults(run=run_encode)
    own = commands.add_parser("decode", help="a file to images")
    own.add_argument("file", type=Path)
    own.add_argument("--output", type=Path, required=True, help="folder for PNG files")
    own.add_argument("--checkpoint", help="default: the one that the file names")
    own.add_argument("--known", type=Path, help="the mask that the file was coded with")
    own.add_argument("--held", type=Path, help="image or folder of images that hold the known pixels")
    own.add_argument("--only_first", action="store_true", help="stop after the region that was coded first")
    own.add_argument("--part", type=float, default=1.0, help="stop when this share of the pixels is decoded")
    own.set_defaults(run=run_decode)
    own = commands.add_parser("info", help="what a file holds")
    own.add_argument("file", type=Path)
    own.set_defaults(run=run_info)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    flags = parse(argv)
    try:
        flags.run(flags)
    except (CodecError, OSError) as error:
        sys.exit(f"applications.codec: {error}")


if __name__ == "__main__":
    main()
