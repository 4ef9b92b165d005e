"""Train a PixelTransformer: `accelerate launch train_accelerate.py --preset mnist`; `--help` explains every flag."""

import itertools
import json
import math
import os
import shutil
import signal as signals
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from evaluation.against_context import marginals_against_context, markdown_table, one_line
from signals.base import Signal, to_device
from training.arguments import Arguments, parse_arguments
from training.batches import EpisodeBatches, make_episode
from training.calibration import fit_scales, split_components
from training.compiling import compiled_layers
from training.interruption import Interruption, StoppedError, ignore_interrupts
from training.journal import Journal
from training.losses import weighted_loss
from training.optimizers import (
    apply_gradients,
    make_ema,
    make_optimizers,
    prepare_sharding,
    schedule,
    set_learning_rate,
    set_peaks,
    update_ema,
)
from training.pictures import sample_sheet
from training.precision import choose_precision
from training.setup import command, machine, make_model, make_sampler, num_cores
from training.states import check_output, find_state, load_state, replace_folder, save_state

MAX_SKIPPED = 20  # steps in a row without a finite loss: the training has gone wrong, not a batch


class Progress:
    """Optimiser steps, those left out, and training seconds so far: what a state must remember besides the tensors."""

    def __init__(self):
        self.step, self.skipped, self.seconds = 0, 0, 0.0

    def state_dict(self) -> dict:
        return vars(self).copy()

    def load_state_dict(self, state: dict) -> None:
        self.step, self.skipped, self.seconds = state["step"], state["skipped"], state["seconds"]

    def fraction(self, arguments: Arguments) -> float:
        """How much of the run is done, by steps or by the clock, whichever is further."""
        by_step = self.step / arguments.max_train_steps if arguments.max_train_steps else 0.0
        by_clock = self.seconds / (60 * arguments.max_train_minutes) if arguments.max_train_minutes else 0.0
        return max(by_step, by_clock)


class Stopwatch:
    """Seconds of training since the last look, without those in which it is held."""

    def __init__(self):
        self.started, self.held = time.perf_counter(), 0.0

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self.started, self.held = now - self.started - self.held, now, 0.0
        return seconds

    def hold(self, since: float) -> None:
        """Leave out the time since `since` (of `time.perf_counter`)."""
        self.held += time.perf_counter() - since


def end(accelerator: Accelerator) -> None:
    """Close the trackers and the process group, once no collective is under way.

    A gloo group, when it is dropped, waits for its threads while it holds the interpreter's lock; a thread that still
    has to drop the tensor of the last collective waits for that lock. A moment after all have met, none has.
    """
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()
        time.sleep(0.5)
    accelerator.end_training()


def average(accelerator: Accelerator, *numbers: float) -> list[float]:
    """Means over all processes, who must agree on the loss, the learning rate and when to stop."""
    if accelerator.num_processes == 1:
        return [float(number) for number in numbers]
    together = torch.tensor(numbers, dtype=torch.float64, device=accelerator.device)
    return accelerator.reduce(together, "mean").tolist()


def validate(
    accelerator: Accelerator, model, signal: Signal, rows: list, arguments: Arguments, step: int
) -> list[dict]:
    """NLL and RMSE against K on held-out signals, logged together with a picture of means and samples."""
    model.eval()
    scores = marginals_against_context(model, signal, rows, arguments.validation_contexts)
    logged = {f"validation/nats_K{row['context']}": row["nats"] for row in scores}
    logged |= {f"validation/rmse_K{row['context']}": row["rmse"] for row in scores}
    accelerator.log(logged, step=step)
    native = [row for row in rows if signal.is_native(row, model.config.native_grid)][:8]
    if not native:  # of many sizes, none is the first training signal's
        return scores
    picture = sample_sheet(model, signal, signal.collate(native), arguments.validation_contexts)
    folder = Path(arguments.output_dir) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / f"step-{step:07d}.png")
    image = {"validation/mean and sample": np.asarray(picture.convert("RGB"))[None]}  # (1, y, x, 3)
    for tracker in accelerator.trackers:
        if hasattr(tracker, "log_images"):
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images(image, step=step, **layout)
    return scores


