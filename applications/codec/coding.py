"""Images to bytes and back: `encode` and `decode`, with all checks that keep a wrong image from appearing silently."""

import hashlib
import json
import math
import platform
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from applications.codec.chains import BatchCoder, Coded
from applications.codec.container import (
    MAX_BATCH,
    MAX_THREADS,
    Batch,
    CodecError,
    Entry,
    Header,
    check_size,
    read,
    write,
)
from applications.codec.frequencies import Reader, Writer
from applications.codec.pictures import Picture, leads_below
from applications.codec.tiles import Tile, cut
from pixeltransformer.levels import Levels

# Of the config, what the probabilities depend on, besides what shows in the shapes of the weights.
FIELDS = (
    *("native_grid", "value_range", "quantization_step", "num_attention_heads", "norm", "norm_position", "qk_norm"),
    *("rotary", "rotary_max_frequency", "position_bandwidth", "value_bandwidth", "offset_radius", "min_std"),
    *("max_std", "activation", "step_losses"),
)

Box = tuple[int, int, int, int]  # x, y, width, height


@dataclass(frozen=True)
class Options:
    """How images are coded.

    Args:
        num_steps (`int`): Passes of the network for each batch: more cost time and save bits.
        batch_size (`int`): Most tiles coded at a time; fewer where there are fewer tiles.
        share (`float`): `config.max_buffer_share` while coding, in whole hundredths, as the file stores it: a smaller
            one costs time and saves bits.
        threads (`int`): Threads of the network, on both sides.
        first (`Box` or `None`): Region of each image that is coded first.
    """

    num_steps: int = 32
    batch_size: int = 32
    share: float = 0.5
    threads: int = 1
    first: Box | None = None

    def __post_init__(self):
        for name, most in (("num_steps", math.inf), ("batch_size", MAX_BATCH), ("threads", MAX_THREADS)):
            if not 1 <= (given := getattr(self, name)) <= most:
                limit = "" if most == math.inf else f" and at most {most:,}"
                raise CodecError(f"--{name}: expected a number above 0{limit}, got {given}")
        if not 0 <= self.share <= 1 or round(self.share, 2) != self.share:
            raise CodecError(f"--share: expected a number from 0 to 1 with at most two decimals, got {self.share}")
        if self.first is not None and (min(self.first) < 0 or min(self.first[2:]) < 1):
            raise CodecError(f"--first: expected x, y of at least 0 and width, height above 0, got {self.first}")


@dataclass(frozen=True)
class Known:
    """What a receiver holds of an image already: where `mask` (height, width) is true, the levels of a picture."""

    mask: np.ndarray
    levels: np.ndarray


@dataclass(frozen=True)
class Encoded:
    """A file and what it cost: -log2 p of all pixels under the model's chain, and bits of the payloads alone."""

    data: bytes
    ideal_bits: float
    payload_bits: int


@dataclass(frozen=True)
class Decoded:
    """An image of a file: `stds` (height, width) in levels, 0 where a pixel is decoded and not merely expected."""

    picture: Picture
    stds: np.ndarray


