"""The file of an evaluation's report, and the digests by which a later call knows what still holds."""

import hashlib
import json
import os
from pathlib import Path

import torch

from evaluation import curves
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig


def config_digest(config: PixelTransformerConfig) -> str:
    """SHA-256 of all that a config says of a model's answers and of its evaluation: not of its card."""
    fields = {name: value for name, value in vars(config).items() if name in vars(PixelTransformerConfig())}
    fields["provenance"] = {"max_context": (config.provenance or {}).get("max_context")}
    for name in ("transformers_version", "_name_or_path", "dtype", "architectures"):
        fields.pop(name, None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights."""
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name}{tuple(weight.shape)}".encode() + weight.cpu().float().numpy().tobytes())
    return found.hexdigest()


def read_report(output: Path | None) -> dict:
    """The report that a file holds; empty where there is none."""
    if output is None or not output.exists():
        return {}
    try:
        return json.loads(output.read_text())
    except ValueError as error:
        raise ValueError(f"--output: expected a report to go on with, or no file, got {output}: {error}") from error


def write_report(report: dict, output: Path | None) -> None:
    """Write the report and the picture of its curves, whole or not at all: an interrupted call leaves the last one."""
    if output is None:
        return
    tables = [table for section in report["sections"].values() for table in section["tables"]]
    picture = output.with_name(f"{output.stem}-curves.png")
    report["curves"] = picture.name if curves.draw(tables, picture) else None
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    part.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(part, output)
