"""The app served for tests: once for all of them, on a free port; and its API over plain HTTP."""

import atexit
import json
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import httpx
from gradio_client import Client

import app
from conftest import PATIENCE, make_model


@lru_cache
def checkpoints() -> list[str]:
    """Folders of "scaled", a small model of 32×32 colour images that knows averages over up to 8×8, and "plain", one of
    16×16 grey images that knows none."""
    folder = Path(tempfile.mkdtemp(prefix="pixeltransformer-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_model(native_grid=[32, 32], value_dim=3, num_scales=4).save_pretrained(folder / "scaled")
    make_model(native_grid=[16, 16]).save_pretrained(folder / "plain")
    return [str(folder / "scaled"), str(folder / "plain")]


@lru_cache
def serve() -> str:
    """Address of the app with the shipped checkpoints, "scaled" and "plain"."""
    blocks = app.build(checkpoints())
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    return url.rstrip("/")


def call(url: str, endpoint: str, body: str, timeout: float = PATIENCE) -> tuple[str, object]:
    """Send the text `body` (JSON arguments, valid or not) to an endpoint: the last event's name and data."""
    sent = httpx.post(
        f"{url}/gradio_api/call/{endpoint}", content=body, headers={"content-type": "application/json"}, timeout=timeout
    )
    if sent.status_code != 200:
        return "refused", sent.text
    stream = httpx.get(f"{url}/gradio_api/call/{endpoint}/{sent.json()['event_id']}", timeout=timeout).text
    name, data = stream.strip().split("\n")[-2:]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@lru_cache
def client() -> Client:
    """A client of the served app, patient where the machine is busy."""
    return Client(serve(), verbose=False, httpx_kwargs={"timeout": PATIENCE})
