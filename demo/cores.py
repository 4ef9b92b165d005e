"""The machine's cores, shared by short answers and drawings, which are computed side by side."""

import os
import sys

import torch

SWITCH = 5e-4  # seconds for which one thread may keep the interpreter when others wait for it; Python's own are 5e-3


def share_cores() -> int:
    """Let every piece of work take half of the cores; returns how many these are.

    With all cores for each, the threads of two pieces wait for each other in every operation. Threads also take turns
    in the interpreter more often: a pass of a model is a thousand small operations, and after each it may have to wait
    for another thread that writes an answer as JSON.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    half = max(1, cores // 2)
    torch.set_num_threads(half)
    sys.setswitchinterval(SWITCH)
    return half
