"""What is trusted and what is not: weights, code, files that others made, the network, the app's files."""

import os
import pickle
import re
import struct
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModel

from conftest import CODE, PATIENCE, ROOT, make_model
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.data import load_media
from signals.image import Images
from test_resume import run
from training.states import seal

SHIPPED = sorted(path.parent for path in (ROOT / "checkpoints").glob("*/config.json"))
FIELD = sorted(path.parent for path in (ROOT / "checkpoints" / "field").glob("*/config.json"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_checkpoint_holds_the_repositorys_code_and_no_pickle(folder):
    shipped = sorted(path.name for path in folder.glob("*.py"))
    assert shipped == CODE
    for name in shipped:
        assert (folder / name).read_bytes() == (ROOT / "pixeltransformer" / name).read_bytes()
        assert not (folder / name).is_symlink()  # links are lost in archives and on Windows


def test_shipped_folders_hold_a_model_each_and_nothing_that_runs_when_loaded():
    assert {path for path in (ROOT / "checkpoints").iterdir() if path.is_dir()} == {
        *SHIPPED,
        ROOT / "checkpoints/field",
    }
    for folder in SHIPPED + FIELD:
        kinds = {path.suffix for path in folder.iterdir()}
        assert kinds <= {".py", ".md", ".json", ".safetensors", ".png", ".gif"}, folder.name


def test_the_repository_tracks_no_pickle():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert not [name for name in listed.stdout.splitlines() if re.search(r"\.(bin|pt|pth|pkl|pickle|ckpt|npz)$", name)]


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("load", [PixelTransformerModel, AutoModel])
def test_pickled_weights_are_refused_and_not_run(tmp_path, load):
    model = make_model()
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({"x": Bomb(tmp_path / "ran")}, tmp_path / "model" / "pytorch_model.bin")
    options = {} if load is PixelTransformerModel else {"trust_remote_code": True}
    with pytest.raises((OSError, ValueError, pickle.UnpicklingError), match=r"safetensors|[Ww]eights|pickle"):
        load.from_pretrained(tmp_path / "model", **options)
    assert not (tmp_path / "ran").exists()


def test_a_planted_pickle_in_a_training_state_is_not_run(tmp_path):
    """Not even where the manifest vouches for it: what accelerate reads is read with weights_only=True."""
    run(tmp_path / "run")
    state = tmp_path / "run" / "state-6"
    for name in ("optimizer.bin", "random_states_0.pkl"):
        torch.save({"x": Bomb(tmp_path / "ran")}, state / name)
    (state / "manifest.json").unlink()
    seal(state)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        run(tmp_path / "run", resume="latest", max_train_steps=8)
    assert not (tmp_path / "ran").exists()


IMPORT = """
import socket
def refuse(*_, **__):
    raise RuntimeError("a connection at import")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
import app, evaluate, handler, train_accelerate, pixeltransformer
"""


def test_importing_touches_no_network():
    variables = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims to be huge and is a few hundred bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 1000)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_pixel_bomb_in_a_dataset_is_refused_before_it_is_decoded(tmp_path):
    for number in range(4):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    (tmp_path / "bomb.png").write_bytes(png_of(60_000, 60_000))
    signal = Images(dataset_name=str(tmp_path), validation_size=1)
    parts = signal.load(0)
    assert sum(len(rows.first(5)) for rows in parts) == 4
    (message,) = [message for rows in parts for message in rows.bad.values()]
    assert "bomb.png" in message and "decompression bomb" in message


def test_links_that_lead_out_of_a_data_folder_are_not_followed(tmp_path):
    import datasets

    (tmp_path / "data").mkdir()
    (tmp_path / "secret.obj").write_text("v 0 0 0")
    (tmp_path / "data" / "own.obj").write_text("v 0 0 0")
    (tmp_path / "data" / "link.obj").symlink_to(tmp_path / "secret.obj")
    rows = load_media(str(tmp_path / "data"), (".obj",), "mesh", datasets.Mesh(decode=False), None)["train"]
    assert [Path(row["mesh"]["path"]).name for row in rows] == ["own.obj"]


@pytest.fixture(scope="module")
def address():
    import app

    blocks = app.build()
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    yield url.rstrip("/")
    blocks.close()


OUTSIDE = ["/etc/passwd", str(ROOT / "train_accelerate.py"), str(ROOT / "checkpoints/mnist/config.json"), "../app.py",
           "/proc/self/environ", "../../../../etc/passwd", "app.py", ".git/config", "//etc/passwd"]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_the_app_serves_no_file_of_the_machine(address, path):
    for quoted in (path, urllib.parse.quote(path, safe="")):
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/theme.css/"):
            code, body = fetch(address + route + quoted)
            assert code in (200, 400, 401, 403, 404, 405, 422), (route, code)
            if code == 200:  # the page itself
                assert b"root:" not in body and b"import " not in body and b"model_type" not in body, route


def fetch(url: str) -> tuple[int, bytes]:
    """Status and the beginning of what a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read(100_000)
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_a_checkpoints_code_opens_nothing_of_its_own():
    """No archive, connection, process or pickle."""
    for name in CODE:
        words = (ROOT / "pixeltransformer" / name).read_text()
        assert not re.search(r"^\s*(import|from) (socket|subprocess|zipfile|pickle|urllib|requests)\b", words, re.M)
        assert not re.search(r"(?<![.\w])(eval|exec)\(|torch\.load\(", words)
