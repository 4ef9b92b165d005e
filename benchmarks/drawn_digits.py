"""Digits drawn on the app's pad with its default brush, in a real browser: does a drawn 3 give threes?

`python -m benchmarks.drawn_digits --classifier runs/mnist-classifier.safetensors` draws ten of each of 3, 7 and 8 with
slightly different shapes, samples from what the pad observed, and prints the share that the classifier recognises.
"""

import argparse
import json
import math
import shutil

import torch
from playwright.sync_api import Page, sync_playwright

import app
from demo import models
from demo.answers import Sampling
from demo.examples import STROKES, _points
from demo.image_actions import draw
from demo.widgets.pad import read_pad
from evaluation.classifier import load

DIGITS = (3, 7, 8)


def strokes(digit: int, seed: int) -> list[list[tuple[float, float]]]:
    """Strokes (x, y) in [0, 1] of a digit, turned, stretched and moved a little."""
    generator = torch.Generator().manual_seed(1000 * digit + seed)
    turn, wide, tall, right, down = (torch.rand(5, generator=generator) * 2 - 1).tolist()
    cos, sin = math.cos(0.15 * turn), math.sin(0.15 * turn)
    drawn = []
    for stroke in STROKES[digit]:
        flat = [((x - 0.5) * (0.7 + 0.08 * wide), (y - 0.5) * (0.78 + 0.08 * tall)) for x, y in _points(stroke, 24)]
        drawn.append([(0.5 + 0.05 * right + x * cos - y * sin, 0.5 + 0.05 * down + x * sin + y * cos) for x, y in flat])
    return drawn


def pads(page: Page, count: int) -> dict[int, list[dict]]:
    """What the pad sends after each drawing: its values by digit."""
    sent: list[dict] = []

    def read(request) -> None:
        parts = (json.loads(request.post_data) if request.post_data_buffer else {}).get("data") or []
        sent.extend(part for part in parts if isinstance(part, dict) and "paper" in part)

    page.on("request", lambda request: read(request) if request.url.endswith("queue/join?") else None)
    page.locator("#auto input").uncheck()
    page.locator("#checkpoint").get_by_label("Digits", exact=True).check()
    page.locator("#pad .pt-paper").wait_for()
    found: dict[int, list[dict]] = {}
    for digit in DIGITS:
        for seed in range(count):
            page.locator("#pad").get_by_role("button", name="Clear").click()
            box = page.locator("#pad canvas").bounding_box()
            for stroke in strokes(digit, seed):
                places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
                page.mouse.move(*places[0])
                page.mouse.down()
                for place in places[1:]:
                    page.mouse.move(*place)
                page.mouse.up()
            page.wait_for_timeout(1500)
            found.setdefault(digit, []).append(sent[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", required=True, help="file of evaluation.classifier, trained on MNIST")
    parser.add_argument("--drawings", type=int, default=10, help="of each digit")
    parser.add_argument("--samples", type=int, default=2, help="of each drawing")
    parser.add_argument("--url", help="of an app that is served already; default: serve one")
    arguments = parser.parse_args()
    classifier, _ = load(arguments.classifier)
    url = arguments.url
    if url is None:
        _, url, _ = app.build().launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    models.offer()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(240_000)
        page.goto(url)
        page.wait_for_selector("#samples .pt-large img[src]")
        found = pads(page, arguments.drawings)
        browser.close()
    right = []
    for digit, values in found.items():
        for seed, value in enumerate(values):
            *_, last = draw("mnist", read_pad(value, 1), None, Sampling(arguments.samples, seed=seed))
            right.append((classifier.classes_of(last.values.movedim(-1, 1)) == digit).float().mean().item())
        of_digit = right[-len(values) :]
        print(f"{digit}: {sum(of_digit) / len(of_digit):.0%} of {len(values)} drawings' samples recognised", flush=True)
    print(f"all: {sum(right) / len(right):.0%} of {len(right) * arguments.samples} samples")


if __name__ == "__main__":
    main()
