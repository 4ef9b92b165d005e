"""Several processes that train one model: how they start, what they agree on, and how they wait for the main one."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import distributed

from training.arguments import Arguments
from training.optimizers import prepare_sharding
from training.precision import choose_precision
from training.setup import num_cores

FOREVER = timedelta(days=365)
LAUNCHED_STEPS = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"  # what `accelerate launch` sets from a flag of the same name


def make_accelerator(arguments: Arguments) -> Accelerator:
    """The accelerator of this process, with its threads and seeds set.

    Raises:
        ValueError: for flags that contradict the launcher's, or that sharding cannot do.
    """
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    precision = choose_precision(arguments.mixed_precision, device_type, os.environ.get("ACCELERATE_MIXED_PRECISION"))
    if precision == "fp16" and arguments.optimizer == "muon":
        raise ValueError(
            "mixed_precision: expected no, bf16 or --optimizer adamw from the launcher (two optimisers cannot share a "
            "gradient scaler), got fp16"
        )
    accelerator = Accelerator(
        cpu=device_type == "cpu",
        mixed_precision=precision,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_dir=arguments.output_dir,
    )
    # An accelerator takes the launcher's number over the one that it is given.
    launched = int(os.environ.get(LAUNCHED_STEPS) or 1)
    accelerator.gradient_accumulation_steps = accumulation_steps(arguments.gradient_accumulation_steps, launched)
    prepare_sharding(accelerator, arguments)
    # Launchers leave one thread to each process on CPUs; the cores are shared out evenly instead.
    torch.set_num_threads(max(1, num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)))
    set_seed(arguments.seed)
    return accelerator


def accumulation_steps(wanted: int, launched: int) -> int:
    """Batches per optimiser step, where training and launcher may each name a number; 1 is what both take by default.

    Raises:
        ValueError: where the two differ.
    """
    if 1 not in (wanted, launched) and wanted != launched:
        raise ValueError(f"--gradient_accumulation_steps: expected {launched}, as the launcher has, got {wanted}")
    return max(wanted, launched)


class Patience:
    """Lets all processes wait for the main one for as long as it takes.

    The collectives of training have a time limit, after which a process counts as dead. A long validation must not run
    into it, so that these waits belong to a group of their own.
    """

    def __init__(self, accelerator: Accelerator):
        self.main = accelerator.is_main_process
        several = distributed.is_available() and distributed.is_initialized() and accelerator.num_processes > 1
        self.group = distributed.new_group(backend="gloo", timeout=FOREVER) if several else None

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.group is not None:
            distributed.barrier(group=self.group)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What the main process does before all others, which then find it prepared."""
        if not self.main:
            self.meet()
        yield
        if self.main:
            self.meet()


def average(accelerator: Accelerator, *numbers: float) -> list[float]:
    """Means over all processes, who must agree on the loss, the learning rate and when to stop."""
    if accelerator.num_processes == 1:
        return [float(number) for number in numbers]
    together = torch.tensor(numbers, dtype=torch.float64, device=accelerator.device)
    return accelerator.reduce(together, "mean").tolist()


def end(accelerator: Accelerator) -> None:
    """Close the trackers and the process group, once no collective is under way.

    A gloo group, when it is dropped, waits for its threads while it holds the interpreter's lock; a thread that still
    has to drop the tensor of the last collective waits for that lock. A moment after all have met, none has.
    """
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()
        time.sleep(0.5)
    accelerator.end_training()
