"""How everything here is measured: interleaved runs, medians, peak memory in a process of its own, results as JSON."""

import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

FOLDER = Path("docs/performance")


def interleaved(runs: dict[Any, Callable[[], Any]], repeats: int, warm_up: bool = True) -> dict[Any, list[float]]:
    """Seconds of each run, `repeats` times in turn, so that what else the machine does hits all of them alike."""
    if warm_up:
        for run in runs.values():
            run()
    seconds: dict[Any, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median(seconds: list[float]) -> float:
    """Median, to four significant digits."""
    return float(f"{statistics.median(seconds):.4g}")


def peak_memory() -> float:
    """The most memory that this process has held so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` tells includes the parent's size when the process was made
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """What a function of a module returns, called in a process of its own, whose peak memory is thus its own.

    Raises:
        RuntimeError: where the process ends without a result (killed for memory, say).
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, torch.get_num_threads(), function, arguments))
    process.start()
    sender.close()
    try:
        ok, result = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__name__}{arguments}: the process ended with {process.exitcode}") from None
    process.join()
    if not ok:
        raise RuntimeError(f"{function.__name__}{arguments}: {result}")
    return result


def _call(sender, threads: int, function: Callable, arguments: tuple) -> None:
    torch.set_num_threads(threads)
    try:
        sender.send((True, function(*arguments)))
    except Exception as error:  # told to the caller, who raises it
        sender.send((False, f"{type(error).__name__}: {error}"))


def machine() -> str:
    """Hardware and versions that the numbers depend on."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__.split('+')[0]}"
    name = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), name)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of {name}, torch {torch.__version__.split('+')[0]}"


def write(name: str, results: dict, command: str) -> Path:
    """Results as docs/performance/`name`.json, with the machine and the command that makes them again."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "command": command, **results}, indent=1) + "\n")
    return path
