"""Trainings in several processes (gloo, CPU), for the tests that compare them with one."""

import json
import os
import subprocess
import sys
from pathlib import Path

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

# What torchrun does, with the modules imported once and then forked.
SCRIPT = """
import os, socket, sys
sys.path.insert(0, {root!r})
{before}
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


def launch(folder: Path, processes: int, before: str = "", expect: int = 0, **flags) -> str:
    """Run `train_accelerate.py` in so many processes after the Python code `before`; returns what it printed.

    Args:
        flags: Of the training; a `kind` other than polynomials brings all of its own.
    """
    tiny = TINY if flags.get("kind", "polynomial") == "polynomial" else {
        name: value for name, value in TINY.items() if name not in ("kind", "num_polynomials")
    }  # fmt: skip
    preset, script = folder / "preset.json", folder / "train.py"
    preset.write_text(json.dumps(tiny | flags))
    script.write_text(SCRIPT.format(root=str(ROOT), before=before, processes=processes, preset=str(preset)))
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode != 0) == bool(expect), done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout + done.stderr