def encode(
    pictures: Sequence[Picture],
    model: torch.nn.Module,
    checkpoint: str,
    options: Options | None = None,
    known: Sequence[np.ndarray | None] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Encoded:
    """Code images losslessly.

    Args:
        checkpoint (`str`): Where the decoder finds the model; a hint that is stored.
        known (list of `np.ndarray` (height, width), bool, or `None`): Pixels that the receiver holds, for each image.

    Raises:
        CodecError: for a model of other signals, arguments that do not fit each other, and what `decode` would refuse.
    """
    options, known = options or Options(), list(known or [None] * len(pictures))
    check_model(model)
    entries = [Entry(one.name, one.levels.shape[1], one.levels.shape[0], one.mode) for one in pictures]
    _check_inputs(entries, known)
    held = [
        None if mask is None else Known(mask, picture.levels) for picture, mask in zip(pictures, known, strict=True)
    ]
    tiles = cut([picture.levels.shape[:2] for picture in pictures], model.config.native_grid, known, options.first)
    options = replace(options, batch_size=max(1, min(options.batch_size, len(tiles))))
    header = Header(
        model_digest(model), checkpoint, arithmetic(), options.num_steps, options.batch_size, options.threads,
        options.share, options.first, None if all(mask is None for mask in known) else checksum_of_known(held), entries
    )  # fmt: skip
    arrays = [picture.levels for picture in pictures]
    batches, ideal, bits = [], 0.0, 0
    with arithmetic_of(model, options.threads, options.share):
        coder = BatchCoder(model, options.num_steps, options.batch_size, progress)
        for part in batches_of(tiles, options.batch_size):
            writer, wanted = Writer(), [levels_at(arrays[tile.image], tile, tile.coded, model) for tile in part]
            context = [levels_at(arrays[tile.image], tile, tile.known, model) for tile in part]
            coded = coder.run(part, context, writer, wanted)
            batches.append(Batch(writer.payload(), checksum(wanted), checksum_of_first(part, wanted)))
            ideal += sum(coded.bits)
            bits += 8 * len(batches[-1].payload)
    return Encoded(write(header, batches), ideal, bits)


def _check_inputs(entries: list[Entry], known: Sequence[np.ndarray | None]) -> None:
    if not entries:
        raise CodecError("inputs: expected at least one image, got none")
    for entry, mask in zip(entries, known, strict=True):
        if not leads_below(entry.name):
            raise CodecError(
                f"inputs: expected names in UTF-8 without colons and backslashes, got {entry.name!r}; rename the file"
            )
        if mask is not None and mask.shape != (entry.height, entry.width):
            raise CodecError(
                f"--known: expected a mask of {entry.name}'s size {entry.width, entry.height}, got {mask.shape[::-1]}"
            )
    check_size(entries)


def decode(
    data: bytes,
    model: torch.nn.Module,
    known: Sequence[Known | None] | None = None,
    only_first: bool = False,
    part: float = 1.0,
    progress: Callable[[int], None] = lambda count: None,
) -> list[Decoded]:
    """Decode a file.

    Args:
        known (list of `Known`): What the receiver holds of each image, if the file was written for one.
        only_first (`bool`): Stop after the region that was coded first; what is missing is the mean.
        part (`float`): Stop when this share of the pixels is decoded. Batches and first regions that are not complete
            by then cannot be compared with a checksum.

    Raises:
        CodecError: for damaged files, other checkpoints, other known pixels, and numbers that disagree.
    """
    header, batches = read(data)
    known = list(known or [None] * len(header.entries))
    _check_decoder(header, model, known, only_first, part)
    shapes = [(entry.height, entry.width) for entry in header.entries]
    channels = model.config.value_dim
    arrays = [np.zeros((*shape, channels), np.uint8) for shape in shapes]
    stds = [np.zeros(shape, np.float32) for shape in shapes]
    for array, held in zip(arrays, known, strict=True):
        if held is not None:
            array[held.mask] = held.levels[held.mask]
    masks = [None if held is None else held.mask for held in known]
    tiles = cut(shapes, model.config.native_grid, masks, header.first)
    parts = list(batches_of(tiles, header.batch_size))
    if len(parts) != len(batches):
        raise CodecError(f"file: expected {len(parts)} batches for its images, got {len(batches)}: it is damaged")
    with arithmetic_of(model, header.threads, header.share):
        coder = BatchCoder(model, header.num_steps, header.batch_size, progress)
        for number, (batch, of_batch) in enumerate(zip(batches, parts, strict=True), 1):
            context = [levels_at(arrays[tile.image], tile, tile.known, model) for tile in of_batch]
            coded = _read_batch(coder, of_batch, context, batch, only_first, part)
            _check_pixels(header, batch, of_batch, coded, f"batch {number} of {len(parts)}")
            for tile, levels, std in zip(of_batch, coded.levels, coded.stds, strict=True):
                cells = tile.rows_columns(tile.coded, model.config.native_grid[0])
                arrays[tile.image][cells] = levels.numpy()
                stds[tile.image][cells] = std.numpy()
    return [
        Decoded(Picture(entry.name, array, entry.mode), std)
        for entry, array, std in zip(header.entries, arrays, stds, strict=True)
    ]


def _read_batch(
    coder: BatchCoder, tiles: list[Tile], context: list[Tensor], batch: Batch, only_first: bool, part: float
) -> Coded:
    total, drawn = sum(len(tile.coded) for tile in tiles), 0

    def count(pixels: int) -> None:
        nonlocal drawn
        drawn += pixels
        coder.progress(pixels)

    def stop(blocks: int, first: int) -> bool:
        return (only_first and blocks >= first) or drawn >= part * total

    try:
        return replace(coder, progress=count).run(tiles, context, Reader(batch.payload), stop=stop)
    except (AssertionError, ValueError) as error:  # of the range decoder, on numbers that no encoder writes
        raise CodecError(f"file: its payload cannot be decoded ({error}): {DISAGREE}") from error


DISAGREE = (
    "the probabilities of this machine are not those of the encoder. Decode with the same version of torch and of this "
    "project, on the same kind of processor"
)


def _check_decoder(header: Header, model, known: list[Known | None], only_first: bool, part: float) -> None:
    check_model(model)
    if model_digest(model) != header.digest:
        raise CodecError(
            f"--checkpoint: expected the weights that the file was coded with ({header.checkpoint}, digest "
            f"{header.digest.hex()}), got others ({model_digest(model).hex()})"
        )
    if only_first and header.first is None:
        raise CodecError("--only_first: expected a file that was coded with --first, got one without")
    if not 0 < part <= 1:
        raise CodecError(f"--part: expected a number above 0 and at most 1, got {part}")
    if len(known) != len(header.entries):
        raise CodecError(f"--held: expected {len(header.entries)} images, got {len(known)}")
    for entry, held in zip(header.entries, known, strict=True):
        shape = (entry.height, entry.width)
        if held is not None and (held.mask.shape != shape or held.levels.shape != (*shape, model.config.value_dim)):
            raise CodecError(f"--known: expected mask and image of {entry.width}×{entry.height} for {entry.name}")
    given = None if all(held is None for held in known) else checksum_of_known(known)
    if given != header.known:
        what = "no known pixels" if header.known is None else "the mask and the known pixels that it was coded with"
        raise CodecError(f"--known, --held: expected {what}, got {'none' if given is None else 'others'}")


def _check_pixels(header: Header, batch: Batch, tiles: list[Tile], coded: Coded, where: str) -> None:
    """Compare what is complete with its checksum: the whole batch, and the region that is coded first."""
    whole = all(drawn == len(tile.coded) for drawn, tile in zip(coded.drawn, tiles, strict=True))
    wrong = whole and checksum(coded.levels) != batch.pixels
    if header.first is not None and all(drawn >= tile.first for drawn, tile in zip(coded.drawn, tiles, strict=True)):
        wrong |= checksum_of_first(tiles, coded.levels) != batch.first
    if wrong:
        raise CodecError(
            f"file: the pixels of {where} do not agree with their checksum: {DISAGREE} (the file: "
            f"{header.arithmetic}; here: {arithmetic()}). Nothing was written"
        )


def check_model(model: torch.nn.Module) -> None:
    """Raise `CodecError` unless a model is one of images with 256 levels, in float32 on the CPU."""
    config = model.config
    if config.signal != "image":
        raise CodecError(f"--checkpoint: expected one of images, got one of signal {config.signal!r}")
    levels = Levels.of(config.value_range, config.quantization_step)
    if levels is None or levels.last != 255:
        got = "continuous values" if levels is None else f"{levels.last + 1} levels"
        raise CodecError(f"--checkpoint: expected one of images with 256 levels, got one with {got}")
    weight = model.nothing_observed.token
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        raise CodecError(f"--checkpoint: expected float32 on the CPU, got {weight.dtype} on {weight.device}")


def model_digest(model: torch.nn.Module) -> bytes:
    """First 8 bytes of the SHA-256 of weights and of the config's fields that change probabilities."""
    fields = {name: getattr(model.config, name) for name in FIELDS}
    found = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode())
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name}{tuple(weight.shape)}".encode() + weight.cpu().float().numpy().tobytes())
    return found.digest()[:8]


