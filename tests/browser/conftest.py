"""The app over tiny models (`small_app.py`), and a browser with pages of it.

Most tests share one page, as loading it takes most of the time.
"""

import shutil
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from small_app import served

with suppress(pytest.skip.Exception):  # without Playwright every file here is skipped, as each imports this too
    from visitor import LONGEST, PATIENCE, SIZES, SKETCH, expect, observed, opened, sync_api, until_drawn

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser on a crowded machine may lose a click or come late; what is broken fails three times."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))


@pytest.fixture(autouse=True)
def limited(request):
    """No test hangs, whatever it waits for."""

    def give_up(*_):
        raise TimeoutError(f"{request.node.name} did not end within {LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="package")
def url():
    with served() as address:
        yield address


@pytest.fixture(scope="package")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    # Without a graphics card the 3D views are drawn in software.
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
    flags.append("--disable-gpu-compositing")  # of the page itself, which is quicker without
    expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=flags, timeout=PATIENCE)
        yield started
        started.close()


@pytest.fixture(scope="package")
def desktop(browser, url):
    """The app at desktop size, opened once for most tests."""
    yield from _visitor(browser, url, "desktop")


@pytest.fixture(scope="package")
def phone(browser, url):
    """The app at a phone's size, in dark colours, opened once."""
    yield from _visitor(browser, url, "phone")


@pytest.fixture(params=["desktop", "phone"])
def untouched(request, browser, url):
    """The app as it opens."""
    yield from _visitor(browser, url, request.param)


def _visitor(browser, url, size: str):
    scheme = "light" if size == "desktop" else "dark"
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    page = opened(context, url)
    yield page
    context.close()


@pytest.fixture
def gates():
    """Two events to hold answers back with; in the end nothing waits for them."""
    both = threading.Event(), threading.Event()
    yield both
    for gate in both:
        gate.set()


@pytest.fixture
def cat(desktop):
    """The shared page, with the sketch of a cat and its samples, as it opens; samples follow each change."""
    desktop.errors.clear()
    desktop.get_by_role("tab", name="Image").click()
    desktop.locator("#auto input").check()
    desktop.locator('#image-examples [data-name="Sketch of a cat"] .pt-look').click()
    until_drawn(desktop)
    assert observed(desktop) > SKETCH
    yield desktop
    assert not desktop.errors
