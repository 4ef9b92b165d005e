"""Command lines of everything that looks at a checkpoint: read into dataclasses of flags, and written from them."""

import hashlib
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from signals import find


def parse_flags(own: type, argv: list[str], *more: type) -> tuple:
    """A command's own arguments (with `checkpoint` and `kind`), the signal, whose kind the checkpoint knows, and more.

    Args:
        own (`type`), more (`type`): Dataclasses whose fields are flags.

    Raises:
        ValueError: naming the flag.
    """
    given = HfArgumentParser(own, add_help=False, allow_abbrev=False).parse_known_args(argv)[0]
    helping = {"-h", "--help"} & set(argv)
    if given.checkpoint is None and not helping:
        raise ValueError("--checkpoint: expected a folder or a Hub id, got None")
    known = PixelTransformerConfig().signal if given.checkpoint is None else read_config(given.checkpoint).signal
    kind = given.kind or known
    if find(kind).kind != known and not helping:
        raise ValueError(f"--kind: expected the checkpoint's kind, {known}, got {kind}")
    parser = HfArgumentParser((own, find(kind), *more), allow_abbrev=False, description=own.__doc__)
    try:
        return parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise ValueError(str(error).replace("Some specified arguments are not used", "unknown flags")) from error


def read_config(checkpoint: str) -> PixelTransformerConfig:
    """The checkpoint's configuration."""
    try:
        return PixelTransformerConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise ValueError(f"--checkpoint: cannot load {checkpoint!r}: {error}") from error


def changed(holder: Any) -> dict[str, Any]:
    """The flags of a dataclass that differ from their defaults."""
    found = {}
    for item in fields(holder):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if (value := getattr(holder, item.name)) != default:
            found[item.name] = value
    return found


def words(*holders: Any) -> list[str]:
    """The command line that gives dataclasses of flags their values; flags at their defaults are left out."""
    found = []
    for holder in holders:
        for name, value in changed(holder).items():
            values = value if isinstance(value, list | tuple) else [value]
            found += [f"--{name}", *[str(part).lower() if isinstance(part, bool) else str(part) for part in values]]
    return found


def fingerprint(*holders: Any, apart_from: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of flags that differ from their defaults and, where one names a file, the SHA-256 of its content."""
    found = {}
    for holder in holders:
        for name, value in changed(holder).items():
            if name in apart_from:
                continue
            found[name] = value
            if isinstance(value, str) and Path(value).is_file():
                found[f"{name}_digest"] = hashlib.sha256(Path(value).read_bytes()).hexdigest()
    return json.loads(json.dumps(found))
