"""Evaluate a checkpoint on held-out signals: `python evaluate.py --checkpoint checkpoints/mnist --dataset_name ...`.

Prints tables in Markdown and, with `--output`, writes them as JSON, after each section, and figures beside it. A second
call goes on where the first one stopped. `python -m evaluation.report` makes documents of such reports.
"""

import hashlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import torch
from transformers import HfArgumentParser

from evaluation import buffer, curves, generalisation, joint, likelihood, patterns, references, samples
from evaluation.against_context import quality_table
from evaluation.job import Job, Section
from evaluation.quality import quality_against_context
from evaluation.report import NAMES, section_markdown
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals import Signal, find
from signals.base import flag, flags


@dataclass
class Arguments:
    """Evaluate a checkpoint on held-out signals."""

    checkpoint: str = flag("Checkpoint folder or Hub id.")
    kind: str | None = flag("Kind of signal, or a Python file that defines it; default: the checkpoint's.")
    sections: list[str] = flags(f"What to measure, of {', '.join(NAMES)}; default: all (quality: with --quality).", [])
    split: str = flag("Split to evaluate on.", "test")
    contexts: list[int] | None = flag(
        "Numbers K of observed positions; default: the kind's own. Section samples always takes those."
    )
    queries: int = flag("Unobserved positions scored for each signal and K.", 128)
    quality: list[int] = flags("Numbers K for which whole signals are completed and judged (SSIM, PSNR, IoU).", [])
    quality_limit: int | None = flag("Signals completed for --quality; default: all that likelihoods are measured on.")
    classifier: str | None = flag("File of `evaluation.classifier`, to ask whether samples of images are recognised.")
    limit: int | None = flag(
        "Signals that likelihoods are averaged over (default: some hundreds), and at most so many in other sections; "
        "4 for a quick look."
    )
    seed: int = flag("Seed of all positions, orders and samples.", 0)
    output: str | None = flag("JSON file for the report; sections that it holds with the same settings are kept.")
    redo: bool = flag("Measure sections again that --output holds already.", False)

    def __post_init__(self):
        for name in ("queries", "limit", "quality_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name}: expected a number above 0, got {value}")
        for name in ("contexts", "quality"):
            if min(getattr(self, name) or [], default=0) < 0:
                raise ValueError(f"--{name}: expected numbers of at least 0, got {getattr(self, name)}")
        if self.contexts == []:
            raise ValueError("--contexts: expected at least one number, got none")
        unknown = [name for name in self.sections if name not in NAMES]
        if unknown:
            raise ValueError(f"--sections: expected some of {', '.join(NAMES)}, got {', '.join(unknown)}")
        if self.output is not None and Path(self.output).suffix != ".json":
            raise ValueError(f"--output: expected a file ending in .json, got {self.output!r}")


