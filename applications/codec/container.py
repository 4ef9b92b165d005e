"""The file of the codec: a header with checksums, then one payload of the range coder for each batch of tiles.

Numbers are unsigned and little-endian, "varint" is 7 bits a byte, low ones first; a text is a varint length and UTF-8.

    "PTZ" version(1)  length of the body (varint)  body  CRC-32 of the body (4)  payloads

The body holds what `Header` lists, and for each batch the length of its payload, the payload's CRC-32 and that of the
pixels that it decodes to.
"""

import struct
import zlib
from dataclasses import dataclass, field

from applications.codec import names

MAGIC, VERSION = b"PTZ", 2
MODES = ("L", "RGB", "1")
# A file with consistent checksums may still be made to harm: limits on what its header asks for.
MAX_IMAGES, MAX_PIXELS, MAX_NAMES, MAX_BATCH, MAX_THREADS = 2**20, 2**28, 2**24, 4096, 1024


class CodecError(ValueError):
    """A file that cannot be decoded, or images that cannot be coded. The message says why, and what to do."""


@dataclass(frozen=True)
class Entry:
    """An image of the file: its name, width, height and Pillow mode, one of `MODES`."""

    name: str
    width: int
    height: int
    mode: str


@dataclass(frozen=True)
class Batch:
    """A batch of tiles: its payload, and checksums (CRC-32) of all its pixels and of those that are coded first."""

    payload: bytes
    pixels: int
    first: int = 0


@dataclass(frozen=True)
class Header:
    """What a decoder must know.

    Attributes:
        digest (`bytes`): First 8 bytes of the SHA-256 of weights and config.
        checkpoint (`str`): Where the encoder found them; a hint.
        arithmetic (`str`): Version of torch and kind of processor that computed the probabilities.
        num_steps, batch_size, threads (`int`): Passes for each batch, rows of a batch, threads of the encoder.
        share (`float`): The model's `max_buffer_share`, in hundredths.
        first (`tuple` (x, y, width, height) or `None`): Region that is coded first.
        known (`int` or `None`): CRC-32 of the mask of known pixels and of their levels; `None`: none are known.
        entries (`list[Entry]`): The images.
    """

    digest: bytes
    checkpoint: str
    arithmetic: str
    num_steps: int
    batch_size: int
    threads: int
    share: float
    first: tuple[int, int, int, int] | None
    known: int | None
    entries: list[Entry] = field(default_factory=list)


def varint(number: int) -> bytes:
    """A number of at least 0 in 7 bits a byte."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def text(value: str) -> bytes:
    data = value.encode()
    return varint(len(data)) + data


def write(header: Header, batches: list[Batch]) -> bytes:
    """The bytes of a file."""
    flags = (header.first is not None) | (header.known is not None) << 1
    body = bytearray([flags])
    body += header.digest + text(header.checkpoint) + text(header.arithmetic)
    for number in (header.num_steps, header.batch_size, header.threads, round(header.share * 100)):
        body += varint(number)
    if header.first is not None:
        body += b"".join(map(varint, header.first))
    if header.known is not None:
        body += struct.pack("<I", header.known)
    body += _pack_entries(header.entries)
    for batch in batches:
        body += varint(len(batch.payload)) + struct.pack("<II", zlib.crc32(batch.payload), batch.pixels)
        body += struct.pack("<I", batch.first) if header.first is not None else b""
    body = bytes(body)
    start = MAGIC + bytes([VERSION]) + varint(len(body)) + body + struct.pack("<I", zlib.crc32(body))
    return start + b"".join(batch.payload for batch in batches)


def check_size(entries: list[Entry]) -> None:
    """Raise `CodecError` for more images, pixels or names than `read` allows."""
    stored = "\0".join(names.runs([entry.name for entry in entries])[1])
    for count, most, what in (
        (len(entries), MAX_IMAGES, "images"),
        (sum(entry.width * entry.height for entry in entries), MAX_PIXELS, "pixels"),
        (len(stored.encode()), MAX_NAMES, "bytes of names"),
    ):
        if count > most:
            raise CodecError(f"inputs: expected at most {most:,} {what} in a file, got {count:,}; make several files")


def _pack_entries(entries: list[Entry]) -> bytes:
    """Number of images; runs of their names; runs of images of equal size and mode."""
    lengths, firsts = names.pack([entry.name for entry in entries])
    data = b"".join(map(varint, (len(entries), len(lengths), *lengths, len(firsts)))) + firsts
    runs: list[list] = []
    for entry in entries:
        kind = (entry.width, entry.height, MODES.index(entry.mode))
        if runs and runs[-1][0] == kind:
            runs[-1][1] += 1
        else:
            runs.append([kind, 1])
    return data + b"".join(varint(count) + b"".join(map(varint, kind)) for kind, count in runs)


class _Bytes:
    """Bytes that are taken from the front. Raises `CodecError` where there are too few."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise CodecError(f"file: expected at least {self.at + count} bytes, got {len(self.data)}: it is cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > 63:
                raise CodecError("file: expected a number of at most 64 bits: it is damaged")

    def text(self) -> str:
        return self.take(self.varint()).decode()

    def word(self) -> int:
        return struct.unpack("<I", self.take(4))[0]


