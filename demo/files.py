"""Files that visitors take away: written where Gradio serves and, after a while, deletes them."""

import hashlib
from pathlib import Path

from gradio.utils import get_upload_folder


def keep(data: bytes, name: str) -> str:
    """Path of a file with this content and name; the same content is kept once."""
    folder = Path(get_upload_folder()) / hashlib.sha256(data).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return str(path)
