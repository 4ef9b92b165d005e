"""Processes that start quickly, as they are forks of ones that have imported everything; trainings in several."""

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
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

# Imports once, forks for each script that is asked for, and answers with its exit code.
SERVER = """
import json, os, sys
{imports}
def wait():
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            for stream, (name, flags) in enumerate(((os.devnull, os.O_RDONLY), *((x, writing) for x in order["said"]))):
                os.dup2(os.open(name, flags, 0o600), stream)
            os.chdir(order["folder"])
            os.environ.clear()
            os.environ.update(order["variables"])
            sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
            sys.argv = order["argv"]
            return order["script"]
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
exec(compile(wait() or "", "script", "exec"))
"""

# What the commands of this repository import, and what their libraries import when they first need it.
COMMANDS = """
sys.path.insert(0, {root!r})
import evaluate, evaluation.classifier, train_accelerate, benchmarks.reliability.faults
import matplotlib.figure, matplotlib.backends.backend_agg, tensorboard, torch.distributed.run
import torch.distributed.fsdp, torch.distributed.launcher.api
from signals import image, polynomial
from training import processes
from transformers import pipelines
if "PYTEST_XDIST_WORKER" in os.environ:
    processes.num_cores = lambda: 1
"""

# What users of a checkpoint import, who know nothing of this repository.
STRANGERS = """
import torch, torch._dynamo
import huggingface_hub.hf_api, huggingface_hub.repocard
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PreTrainedModel, pipeline
"""

# A cache of checkpoints' code, and a Hub, of the process's own: transformers read the variables when it was imported.
ITS_OWN = """
import os
import huggingface_hub.constants, transformers.dynamic_module_utils
if "HF_HOME" in os.environ:
    transformers.dynamic_module_utils.HF_MODULES_CACHE = os.path.join(os.environ["HF_HOME"], "modules")
if "HF_ENDPOINT" in os.environ:
    constants = huggingface_hub.constants
    constants.HF_HUB_OFFLINE = os.environ["HF_HUB_OFFLINE"] == "1"
    for name in ("HUGGINGFACE_CO_URL_TEMPLATE", "ENDPOINT"):
        setattr(constants, name, getattr(constants, name).replace(constants.ENDPOINT, os.environ["HF_ENDPOINT"]))
"""

RUN = """
import runpy, sys
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
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
def server(imports: str) -> subprocess.Popen:
    """A process that has imported modules and waits for scripts to fork for; it ends with this one."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    command = [sys.executable, "-c", SERVER.format(imports=imports.format(root=str(ROOT)))]
    started = subprocess.Popen(command, cwd="/", env=known | {"OMP_NUM_THREADS": "1"}, text=True, **pipes)
    atexit.register(lambda: (started.stdin.close(), started.wait()))
    return started


def fork(imports: str, script: str, argv: list, folder: Path, said: list[Path], variables: dict | None = None) -> int:
    """Run Python code as `python -c` does, in a process where some modules are imported already: its exit code.

    Args:
        said: Files for its standard output and error.
        variables: Its environment; `None`: that of this process.
    """
    known = {"OMP_NUM_THREADS": "1"} | (dict(os.environ) if variables is None else variables)
    order = dict(script=script, argv=[str(word) for word in argv], folder=str(folder), said=list(map(str, said)))
    server(imports).stdin.write(json.dumps(order | {"variables": known}) + "\n")
    server(imports).stdin.flush()
    if not select.select([server(imports).stdout], [], [], PATIENCE)[0]:
        server(imports).kill()
        server.cache_clear()
        pytest.fail(f"a process hung: {said[-1].read_text(errors='replace')[-4000:]}")
    return int(server(imports).stdout.readline())


def python(*argv, imports: str = COMMANDS, folder: Path = ROOT, variables: dict | None = None):
    """As `subprocess.run([sys.executable, *argv], …)` with text captured, without the seconds of importing.

    Args:
        argv: The name of a script, or "-m" and that of a module, or "-c" and code; then arguments.
    """
    script = ITS_OWN + (argv[1] if argv[0] == "-c" else RUN)
    with tempfile.TemporaryDirectory() as temporary:
        said = [Path(temporary) / name for name in ("stdout", "stderr")]
        code = fork(imports, script, ["-c", *argv[2:]] if argv[0] == "-c" else argv, folder, said, variables)
        return subprocess.CompletedProcess(argv, code, *(file.read_text() for file in said))


def run_outside(code: str, *arguments: str, folder: Path, fresh: bool = False, **environment: str) -> str:
    """Run Python code in a process whose working folder and path know nothing of the repository: what it printed.

    Args:
        fresh: Whether it has to import everything itself.
    """
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "HF_MODULES_CACHE")}
    variables |= {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", **environment}
    if fresh:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    else:
        done = python("-c", code, *arguments, imports=STRANGERS, folder=folder, variables=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    code, printed = fork(COMMANDS, script, ["-c"], ROOT, [said, said]), said.read_text(errors="replace")
    assert code == 0 if not expect else code != 0, f"exit code {code}: {printed[-4000:]}"
    return printed
