"""Many visitors at once: no error, no crossed results, flat memory.

`python -m benchmarks.app_load --visitors 16 --seconds 120` starts the app, lets every visitor paint pixels of a colour
of their own, ask for the mean image and now and then for samples, and checks that each answer holds that colour there.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


def megabytes(process: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


async def ask(client: httpx.AsyncClient, endpoint: str, data: list) -> dict:
    """The last message of a call. Raises `RuntimeError` where it is an error."""
    sent = await client.post(f"/gradio_api/call/{endpoint}", json={"data": data})
    sent.raise_for_status()
    answer = await client.get(f"/gradio_api/call/{endpoint}/{sent.json()['event_id']}")
    lines = answer.text.strip().split("\n")[-2:]
    if lines[0] != "event: complete":
        raise RuntimeError(" ".join(lines)[:200])
    return json.loads(lines[1].removeprefix("data: "))[0]


async def visit(number: int, url: str, until: float, seen: dict) -> None:
    """One visitor: more and more pixels of one colour, each answer checked."""
    own = random.Random(number)
    colour = [own.randrange(256) / 255 for _ in range(3)]
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        cells = []
        while time.monotonic() < until:
            cells.append((own.randrange(32), own.randrange(32)))
            cells = cells[-40:]
            observed = {
                "positions": [[(x + 0.5) / 16 - 1, (y + 0.5) / 16 - 1] for x, y in cells],
                "values": [colour] * len(cells),
            }
            start = time.monotonic()
            try:
                if own.random() < 0.05:
                    found = await ask(client, "sample_image", ["cat-faces", observed, 0, 1, 32, 0.9, number])
                    seen["samples"].append(time.monotonic() - start)
                    assert found["share"] == 1
                else:
                    found = await ask(client, "infer_image", ["cat-faces", observed, 0])
                    seen["means"].append(time.monotonic() - start)
                    pixels = [found["mean"][y][x] for x, y in cells]
                    seen["crossed"] += any(abs(a - b) > 1e-3 for p in pixels for a, b in zip(p, colour, strict=True))
            except (RuntimeError, httpx.HTTPError) as error:
                seen["errors"].append(repr(error))
            await asyncio.sleep(own.uniform(0.2, 1.0))


async def run(visitors: int, seconds: float, port: int) -> bool:
    """Serve, visit, report; whether all went well."""
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                httpx.get(url, timeout=10)
                break
            except httpx.HTTPError:
                await asyncio.sleep(1)
        seen = {"means": [], "samples": [], "errors": [], "crossed": 0}
        await visit_all(visitors, url, 10, seen)  # loads and warms up
        seen = {"means": [], "samples": [], "errors": [], "crossed": 0}
        memory = [megabytes(server.pid)]
        for _ in range(4):
            await visit_all(visitors, url, seconds / 4, seen)
            memory.append(megabytes(server.pid))
    finally:
        server.terminate()
        server.wait(20)
    median = statistics.median(seen["means"])
    print(f"{visitors} visitors, {seconds:g} s: {len(seen['means'])} means, median {median:.2f} s;")
    print(f"{len(seen['samples'])} samples, median {statistics.median(seen['samples'] or [0]):.2f} s;")
    print(f"{len(seen['errors'])} errors {seen['errors'][:3]}, {seen['crossed']} crossed results;")
    print("memory in MiB after each quarter: " + ", ".join(f"{each:.0f}" for each in memory))
    return not seen["errors"] and not seen["crossed"]


async def visit_all(visitors: int, url: str, seconds: float, seen: dict) -> None:
    """All visitors for some seconds."""
    until = time.monotonic() + seconds
    await asyncio.gather(*(visit(number, url, until, seen) for number in range(visitors)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=7889)
    arguments = parser.parse_args()
    sys.exit(not asyncio.run(run(arguments.visitors, arguments.seconds, arguments.port)))


if __name__ == "__main__":
    main()
