"""Small trainings in processes of their own, that can be killed, and what is compared of them."""

import hashlib
import json
import os
import sys
import traceback
from pathlib import Path

import torch
from safetensors.torch import load_file

import train_accelerate
from signals.polynomial import Polynomials
from training import reading
from training.arguments import Arguments
from training.journal import NAME, read_journal
from training.states import find_state

SIZES = dict(
    hidden_size=16, num_encoder_layers=1, num_decoder_layers=1, num_attention_heads=2, intermediate_size=16, num_bins=1
)
EPISODES = dict(max_context=20, buffer_size=8, max_queries=8, token_budget=256)
REST = dict(mixed_precision="no", report_to="none", validation_contexts=[0], validation_images=1)
SEEN = "seen.jsonl"  # digests of the batches, in the order in which the process saw them


def start(output: Path, steps: int, save_every: int, resume: bool = False, before=None) -> int:
    """Fork a process that trains on polynomials, two batches a step; its standard output and error go to a file.

    Args:
        before (`Callable` or `None`): Called in the new process first: to inject a fault.

    Returns:
        `int`: Its process id. The modules are loaded already, so that a fault soon meets training, not imports.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with open(f"{output}.txt", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        torch.set_num_threads(1)
        if before is not None:
            before()
        _record_batches(Path(f"{output}.{SEEN}"))
        arguments = Arguments(
            output_dir=str(output),
            max_train_steps=steps,
            save_every=save_every,
            validate_every=steps + 1,
            gradient_accumulation_steps=2,
            resume="latest" if resume else None,
            **SIZES,
            **EPISODES,
            **REST,
        )
        sys.argv = ["train_accelerate.py"]
        train_accelerate.parse_arguments = lambda _: (arguments, Polynomials(num_polynomials=500, validation_size=16))
        train_accelerate.main()
        code = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _record_batches(path: Path) -> None:
    """Append each batch's number and digest to a file: the order of the data."""
    make = reading.make_episode

    def recorded(signal, batch, sizes, seed, number, *rest):
        episode = make(signal, batch, sizes, seed, number, *rest)
        digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in episode.values())).hexdigest()
        with path.open("a") as file:
            file.write(json.dumps([number, digest]) + "\n")
        return episode

    reading.make_episode = recorded


def wait(pid: int) -> int:
    """The exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def losses(output: Path) -> list[dict]:
    """The journal of a training."""
    return read_journal(output / NAME) if (output / NAME).is_file() else []


def batches(output: Path) -> list[list]:
    """Number and digest of each batch that was seen, repeated ones once: a killed run sees some of them again.

    Raises:
        AssertionError: where a batch of the same number held something else the second time.
    """
    path = Path(f"{output}.{SEEN}")
    seen: dict[int, str] = {}
    for line in path.read_text().splitlines():
        try:
            number, digest = json.loads(line)
        except ValueError:  # cut short by the kill
            continue
        assert seen.setdefault(number, digest) == digest, f"batch {number} differs between two runs"
    return sorted(seen.items())


def weights(output: Path) -> dict[str, torch.Tensor]:
    """All tensors that a training ends with: weights, running average, exported model, moments."""
    state = find_state("latest", output)
    parts = {
        "weights": load_file(state / "model.safetensors"),
        "average": load_file(state / "average.safetensors"),
        "export": load_file(output / "export" / "model.safetensors"),
    }
    tensors = {f"{part}.{name}": value for part, held in parts.items() for name, value in held.items()}
    for file in sorted(state.glob("optimizer*.bin")):
        moments = torch.load(file, weights_only=True)["state"]
        for number, held in moments.items():
            tensors |= {f"{file.stem}.{number}.{name}": value for name, value in held.items() if torch.is_tensor(value)}
    return tensors


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two trainings, in words; empty where all is equal bit for bit."""
    found = []
    if losses(first) != losses(second):
        found.append("the sequence of losses")
    if batches(first) != batches(second):
        found.append("the order of the data")
    one, other = weights(first), weights(second)
    if one.keys() != other.keys():
        found.append("the names of the weights")
    found += [name for name in one if name in other and not torch.equal(one[name], other[name])]
    return found