def read(data: bytes) -> tuple[Header, list[Batch]]:
    """Header and payloads of a file, whose checksums are tested.

    Raises:
        CodecError: for other files, other versions, damaged or truncated ones, and bytes behind the end.
    """
    outer = _Bytes(data)
    if data[:3] != MAGIC[: len(data)] or not data:
        raise CodecError(f"file: expected one that `applications.codec encode` wrote, got one that begins {data[:4]!r}")
    outer.take(3)
    if (version := outer.take(1)[0]) != VERSION:
        raise CodecError(f"file: expected version {VERSION} of the format, got {version}")
    body = outer.take(outer.varint())
    if zlib.crc32(body) != outer.word():
        raise CodecError("file: the checksum of its header does not agree: it is damaged")
    inner = _Bytes(body)
    header, lengths = _read_body(inner)
    expected = outer.at + sum(length for length, *_ in lengths)
    if expected != len(data):
        why = "it is cut short" if len(data) < expected else "there are bytes behind its end"
        raise CodecError(f"file: expected {expected:,} bytes, got {len(data):,}: {why}")
    batches = []
    for number, (length, check, pixels, first) in enumerate(lengths, 1):
        payload = outer.take(length)
        if zlib.crc32(payload) != check:
            raise CodecError(f"file: the checksum of batch {number} of {len(lengths)} does not agree: it is damaged")
        batches.append(Batch(payload, pixels, first))
    return header, batches


def _check(right: bool, expected: str) -> None:
    if not right:
        raise CodecError(f"file: expected {expected}")


def _read_names(body: _Bytes, count: int) -> list[str]:
    """Names of `count` images."""
    runs = body.varint()
    _check(runs <= count <= MAX_IMAGES, f"at most {MAX_IMAGES:,} images, got {count:,} with {runs:,} runs of names")
    lengths = [body.varint() for _ in range(runs)]
    _check(sum(lengths) == count, f"names of {count:,} images, got {sum(lengths):,}")
    try:
        return names.unpack(lengths, body.take(body.varint()), MAX_NAMES)
    except (ValueError, zlib.error) as error:
        raise CodecError(f"file: expected names of its images: {error}") from error


def _read_body(body: _Bytes) -> tuple[Header, list[tuple[int, int, int, int]]]:
    flags, digest = body.take(1)[0], body.take(8)
    checkpoint, arithmetic = body.text(), body.text()
    num_steps, batch_size, threads, share = (body.varint() for _ in range(4))
    first = tuple(body.varint() for _ in range(4)) if flags & 1 else None
    known = body.word() if flags & 2 else None
    count = body.varint()
    called = _read_names(body, count)
    entries: list[Entry] = []
    while len(entries) < count:
        run, width, height, mode = (body.varint() for _ in range(4))
        part = called[len(entries) : len(entries) + run]
        _check(len(part) == run > 0 and mode < len(MODES), f"{count} images with names, sizes and modes")
        entries += [Entry(name, width, height, MODES[mode]) for name in part]
    pixels = sum(entry.width * entry.height for entry in entries)
    _check(pixels <= MAX_PIXELS, f"at most {MAX_PIXELS:,} pixels, got {pixels:,}")
    _check(0 < batch_size <= MAX_BATCH and num_steps > 0, f"batches of 1 to {MAX_BATCH} tiles, got {batch_size}")
    _check(0 < threads <= MAX_THREADS, f"1 to {MAX_THREADS} threads, got {threads}")
    lengths = []
    while body.at < len(body.data):
        length, check, pixels = body.varint(), body.word(), body.word()
        lengths.append((length, check, pixels, body.word() if first is not None else 0))
    return (
        Header(
            digest, checkpoint, arithmetic, num_steps, batch_size, threads, share / 100, first, known, entries
        ),
        lengths,
    )  # fmt: skip
