"""What a visitor sees as JSON and as a link, and back: the observed set and how it was asked about."""

import base64
import binascii
import json
import zlib
from typing import Any

from demo.observed import read_json

MAX_STATE = 400_000  # characters of JSON
FORMAT = "pixeltransformer/1"


def to_text(tab: str, state: dict[str, Any]) -> str:
    """A tab's state as JSON, one line a key."""
    lines = [f'"format": "{FORMAT}"', f'"tab": "{tab}"']
    lines += [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in state.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def from_text(text: str, tab: str | None = None) -> dict[str, Any]:
    """The state in a JSON text, of one tab if that is given.

    Raises:
        ValueError: naming what is wrong with it.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError("state: expected JSON made by this app, got nothing")
    if len(text) > MAX_STATE:
        raise ValueError(f"state: expected at most {MAX_STATE:,} characters (the limit of this app), got {len(text):,}")
    state = read_json(text, "state")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f'state: expected an object with "format": "{FORMAT}", got another')
    if tab is not None and state.get("tab") != tab:
        raise ValueError(f"state: expected one of the tab {tab!r}, got {str(state.get('tab'))[:40]!r}")
    return state


def to_code(text: str) -> str:
    """A state's JSON, packed so that it fits into a link."""
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def from_code(code: str) -> str:
    """The JSON packed in a link.

    Raises:
        ValueError: for a code that is damaged or unpacks to more than the limit.
    """
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)), MAX_STATE + 1)
        if len(text) > MAX_STATE or not unpacker.eof:
            raise ValueError(f"link: expected at most {MAX_STATE:,} characters, complete; got more, or a part")
        return text.decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise ValueError("link: expected one made by this app, got one that is cut off or changed") from error
