"""The end of a training: a model with its card in a folder that loads anywhere.

`python -m baselines.field.export` writes the shipped models in checkpoints/field anew, with the current code and cards:
run it after each change of baselines/autoregressive.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from huggingface_hub import HfApi, ModelCard, ModelCardData
from safetensors.torch import load_file, save_file

from baselines.autoregressive import MODELS
from baselines.autoregressive.base import AutoregressiveModel
from baselines.field.arguments import FieldArguments
from signals.base import Signal
from training.progress import Progress
from training.setup import machine
from training.states import replace_folder

LARGEST = 2**20  # bytes of weights of a model that is shipped

CARD = """---
{metadata}
---

# {name}

{paper}

An autoregressive model for comparison with PixelTransformer, small, trained in minutes. Grid: {grid}; channels:
{channels}; values: {levels}. Parameters: {parameters:,}, stored as bfloat16.

## How to use

```python
import torch
from transformers import AutoModel

model = AutoModel.from_pretrained("{folder}", trust_remote_code=True).eval()
positions = model.native_positions()  # (1, {cells}, {position_dim}), in [-1, 1]
nothing = positions[:, :0], torch.zeros(1, 0, {channels})
print(model.refusal("sample", positions[:, 5:9]))  # why it cannot answer a context, or None
samples = model.sample(*nothing, positions, num_samples=2)  # (2, 1, {cells}, {channels})
```

## Training data

{data}

## Training

{training}

## Metrics

{metrics}
"""


def export(
    model: AutoregressiveModel,
    signal: Signal,
    arguments: FieldArguments,
    rows: list[dict],
    progress: Progress,
    command: str,
) -> Path:
    """Save the model with a card that says how it was made; the folder changes all at once."""
    folder = Path(arguments.output_dir) / "export"
    partial = folder.with_name("export.partial")
    shutil.rmtree(partial, ignore_errors=True)
    minutes = progress.seconds / 60
    note = " ".join(filter(None, (signal.describe(len_of(rows)), arguments.data_note)))
    steps = f"{progress.step:,} steps in {minutes:.1f} minutes" if progress.step else "Counted, not trained,"
    model.config.provenance = {
        "model": arguments.model,
        "data": note,
        "minutes": minutes,
        "training": f"```\n{command}\n```\n\n{steps} on {machine()}.",
        "metrics": "".join(
            f"{row['nats']:.2f} nats, {row['bits']:.4f} bits per dimension on {row['signals']:,} validation signals."
            for row in rows
        ),
    }
    save(model, partial)
    (partial / "README.md").write_text(card(model, folder))
    (partial / "arguments.json").write_text(json.dumps(vars(arguments) | asdict(signal), indent=2) + "\n")
    replace_folder(partial, folder)
    return folder


def len_of(rows: list[dict]) -> int:
    """Training rows, which the validation's row carries."""
    return rows[0].get("training", 0) if rows else 0


def save(model: AutoregressiveModel, folder: Path) -> None:
    """Config, code and weights; these become bfloat16 and load as float32."""
    type(model).register_for_auto_class("AutoModel")
    type(model.config).register_for_auto_class("AutoConfig")
    model.config.dtype = "float32"
    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    weights = {name: weight.to(torch.bfloat16) for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def publish(source: Path, target: Path) -> None:
    """Write an exported model to `target`, below checkpoints/, with the current code and a card that names it there.

    Raises:
        ValueError: where the weights take more than 1 MiB.
    """
    size = (source / "model.safetensors").stat().st_size
    if size > LARGEST:
        raise ValueError(f"{source}: expected at most {LARGEST:,} bytes of weights, got {size:,}")
    name = json.loads((source / "config.json").read_text())["provenance"]["model"]
    model = MODELS[name].model.from_pretrained(source)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save(model, partial)
    (partial / "README.md").write_text(card(model, target))
    replace_folder(partial, target)


def push(repository: str, folder: Path) -> None:
    """Upload an exported model, its card and its code.

    Raises:
        OSError: where that fails, with what remains.
    """
    try:
        api = HfApi()
        name = api.create_repo(repository, exist_ok=True).repo_id
        print(
            "pushed as", api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload model").commit_url
        )
    except Exception as error:  # the Hub's library raises kinds of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"--push_to_hub: cannot upload to {repository}: {reason}; the model is kept in {folder}"
        ) from error


def card(model: AutoregressiveModel, folder: Path) -> str:
    """The model card, from the config."""
    config, made = model.config, model.config.provenance
    levels = "real" if config.num_levels is None else f"{config.num_levels} levels in [0, 1]"
    module = __import__(type(model).__module__, fromlist=["__doc__"])
    text = CARD.format(
        metadata=ModelCardData(license="apache-2.0", library_name="transformers", tags=["autoregressive"]).to_yaml(),
        name=made["model"],
        paper=(module.__doc__ or "").strip(),
        grid="×".join(map(str, config.native_grid)),
        channels=config.value_dim,
        levels=levels,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        folder=folder.as_posix() if not folder.is_absolute() else folder.name,
        cells=config.num_cells,
        position_dim=config.position_dim,
        **{key: made[key] or "Not recorded." for key in ("data", "training", "metrics")},
    )
    return str(ModelCard(text))


if __name__ == "__main__":
    argparse.ArgumentParser("python -m baselines.field.export", description=__doc__).parse_args()
    for config in sorted(Path("checkpoints/field").glob("*/config.json")):
        publish(config.parent, config.parent)
