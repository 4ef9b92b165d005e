"""The pages are true: their links lead somewhere, their Python runs as printed, and the README stays one page."""

import re
from pathlib import Path

import pytest

from conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
NEEDS = ("gradio_client", "photo.jpg", "sensors.nc")  # a server, files: other tests run these blocks


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pictures_of_a_page_exist(name):
    page = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text()) + re.findall(r'src="([^"]+)"', page.read_text())
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def python_of(page: Path) -> str:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return "\n".join(block for block in blocks if not any(word in block for word in NEEDS))


@pytest.mark.parametrize("name", [name for name, page in zip(NAMES, PAGES, strict=True) if python_of(page)])
def test_python_of_a_page_runs_from_top_to_bottom(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(python_of(ROOT / name), name, "exec"), {"__name__": "page"})


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_file_of_the_layout_table_exists():
    table = (ROOT / "README.md").read_text().split("## Layout")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")][2:]
    assert rows
    for row in rows:
        folders = ["", *re.findall(r"`([\w/]+/)`", row)]
        for path in re.findall(r"`([\w/.]+(?:\.py|/))`", row):
            assert any((ROOT / folder / path).exists() for folder in folders), f"{path} in:{row}"