def export(model, signal: Signal, arguments: Arguments, rows: list[dict], progress: Progress, count: int) -> Path:
    """Save the model with a card that tells how it came to be; the folder changes all at once."""
    folder = Path(arguments.output_dir) / "export"
    partial = folder.with_name("export.partial")
    shutil.rmtree(partial, ignore_errors=True)
    name, dataset = signal.source()
    model.config.provenance = {
        "name": name,
        "dataset": dataset,
        "data": " ".join(filter(None, (signal.describe(count), arguments.data_note))),
        "training": f"```\n{command()}\n```\n\n"
        f"{progress.step:,} steps in {progress.seconds / 60:.0f} minutes on {machine()}."
        + (f" {progress.skipped} steps were left out, as their loss was not finite." if progress.skipped else ""),
        "metrics": f"On {rows[0]['signals']:,} validation {signal.plural} (at places not observed, 95 % intervals):\n\n"
        + markdown_table(rows, model.config)
        if rows
        else None,
        "max_context": arguments.max_context,
    }
    model.save_pretrained(partial)
    (partial / "arguments.json").write_text(json.dumps(vars(arguments) | asdict(signal), indent=2) + "\n")
    replace_folder(partial, folder)
    return folder


def train(arguments: Arguments, signal: Signal) -> Path | None:
    """Run the training that `arguments` describe on a kind of signal; returns the folder of the exported model.

    Raises:
        ValueError, OSError: naming the flag, and what to do.
        FloatingPointError: where step after step has no finite loss.
        StoppedError: after SIGINT or SIGTERM, its state saved.
    """
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    accelerator = Accelerator(
        cpu=device_type == "cpu",
        mixed_precision=choose_precision(arguments.mixed_precision, device_type),
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_dir=arguments.output_dir,
    )
    prepare_sharding(accelerator, arguments)
    # Launchers leave one thread to each process on CPUs; the cores are shared out evenly instead.
    torch.set_num_threads(max(1, num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    set_seed(arguments.seed)
    if accelerator.is_main_process:
        check_output(arguments.output_dir)
    state = None
    if arguments.resume is not None:
        state = find_state(arguments.resume, arguments.output_dir, accelerator.print)
    with accelerator.main_process_first():
        training, validation = signal.load(arguments.seed)
    fields = signal.config_fields(training)
    num_cells = signal.num_cells(fields)
    if num_cells and max(arguments.validation_contexts, default=0) >= num_cells:
        raise ValueError(
            f"--validation_contexts: expected numbers below the {num_cells} cells of {signal.plural}, "
            f"got {max(arguments.validation_contexts)}"
        )
    model = make_model(arguments, signal, training)
    episodes = make_sampler(arguments, signal, model.config)
    if model.config.num_scales > 1:  # signals that have no such pyramid are told before the training starts
        signal.pyramid(signal.collate(validation.first(1)), model.config.num_scales)
        # Steps without scales leave their embeddings alone.
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    optimizers = make_optimizers(model, arguments)
    ema, progress = make_ema(model, arguments.ema_decay).to(accelerator.device), Progress()
    model, *optimizers = accelerator.prepare(model, *optimizers)
    stream = getattr(signal, "stream", None)
    if stream is not None:
        if arguments.num_workers:
            raise ValueError(
                "--num_workers: expected 0 with --streaming, as the training process itself keeps its place in it, "
                f"got {arguments.num_workers}"
            )
        stream.split(accelerator.process_index, accelerator.num_processes)
        training.left = 0  # bytes of rows to keep: a stream's do not come again soon
    if state is not None:
        load_state(accelerator, state, ema, progress, stream)
        set_peaks(optimizers, arguments)  # the flags of this run, not those of the one that is resumed
        accelerator.print(f"resumed at step {progress.step} from {state}")
    if accelerator.is_main_process and arguments.report_to != "none":
        accelerator.init_trackers("log", {k: v for k, v in vars(arguments).items() if isinstance(v, int | float | str)})
    journal = Journal(Path(arguments.output_dir) if accelerator.is_main_process else None, progress.step)

    accumulate, rank, world = (
        arguments.gradient_accumulation_steps,
        accelerator.process_index,
        accelerator.num_processes,
    )
    first = progress.step * accumulate * world  # number of the next batch
    loader = iter(
        DataLoader(
            training,
            batch_sampler=EpisodeBatches(None if stream is not None else len(training), episodes, rank, world, first),
            collate_fn=signal.collate,
            num_workers=arguments.num_workers,
            worker_init_fn=ignore_interrupts,
        )
    )
    numbers = itertools.count(first + rank, world)

    def next_episode() -> dict:
        number = next(numbers)
        batch = to_device(next(loader), accelerator.device)
        return make_episode(signal, batch, episodes.sizes(number), arguments.seed, number)

    held_out = validation.first(arguments.validation_images)
    bar = tqdm(total=arguments.max_train_steps, initial=progress.step, disable=not accelerator.is_main_process)
    rows: list[dict] = []
    in_a_row, clock = 0, Stopwatch()
    model.train()
    layers = compiled_layers() if arguments.compile else nullcontext()
    with Interruption() as interruption, layers, bar:  # which is closed before a failure is told
        while progress.fraction(arguments) < 1:
            factor = schedule(progress.fraction(arguments), arguments.warmup, arguments.decay)
            set_learning_rate(optimizers, factor)
            total = torch.zeros((), device=accelerator.device)
            for _ in range(accumulate):
                episode = next_episode()
                with accelerator.accumulate(model):
                    output = model(**episode)
                    accelerator.backward(weighted_loss(output, episode, arguments.beta))
                total += output.loss.detach() / accumulate
            norm = accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)  # of all, on all processes
            norm = 0.0 if norm is None else float(norm)
            nats, seconds, stop = average(accelerator, total.item(), clock.lap(), bool(interruption.number))
            applied = apply_gradients(accelerator, optimizers, math.isfinite(nats) and math.isfinite(norm))
            progress.step += 1
            progress.seconds += seconds
            journal.write(progress.step, nats, factor, skipped=not applied)
            if applied:
                update_ema(ema, accelerator.unwrap_model(model))
                in_a_row = 0
            else:
                progress.skipped, in_a_row = progress.skipped + 1, in_a_row + 1
                if accelerator.is_main_process:
                    bar.write(
                        f"step {progress.step}: loss {nats:g}, gradient norm {norm:g}: left out, the weights stay"
                    )
                if in_a_row == MAX_SKIPPED:
                    raise FloatingPointError(
                        f"no finite loss in the {MAX_SKIPPED} steps before {progress.step}: look for NaN or infinity "
                        "in the data, or take --resume latest with a lower --learning_rate and --adam_learning_rate, "
                        "or --mixed_precision no"
                    )
            bar.update()
            if progress.step % 20 == 0:
                logged = {"nats_per_value": nats, "rate": factor, "skipped": progress.skipped}
                accelerator.log({f"train/{name}": value for name, value in logged.items()}, step=progress.step)
                bar.set_postfix(nats=f"{nats:.3f}", done=f"{progress.fraction(arguments):.0%}")
            now = time.perf_counter()
            if progress.step % arguments.save_every == 0 or stop or progress.fraction(arguments) >= 1:
                state = save_state(accelerator, arguments.output_dir, ema, progress, arguments.max_checkpoints, stream)
            if stop:
                end(accelerator)
                number = interruption.number or signals.SIGTERM  # which may have come to another process alone
                raise StoppedError(f"stopped; {state} holds all of it, --resume latest goes on", number)
            if progress.step % arguments.validate_every == 0 and accelerator.is_main_process:
                rows = validate(accelerator, ema.module, signal, held_out, arguments, progress.step)
                bar.write(f"step {progress.step}, {progress.seconds / 60:.1f} min: {one_line(rows, ema.module.config)}")
            clock.hold(since=now)
    journal.close()
    count = round(average(accelerator, len(training))[0] * world) if stream is not None else len(training)
    folder = None
    if accelerator.is_main_process:
        if arguments.calibration_steps:
            bar.write(f"fitting scales in {arguments.calibration_steps} steps")
            split_components(ema.module, arguments.calibration_components)
            fit_scales(ema.module, iter(next_episode, None), arguments.calibration_steps, accelerator.autocast)
            progress.seconds += clock.lap()
        rows = validate(accelerator, ema.module, signal, held_out, arguments, progress.step)
        folder = export(ema.module, signal, arguments, rows, progress, count)
        print(markdown_table(rows, ema.module.config))
        print(f"exported to {folder}")
        if arguments.push_to_hub:
            print("pushed as", ema.module.push_to_hub(arguments.hub_model_id))
    end(accelerator)
    return folder


def main() -> None:
    """Train as the command line says; a failure is one line on stderr and an exit code that is not 0."""
    try:
        train(*parse_arguments(sys.argv[1:]))
    except StoppedError as stopped:
        print(f"train_accelerate.py: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("train_accelerate.py: interrupted outside of training steps; nothing was saved since", file=sys.stderr)
        sys.exit(130)
    except torch.OutOfMemoryError as error:
        sys.exit(f"train_accelerate.py: out of memory; lower --token_budget, or the network's sizes ({error})")
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"train_accelerate.py: {error}")


if __name__ == "__main__":
    main()
