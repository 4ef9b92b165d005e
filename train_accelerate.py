"""Train a PixelTransformer: `accelerate launch train_accelerate.py --preset mnist`; `--help` explains every flag."""

import itertools
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from evaluation.against_context import marginals_against_context, markdown_table, one_line
from signals.base import Signal, to_device
from training.arguments import Arguments, parse_arguments
from training.batches import EpisodeBatches, EpisodeSampler, make_episode
from training.optimizers import make_ema, make_optimizers, schedule, set_learning_rate, set_peaks
from training.pictures import sample_sheet
from training.setup import command, machine, make_model


class Progress:
    """Optimiser steps and training seconds so far: what a training state must remember besides the tensors."""

    def __init__(self):
        self.step, self.seconds = 0, 0.0

    def state_dict(self) -> dict:
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict) -> None:
        self.step, self.seconds = state["step"], state["seconds"]

    def fraction(self, arguments: Arguments) -> float:
        """How much of the run is done, by steps or by the clock, whichever is further."""
        by_step = self.step / arguments.max_train_steps if arguments.max_train_steps else 0.0
        by_clock = self.seconds / (60 * arguments.max_train_minutes) if arguments.max_train_minutes else 0.0
        return max(by_step, by_clock)


def find_state(arguments: Arguments) -> Path:
    """The folder of the training state that `--resume` names."""
    if arguments.resume != "latest":
        folder = Path(arguments.resume)
        if not folder.is_dir():
            raise ValueError(f'--resume: expected "latest" or a folder, got {arguments.resume!r}, which is none')
        return folder
    states = list_states(arguments)
    if not states:
        raise ValueError(f"--resume: expected a training state in {arguments.output_dir}, found none")
    return states[-1]


def list_states(arguments: Arguments) -> list[Path]:
    """Folders of the training states in the output folder, oldest first."""
    folders = Path(arguments.output_dir).glob("state-*")
    return sorted((folder for folder in folders if folder.name[6:].isdigit()), key=lambda folder: int(folder.name[6:]))


def save_state(accelerator: Accelerator, arguments: Arguments, step: int) -> None:
    """Write a training state under another name first, so that a torn one never looks whole; drop the oldest."""
    final = Path(arguments.output_dir) / f"state-{step}"
    accelerator.save_state(str(final) + ".partial")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(final, ignore_errors=True)
        Path(str(final) + ".partial").rename(final)
        for old in list_states(arguments)[: -arguments.max_checkpoints]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def elapsed(accelerator: Accelerator, seconds: float) -> float:
    """The main process's seconds, on every process: all must agree on the learning rate and on when to stop."""
    if accelerator.num_processes == 1:
        return seconds
    return broadcast(torch.tensor(seconds, dtype=torch.float64, device=accelerator.device)).item()


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
    """Save the model with a card that tells how it came to be."""
    folder = Path(arguments.output_dir) / "export"
    name, dataset = signal.source()
    model.config.provenance = {
        "name": name,
        "dataset": dataset,
        "data": " ".join(filter(None, (signal.describe(count), arguments.data_note))),
        "training": f"```\n{command()}\n```\n\n"
        f"{progress.step:,} steps in {progress.seconds / 60:.0f} minutes on {machine()}.",
        "metrics": f"On {rows[0]['signals']:,} validation {signal.plural} (at places not observed, 95 % intervals):\n\n"
        + markdown_table(rows, model.config)
        if rows
        else None,
        "max_context": arguments.max_context,
    }
    model.save_pretrained(folder)
    (folder / "arguments.json").write_text(json.dumps(vars(arguments) | vars(signal), indent=2) + "\n")
    return folder


