"""Trainings in several processes (gloo, CPU), for the tests that compare them with one."""

import json
import os
import select
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from conftest import PATIENCE, ROOT

TINY = dict(
    kind="polynomial",
    hidden_size=16,
    num_encoder_layers=1,
    num_decoder_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_context=10,
    buffer_size=4,
    max_queries=4,
    token_budget=64,
    mixed_precision="no",
    report_to="none",
    validation_contexts=[0],
    validation_images=1,
    validate_every=1000,
    num_polynomials=100,
)

# Imports once what trainings need, forks for each that is asked for, and answers with its exit code.
SERVER = """
import json, os, sys
sys.path.insert(0, {root!r})
import train_accelerate
from signals import image, polynomial
def wait():
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            for stream, name, flags in ((0, os.devnull, os.O_RDONLY), (1, order["said"], os.O_WRONLY | os.O_CREAT)):
                os.dup2(os.open(name, flags, 0o600), stream)
            os.dup2(1, 2)
            return order["script"]
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
exec(wait() or "")
"""

# What torchrun does, with the modules imported before.
SCRIPT = """
{before}
import os, socket, sys
import train_accelerate
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
sys.argv = ["train_accelerate.py", "--preset", {preset!r}]
children = []
for rank in range({processes}):
    child = os.fork()
    if child == 0:
        names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE={processes}, LOCAL_WORLD_SIZE={processes})
        if {processes} > 1:
            os.environ.update({{name: str(value) for name, value in names.items()}})
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        train_accelerate.main()
        sys.exit()
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(max(map(abs, codes)))
"""


@lru_cache
def server() -> subprocess.Popen:
    """A process that waits for trainings to start; it ends with this one."""
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-c", SERVER.format(root=str(ROOT))], cwd=ROOT, env=variables, text=True, **pipes
    )


def launch(folder: Path, processes: int, before: str = "", expect: int = 0, **flags) -> str:
    """Run `train_accelerate.py` in so many processes after the Python code `before`; returns what it printed.

    Args:
        flags: Of the training; a `kind` other than polynomials brings all of its own.
    """
    tiny = TINY if flags.get("kind", "polynomial") == "polynomial" else {
        name: value for name, value in TINY.items() if name not in ("kind", "num_polynomials")
    }  # fmt: skip
    preset, said = folder / "preset.json", folder / "said.txt"
    preset.write_text(json.dumps(tiny | flags))
    said.unlink(missing_ok=True)
    script = SCRIPT.format(before=before, processes=processes, preset=str(preset))
    server().stdin.write(json.dumps({"script": script, "said": str(said)}) + "\n")
    server().stdin.flush()
    if not select.select([server().stdout], [], [], PATIENCE)[0]:
        server().kill()
        server.cache_clear()
        pytest.fail(f"a training hung: {said.read_text(errors='replace')[-4000:]}")
    code, printed = server().stdout.readline().strip(), said.read_text(errors="replace")
    assert code == "0" if not expect else code not in ("0", ""), f"exit code {code}: {printed[-4000:]}"
    return printed
