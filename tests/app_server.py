"""The app served for tests: once for all of them, on a free port; and its API over plain HTTP."""

import json
from functools import lru_cache

import httpx
from gradio_client import Client

import app


@lru_cache
def serve() -> str:
    """Address of the app with the shipped checkpoints."""
    blocks = app.build()
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    return url.rstrip("/")


def call(url: str, endpoint: str, body: str, timeout: float = 60) -> tuple[str, object]:
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
    return Client(serve(), verbose=False, httpx_kwargs={"timeout": 120})