def evaluate(arguments: Arguments, signal: Signal, flags_given: list[str] | None = None) -> dict:
    """The report that `--output` holds: `sections` by name and, for the model card, the numbers of some of them.

    Args:
        flags_given (`list[str]` or `None`): The command line, for the commands that the report shows.
    """
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    output = None if arguments.output is None else Path(arguments.output)
    job = Job(
        model,
        signal,
        arguments.split,
        arguments.limit,
        arguments.contexts,
        arguments.queries,
        arguments.seed,
        output,
        arguments.classifier,
        progress=sys.stderr.isatty(),
    )
    report = {
        "name": Path(arguments.checkpoint).name,
        "checkpoint": arguments.checkpoint,
        "kind": model.config.signal,
        "quantised": model.config.quantization_step is not None,
        "weights": digest(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": f"{torch.get_num_threads()} CPU core(s) ({platform.machine()}), torch {torch.__version__}"
        if model.device.type == "cpu"
        else torch.cuda.get_device_name(),
        "command": "python " + shlex.join(["evaluate.py", *(flags_given or [])]),
        "split": arguments.split,
        "plural": signal.plural,
        "sections": {},
        "signals": 0,
        "rows": [],
        "completed": 0,
        "quality": [],
    }
    settings = {
        "arguments": fingerprint(arguments, signal),
        "weights": report["weights"],
        "config": config_digest(model.config),
    }
    # Sections of these weights stay as they are, those not asked for even where they were measured with other settings.
    held = {
        name: section
        for name, section in read_report(output).get("sections", {}).items()
        if section["settings"]["weights"] == report["weights"]
    }
    done = dict(held)
    for name in NAMES:
        if name not in (arguments.sections or NAMES) or (name == "quality" and not arguments.quality):
            continue
        if arguments.redo or name not in held or held[name]["settings"] != settings:
            started = time.process_time()
            section, numbers = SECTIONS[name](job, arguments)
            done[name] = asdict(section) | {
                "flags": [*kept_flags(flags_given or []), *section.flags],
                "numbers": numbers,
                "settings": settings,
                "cpu_seconds": time.process_time() - started,
            }
        print(f"## {NAMES[name]}\n\n{section_markdown(done[name])}\n", flush=True)
        report["sections"] = {key: done[key] for key in NAMES if key in done}
        for section in report["sections"].values():
            report |= section["numbers"]
        write_report(report, output)
    return report


def measure_likelihood(job: Job, arguments: Arguments) -> tuple[Section, dict]:
    rows, signals = likelihood.rows_against_context(job)
    return likelihood.section(rows, signals, job), {"rows": rows, "signals": signals}


def measure_quality(job: Job, arguments: Arguments) -> tuple[Section, dict]:
    """Completed signals for the K of `--quality`, without samples."""
    rows = job.signal.load_split(job.split, job.config, job.limit or likelihood.SIGNALS.get(job.config.signal, 200))
    rows = rows.first(arguments.quality_limit or len(rows))
    found = quality_against_context(
        job.model, job.signal, rows, arguments.quality, seed=job.seed, progress=job.progress
    )
    found = [{"context": k, **row} for k, row in zip(arguments.quality, found, strict=True)]
    text = f"{len(rows):,} whole {job.signal.plural} completed by the mean."
    if len(found[0]) > 1:
        text += "\n\n" + quality_table(found)
    return Section(text), {"quality": found, "completed": len(rows)}


SECTIONS: dict[str, Callable[[Job, Arguments], tuple[Section, dict]]] = {
    "likelihood": measure_likelihood,
    "patterns": lambda job, _: (patterns.section(job), {}),
    "joint": lambda job, _: (joint.section(job), {}),
    "samples": lambda job, _: (samples.section(job), {}),
    "references": lambda job, _: (references.section(job), {}),
    "buffer": lambda job, _: (buffer.section(job), {}),
    "generalisation": lambda job, _: (generalisation.section(job), {}),
    "quality": measure_quality,
}


def fingerprint(arguments: Arguments, signal: Signal) -> dict:
    """What decides a section's numbers, apart from the weights; flags at their defaults are left out."""
    names = ("split", "contexts", "queries", "quality", "quality_limit", "classifier", "limit", "seed")
    found = {}
    for holder in (signal, arguments):
        for item in fields(holder):
            default = item.default if item.default_factory is MISSING else item.default_factory()
            value = getattr(holder, item.name)
            if value != default and (holder is signal or item.name in names):
                found[item.name] = value
    if arguments.classifier is not None and Path(arguments.classifier).is_file():
        found["classifier_digest"] = hashlib.sha256(Path(arguments.classifier).read_bytes()).hexdigest()
    return json.loads(json.dumps(found))


def config_digest(config: PixelTransformerConfig) -> str:
    """SHA-256 of all that a config says of a model's answers and of its evaluation: not of its card."""
    fields = {name: value for name, value in vars(config).items() if name in vars(PixelTransformerConfig())}
    fields["provenance"] = {"max_context": (config.provenance or {}).get("max_context")}
    for name in ("transformers_version", "_name_or_path", "dtype", "architectures"):
        fields.pop(name, None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()


def digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights."""
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name}{tuple(weight.shape)}".encode() + weight.cpu().float().numpy().tobytes())
    return found.hexdigest()


def kept_flags(argv: list[str]) -> list[str]:
    """The flags that every section's command needs: all but what belongs to one section or to this very call."""
    kept, skipping = [], False
    for word in argv:
        if word.startswith("--"):
            skipping = word.split("=")[0] in ("--sections", "--output", "--redo", "--classifier", "--quality_limit")
        if not skipping:
            kept.append(word)
    return kept


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


def parse_flags(own: type, argv: list[str]) -> tuple:
    """A command's own arguments (with `checkpoint` and `kind`) and the signal, whose kind the checkpoint knows.

    Raises:
        ValueError: naming the flag.
    """
    given = HfArgumentParser(own, add_help=False, allow_abbrev=False).parse_known_args(argv)[0]
    helping = {"-h", "--help"} & set(argv)
    if given.checkpoint is None and not helping:
        raise ValueError("--checkpoint: expected a folder or a Hub id, got None")
    known = "image" if given.checkpoint is None else read_config(given.checkpoint).signal
    kind = given.kind or known
    if find(kind).kind != known and not helping:
        raise ValueError(f"--kind: expected the checkpoint's kind, {known}, got {kind}")
    parser = HfArgumentParser((own, find(kind)), allow_abbrev=False, description=own.__doc__)
    try:
        return parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise ValueError(str(error).replace("Some specified arguments are not used", "unknown flags")) from error


def read_config(checkpoint: str) -> PixelTransformerConfig:
    """The checkpoint's configuration."""
    try:
        return PixelTransformerConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise ValueError(f"--checkpoint: cannot load {checkpoint!r}: {error}") from error


def main() -> None:
    try:
        arguments, signal = parse_flags(Arguments, sys.argv[1:])
        evaluate(arguments, signal, sys.argv[1:])
    except ValueError as error:
        sys.exit(f"evaluate.py: {error}")


if __name__ == "__main__":
    main()
