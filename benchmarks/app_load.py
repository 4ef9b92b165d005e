"""Many visitors at once: no error, no crossed results, flat memory.

`python -m benchmarks.app_load --visitors 16 --seconds 120` starts the app, lets every visitor paint pixels of a colour
of their own, ask for the mean image and now and then for samples, and checks that each answer holds that colour there.
With `--drawers`, some of the visitors draw pictures of 256 × 256 pixels all the time. The exit code is 1 where an
answer was an error, or another visitor's.
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

from training.setup import machine

ROOT = Path(__file__).parent.parent
LARGE, LARGE_STEPS = 256, 64  # side of a drawer's pictures, and their passes
START = 300  # seconds that the server may take to start
WARM_UP = 10.0  # seconds in which checkpoints are loaded, not counted


def megabytes(process: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


async def ask(client: httpx.AsyncClient, endpoint: str, data: list, session: str) -> dict:
    """The last message of a call, in the session of one visitor. Raises `RuntimeError` where it is an error."""
    sent = await client.post(f"/gradio_api/call/{endpoint}", json={"data": data, "session_hash": session})
    sent.raise_for_status()
    answer = await client.get(f"/gradio_api/call/{endpoint}/{sent.json()['event_id']}")
    lines = answer.text.strip().split("\n")[-2:]
    if lines[0] != "event: complete":
        raise RuntimeError(" ".join(lines)[:200])
    return json.loads(lines[1].removeprefix("data: "))[0]


async def visit(number: int, url: str, until: float, seen: dict, drawer: bool) -> None:
    """One visitor: more and more pixels of one colour, each answer checked. A drawer asks for large samples only."""
    own, session = random.Random(number), f"visitor-{number}"
    colour = [own.randrange(256) / 255 for _ in range(3)]
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
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
                if drawer or own.random() < 0.05:
                    side, steps = (LARGE, LARGE_STEPS) if drawer else (0, 32)
                    asked = ["cat-faces", observed, side, 1, steps, 0.9, number, "random"]
                    found = await ask(client, "sample_image", asked, session)
                    seen["large" if drawer else "samples"].append(time.monotonic() - start)
                    assert found["share"] == 1
                else:
                    found = await ask(client, "infer_image", ["cat-faces", observed, 0], session)
                    seen["means"].append(time.monotonic() - start)
                    pixels = [found["mean"][y][x] for x, y in cells]
                    seen["crossed"] += any(abs(a - b) > 1e-3 for p in pixels for a, b in zip(p, colour, strict=True))
            except (RuntimeError, httpx.HTTPError) as error:
                seen["errors"].append(repr(error))
            await asyncio.sleep(own.uniform(0.2, 1.0))


def nothing_seen() -> dict:
    """What is counted, before anything was."""
    return {"means": [], "samples": [], "large": [], "errors": [], "crossed": 0}


async def run(visitors: int, drawers: int, seconds: float, port: int) -> dict:
    """Serve, visit, and tell what was measured."""
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(START):
            try:
                httpx.get(url, timeout=10)
                break
            except httpx.HTTPError:
                await asyncio.sleep(1)
        else:
            raise TimeoutError(f"app.py: expected a page on port {port} within {START} seconds, got none")
        await visit_all(visitors, drawers, url, WARM_UP, nothing_seen())
        seen = nothing_seen()
        memory = [megabytes(server.pid)]
        for _ in range(4):
            await visit_all(visitors, drawers, url, seconds / 4, seen)
            memory.append(megabytes(server.pid))
    finally:
        server.terminate()
        server.wait(20)
    return report(visitors, drawers, seconds, seen, memory)


def report(visitors: int, drawers: int, seconds: float, seen: dict, memory: list[float]) -> dict:
    """What was measured, named for a reader."""

    def percentile(times: list[float], share: int) -> float | None:
        return round(statistics.quantiles(times, n=100)[share - 1], 2) if len(times) > 1 else None

    answered = sum(len(seen[kind]) for kind in ("means", "samples", "large"))
    return {
        "machine": machine(),
        "visitors": visitors,
        f"of_them_drawing_pictures_of_{LARGE}_pixels": drawers,
        "seconds": seconds,
        "requests": answered + len(seen["errors"]),
        "requests_a_second": round(answered / seconds, 2),
        "seconds_to_a_mean_image_p50": percentile(seen["means"], 50),
        "seconds_to_a_mean_image_p95": percentile(seen["means"], 95),
        "seconds_to_a_sample_p50": percentile(seen["samples"], 50),
        "seconds_to_a_sample_p95": percentile(seen["samples"], 95),
        f"pictures_of_{LARGE}_pixels": len(seen["large"]),
        f"seconds_to_a_picture_of_{LARGE}_pixels_p50": percentile(seen["large"], 50),
        "errors": len(seen["errors"]),
        "answers_that_were_another_visitor's": seen["crossed"],
        "memory_in_MiB_at_the_start": round(memory[0]),
        "memory_in_MiB_after_each_quarter": ", ".join(f"{each:.0f}" for each in memory[1:]),
        "messages": seen["errors"][:10],
    }


async def visit_all(visitors: int, drawers: int, url: str, seconds: float, seen: dict) -> None:
    """All visitors for some seconds."""
    until = time.monotonic() + seconds
    await asyncio.gather(*(visit(number, url, until, seen, number < drawers) for number in range(visitors)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=16)
    parser.add_argument("--drawers", type=int, default=0, help=f"of them drawing pictures of {LARGE} pixels a side")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=7889)
    parser.add_argument("--output", type=Path, help="write the report there, for `benchmarks.reliability --app_load`")
    arguments = parser.parse_args()
    found = asyncio.run(run(arguments.visitors, arguments.drawers, arguments.seconds, arguments.port))
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    sys.exit(bool(found["errors"] or found["answers_that_were_another_visitor's"]))


if __name__ == "__main__":
    main()
