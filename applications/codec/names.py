"""Names of images in few bytes: a folder's files are often numbered, and numbers that go on cost nothing."""

import re
import zlib

NUMBER = re.compile(r"[0-9]+(?=[^0-9]*$)")  # the last number of a name


def successor(name: str) -> str | None:
    """The name whose last number is one higher, with as many digits at least; `None` for a name without a number."""
    found = NUMBER.search(name)
    if found is None:
        return None
    digits = found.group()
    return name[: found.start()] + str(int(digits) + 1).zfill(len(digits)) + name[found.end() :]


def runs(names: list[str]) -> tuple[list[int], list[str]]:
    """Lengths of runs in which each name is the successor of the one before, and the first names of all runs."""
    firsts, lengths = [], []
    expected = None
    for name in names:
        if name == expected:
            lengths[-1] += 1
        else:
            firsts.append(name)
            lengths.append(1)
        expected = successor(name)
    return lengths, firsts


def pack(names: list[str]) -> tuple[list[int], bytes]:
    """Lengths of `runs`, and their first names, deflated. The names hold no NUL."""
    lengths, firsts = runs(names)
    return lengths, zlib.compress("\0".join(firsts).encode(), 9)


def unpack(lengths: list[int], stored: bytes, most_bytes: int) -> list[str]:
    """The names again, from at most `most_bytes` of first ones. Raises `ValueError` where runs and names disagree."""
    firsts = zlib.decompressobj().decompress(stored, most_bytes).decode().split("\0")
    names = []
    for name, length in zip(firsts, lengths, strict=True):
        for _ in range(length):
            if name is None:
                raise ValueError("a name without a number has no successor")
            names.append(name)
            name = successor(name)
    return names
