"""Put an exported model into `checkpoints/`: `python -m training.publish runs/mnist/export checkpoints/mnist`.

Weights become float16 (half the size; they load as float32) unless `--dtype` says otherwise, code files become copies
of the package's. `--metrics` takes the JSON that `evaluate.py` wrote and replaces the card's
validation figures by it. `picture.png` and `new.png`, or GIFs, in the folder are shown in the card (see
`evaluation.figure`, and its `--new`).

`python -m training.publish --code` copies the package's code into every folder of `checkpoints/` and writes the image
processors of those for images: run it after each change of `pixeltransformer/`.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from evaluation.against_context import markdown_table, quality_table
from pixeltransformer.card import model_card
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.hub import is_of_images
from pixeltransformer.image_processing_pixeltransformer import PixelTransformerImageProcessor
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from pixeltransformer.pixel_completion import CUSTOM_PIPELINES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pixeltransformer"
CAPTIONS = {
    "picture": "What it infers on held-out signals",
    "new": "New signals, drawn with nothing observed, at a temperature below 1",
}


def publish(source: Path, target: Path, dtype: torch.dtype = torch.float16) -> None:
    """Copy the model in `source` to `target`, as the module says."""
    if not (source / "model.safetensors").is_file():
        raise ValueError(f"source: expected a folder with an exported model, got {source}")
    if not target.resolve().is_relative_to(ROOT):
        raise ValueError(f"target: expected a folder below {ROOT.name}/, whose path its card names, got {target}")
    target.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    # Bin centres are data, and frequencies make angles: both need their digits, and are small.
    exact = ("bin_centers", "frequencies")
    small = {name: w if name.endswith(exact) else w.to(dtype) for name, w in weights.items()}
    save_file(small, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config = {PixelTransformerConfig.attribute_map.get(name, name): value for name, value in config.items()}
    config["dtype"] = "float32"
    write_config(target, config)
    copy_code(target)
    write_processor(target)
    write_card(target)


def copy_code(folder: Path) -> None:
    """Replace the Python files in a checkpoint's folder by the package's modules, which is all that the Hub needs."""
    for old in folder.glob("*.py"):
        old.unlink()
    for module in PACKAGE.glob("*.py"):
        if module.name != "__init__.py":
            shutil.copyfile(module, folder / module.name)


def write_config(folder: Path, config: dict) -> None:
    """Write a checkpoint's config."""
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_processor(folder: Path) -> None:
    """Write what lets a checkpoint for images take pictures: its image processor, and the config's pipeline."""
    config = PixelTransformerConfig.from_pretrained(folder)
    if is_of_images(config):
        PixelTransformerImageProcessor.of(config).save_pretrained(folder)
        write_config(folder, json.loads((folder / "config.json").read_text()) | {"custom_pipelines": CUSTOM_PIPELINES})


def write_card(folder: Path, metrics: Path | None = None) -> None:
    """Write a new card for a published checkpoint, with the figures of an evaluation if given."""
    config = PixelTransformerConfig.from_pretrained(folder)
    if metrics is not None:
        report = json.loads(metrics.read_text())
        raw = json.loads((folder / "config.json").read_text())
        raw["provenance"]["metrics"] = (
            f"On {report['signals']:,} {report['plural']} of split `{report['split']}`, at positions not observed, "
            f"95 % intervals over {report['plural']}:\n\n{markdown_table(report['rows'], config)}\n\n"
            + (
                f"{report['completed']:,} whole {report['plural']} completed:\n\n{quality_table(report['quality'])}\n\n"
                if len((report["quality"] or [{}])[0]) > 1
                else ""
            )
            + f"```\n{report['command']}\n```"
        )
        write_config(folder, raw)
        config = PixelTransformerConfig.from_pretrained(folder)
    model = PixelTransformerModel.from_pretrained(folder)
    name = folder.resolve().relative_to(ROOT).as_posix()
    found = {part: next((path.name for path in sorted(folder.glob(f"{part}.*"))), None) for part in CAPTIONS}
    pictures = {CAPTIONS[part]: picture for part, picture in found.items() if picture is not None}
    model_card(config, sum(p.numel() for p in model.parameters()), name, pictures).save(folder / "README.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source", type=Path, nargs="?", help="folder of an exported model, or the checkpoint itself with --metrics"
    )
    parser.add_argument("target", type=Path, nargs="?", help="folder below checkpoints/")
    parser.add_argument(
        "--code", action="store_true", help="only copy the package's code into every folder of checkpoints/"
    )
    parser.add_argument(
        "--dtype", choices=["float16", "float32"], default="float16", help="of the weights (default: %(default)s)"
    )
    parser.add_argument("--metrics", type=Path, help="JSON report of evaluate.py for the card")
    arguments = parser.parse_args()
    if [arguments.source, arguments.target].count(None) != (2 if arguments.code else 0):
        parser.error("expected either a source and a target, or --code alone")
    try:
        if arguments.code:
            for config in (ROOT / "checkpoints").glob("*/config.json"):
                copy_code(config.parent)
                write_processor(config.parent)
            return
        if arguments.source.resolve() != arguments.target.resolve():
            publish(arguments.source, arguments.target, getattr(torch, arguments.dtype))
        write_card(arguments.target, arguments.metrics)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