def arithmetic() -> str:
    """What decides how float32 numbers are rounded: version of torch, architecture, instructions."""
    return f"{torch.__version__} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@contextmanager
def arithmetic_of(model: torch.nn.Module, threads: int, share: float) -> Iterator[None]:
    """Compute with this many threads and this buffer share; both are set back at the end."""
    before = torch.get_num_threads(), model.config.max_buffer_share
    torch.set_num_threads(threads)
    model.config.max_buffer_share = share
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_num_threads(before[0])
        model.config.max_buffer_share = before[1]


def batches_of(tiles: list[Tile], size: int) -> Iterator[list[Tile]]:
    for start in range(0, len(tiles), size):
        yield tiles[start : start + size]


def levels_at(array: np.ndarray, tile: Tile, cells: Tensor, model) -> Tensor:
    """Levels (N, V), int64, of an image (height, width, V) at cells of a tile."""
    return torch.from_numpy(array[tile.rows_columns(cells, model.config.native_grid[0])].astype(np.int64))


def checksum(levels: Sequence[Tensor]) -> int:
    """CRC-32 of the levels of a batch's tiles, in the order of coding."""
    return zlib.crc32(b"".join(part.numpy().astype(np.uint8).tobytes() for part in levels))


def checksum_of_first(tiles: Sequence[Tile], levels: Sequence[Tensor]) -> int:
    """The same of the pixels that are coded first."""
    return checksum([part[: tile.first] for tile, part in zip(tiles, levels, strict=True)])


def checksum_of_known(known: Sequence[Known | None]) -> int:
    """CRC-32 of masks and of the levels where they are true."""
    found = 0
    for held in known:
        if held is not None:
            found = zlib.crc32(np.packbits(held.mask).tobytes() + held.levels[held.mask].tobytes(), found)
    return found
