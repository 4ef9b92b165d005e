"""The end of a training: the model with its card, in a folder that loads anywhere, and on the Hub."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from evaluation.against_context import markdown_table
from signals.base import Signal
from training.arguments import Arguments
from training.progress import Progress
from training.setup import command, machine
from training.states import replace_folder


def export(model, signal: Signal, arguments: Arguments, rows: list[dict], progress: Progress, count: int) -> Path:
    """Save the model with a card that says how it was made; the folder changes all at once.

    Args:
        rows (`list[dict]`): The last validation.
        count (`int`): Training rows.
    """
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
        "metrics": f"On {rows[0]['signals']:,} validation {signal.plural} "
        "(at positions not observed, 95 % intervals):\n\n" + markdown_table(rows, model.config)
        if rows
        else None,
        "max_context": arguments.max_context,
        "minutes": progress.seconds / 60,
    }
    model.save_pretrained(partial)
    (partial / "arguments.json").write_text(json.dumps(vars(arguments) | asdict(signal), indent=2) + "\n")
    replace_folder(partial, folder)
    return folder


def push(model, repository: str, folder: Path) -> None:
    """Upload the model.

    Raises:
        OSError: where that fails, with what remains.
    """
    try:
        print("pushed as", model.push_to_hub(repository))
    except Exception as error:  # libraries of the Hub raise kinds of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"--push_to_hub: cannot upload to {repository}: {reason}; the model is kept in {folder}"
        ) from error
