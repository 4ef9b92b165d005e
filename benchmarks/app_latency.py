"""From a dab to the new mean image and to the new sample, in a real browser.

`python -m benchmarks.app_latency` serves the app, paints on it with Debian's chromium, and prints medians.
"""

import argparse
import shutil
import statistics

from playwright.sync_api import sync_playwright

import app

# Milliseconds from a press on the canvas until the image has the new picture and the page is drawn; null where paint of
# the sketch's own colour changes nothing.
DAB = """([x, y]) => new Promise((done) => {
  const image = document.querySelector('#marginals figure[data-name="Mean"] img');
  const canvas = document.querySelector('#pad canvas'), box = canvas.getBoundingClientRect();
  const start = performance.now();
  image.addEventListener('load', () => requestAnimationFrame(() => done(performance.now() - start)), {once: true});
  const at = {clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerId: 1, bubbles: true};
  setTimeout(() => done(null), 5000);
  canvas.setPointerCapture = () => null;
  canvas.dispatchEvent(new PointerEvent('pointerdown', at));
  canvas.dispatchEvent(new PointerEvent('pointerup', at));
})"""
SAMPLE = DAB.replace('#marginals figure[data-name="Mean"] img', "#samples .pt-large img")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dabs", type=int, default=40)
    arguments = parser.parse_args()
    blocks = app.build()
    app.prepare()  # as `python app.py` does
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.wait_for_selector("#marginals img")
        changed = page.evaluate(SAMPLE, [0.52, 0.52])
        print(f"a visitor's first dab to a changed sample: {changed:.0f} ms")
        page.locator("#auto input").uncheck()
        page.evaluate(DAB, [0.01, 0.01])  # loads and warms up; no other dab falls there
        places = [((7 * n) % 32 + 0.5, (11 * n + n // 32) % 32 + 0.5) for n in range(1, arguments.dabs + 1)]
        times = sorted(filter(None, (page.evaluate(DAB, [x / 32, y / 32]) for x, y in places)))
        name = "a dab to the new mean image, cat faces at 32 × 32"
        print(f"{name}: median {statistics.median(times):.0f} ms, 90 % {times[int(0.9 * len(times))]:.0f} ms")
        page.locator("#auto input").check()
        first = []
        for place in places[:5]:
            first.append(page.evaluate(SAMPLE, [place[1] / 32, place[0] / 32]))
            page.locator('#samples .pt-result[data-share="1"]').wait_for()
            page.wait_for_timeout(500)
        print(f"a dab to the first partial sample: median {statistics.median(first):.0f} ms, worst {max(first):.0f} ms")
        browser.close()
    blocks.close()


if __name__ == "__main__":
    main()