def train(arguments: Arguments, signal: Signal) -> Path | None:
    """Run the training that `arguments` describe on a kind of signal; returns the folder of the exported model."""
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=arguments.mixed_precision,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_dir=arguments.output_dir,
    )
    # Launchers leave one thread to each process on CPUs; the cores are shared out evenly instead.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    set_seed(arguments.seed)
    state = find_state(arguments) if arguments.resume is not None else None
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
    episodes = EpisodeSampler(
        seed=arguments.seed,
        max_context=arguments.max_context,
        buffer=arguments.buffer_size,
        queries=arguments.max_queries,
        token_budget=arguments.token_budget,
        num_cells=num_cells if arguments.continuous_probability < 1 else 0,
        zero_probability=arguments.zero_probability,
        block_probability=arguments.block_probability,
        long_buffer_probability=arguments.long_buffer_probability,
        continuous_probability=arguments.continuous_probability,
        grid=tuple(fields["native_grid"]),
        num_scales=model.config.num_scales,
        quantization_step=model.config.quantization_step,
        chain_probability=arguments.chain_probability,
        dab_probability=arguments.dab_probability,
    )
    if model.config.num_scales > 1:  # signals that have no such pyramid are told before the training starts
        signal.pyramid(signal.collate(validation.first(1)), model.config.num_scales)
    optimizers = make_optimizers(model, arguments)
    ema, progress = make_ema(model, arguments.ema_decay).to(accelerator.device), Progress()
    model, *optimizers = accelerator.prepare(model, *optimizers)
    accelerator.register_for_checkpointing(ema, progress)
    if state is not None:
        accelerator.load_state(str(state))
        set_peaks(optimizers, arguments)  # the flags of this run, not those of the one that is resumed
        accelerator.print(f"resumed at step {progress.step}")
    if accelerator.is_main_process and arguments.report_to != "none":
        accelerator.init_trackers("log", {k: v for k, v in vars(arguments).items() if isinstance(v, int | float | str)})

    accumulate = arguments.gradient_accumulation_steps
    batches = EpisodeBatches(
        len(training), episodes, accelerator.process_index, accelerator.num_processes, progress.step * accumulate
    )
    loader = iter(
        DataLoader(training, batch_sampler=batches, collate_fn=signal.collate, num_workers=arguments.num_workers)
    )
    held_out = validation.first(arguments.validation_images)
    numbers = itertools.count(progress.step * accumulate)
    bar = tqdm(total=arguments.max_train_steps, initial=progress.step, disable=not accelerator.is_main_process)
    rows: list[dict] = []
    model.train()
    while progress.fraction(arguments) < 1:
        started = time.perf_counter()
        set_learning_rate(optimizers, schedule(progress.fraction(arguments), arguments.warmup, arguments.decay))
        total = torch.zeros((), device=accelerator.device)
        for _ in range(accumulate):
            number = next(numbers)
            batch = to_device(next(loader), accelerator.device)
            episode = make_episode(
                signal, batch, episodes.sizes(number), arguments.seed, number, accelerator.process_index
            )
            with accelerator.accumulate(model):
                loss = model(**episode).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            total += loss.detach() / accumulate
        ema.update_parameters(accelerator.unwrap_model(model))
        progress.step += 1
        progress.seconds += elapsed(accelerator, time.perf_counter() - started)
        bar.update()
        if progress.step % 20 == 0:
            factor = schedule(progress.fraction(arguments), arguments.warmup, arguments.decay)
            accelerator.log({"train/nats_per_value": total.item(), "train/rate": factor}, step=progress.step)
            bar.set_postfix(nats=f"{total.item():.3f}", done=f"{progress.fraction(arguments):.0%}")
        if progress.step % arguments.save_every == 0:
            save_state(accelerator, arguments, progress.step)
        if progress.step % arguments.validate_every == 0 and accelerator.is_main_process:
            rows = validate(accelerator, ema.module, signal, held_out, arguments, progress.step)
            bar.write(f"step {progress.step}, {progress.seconds / 60:.1f} min: {one_line(rows, ema.module.config)}")
    bar.close()
    save_state(accelerator, arguments, progress.step)
    folder = None
    if accelerator.is_main_process:
        rows = validate(accelerator, ema.module, signal, held_out, arguments, progress.step)
        folder = export(ema.module, signal, arguments, rows, progress, len(training))
        print(markdown_table(rows, ema.module.config))
        print(f"exported to {folder}")
        if arguments.push_to_hub:
            print("pushed as", ema.module.push_to_hub(arguments.hub_model_id))
    accelerator.end_training()
    return folder


if __name__ == "__main__":
    try:
        train(*parse_arguments(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"train_accelerate.py: {error}")
