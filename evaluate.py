"""Evaluate a checkpoint on held-out signals: `python evaluate.py --checkpoint checkpoints/mnist --dataset_name ...`.

Prints tables in Markdown and, with `--output`, writes them as JSON, after each section, next to its figures. A second
call goes on where the first one stopped. `python -m evaluation.report` makes documents of such reports.
"""

import platform
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from evaluation.command import fingerprint, parse_flags, words
from evaluation.job import Job
from evaluation.report import section_markdown
from evaluation.sections import SECTIONS
from evaluation.store import config_digest, read_report, weights_digest, write_report
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals import Signal
from signals.base import flag, flags


@dataclass
class Arguments:
    """Evaluate a checkpoint on held-out signals."""

    checkpoint: str = flag("Checkpoint folder or Hub id.")
    kind: str | None = flag("Kind of signal, or a Python file that defines it; default: the checkpoint's.")
    split: str = flag("Split to evaluate on.", "test")
    contexts: list[int] | None = flag(
        "Numbers K of observed positions; default: the kind's own. Section samples always takes those."
    )
    queries: int = flag("Unobserved positions scored for each signal and K.", 128)
    limit: int | None = flag(
        "Signals that likelihoods are averaged over (default: some hundreds), and at most so many in other sections; "
        "4 for a quick look."
    )
    seed: int = flag("Seed of all positions, orders and samples.", 0)

    def __post_init__(self):
        for name in ("queries", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name}: expected a number above 0, got {value}")
        if min(self.contexts or [], default=0) < 0:
            raise ValueError(f"--contexts: expected numbers of at least 0, got {self.contexts}")
        if self.contexts == []:
            raise ValueError("--contexts: expected at least one number, got none")


@dataclass
class Call:
    """What one call measures, and where to."""

    sections: list[str] = flags(
        f"What to measure, of {', '.join(SECTIONS)}; default: all (quality: with --quality).", []
    )
    output: str | None = flag("JSON file for the report; sections that it holds with the same settings are kept.")
    redo: bool = flag("Measure sections again that --output holds already.", False)

    def __post_init__(self):
        unknown = [name for name in self.sections if name not in SECTIONS]
        if unknown:
            raise ValueError(f"--sections: expected some of {', '.join(SECTIONS)}, got {', '.join(unknown)}")
        if self.output is not None and Path(self.output).suffix != ".json":
            raise ValueError(f"--output: expected a file ending in .json, got {self.output!r}")


@dataclass
class Request:
    """A parsed command line.

    Attributes:
        own (`dict[str, Any]`): Each section's own flags, by its name.
    """

    arguments: Arguments
    signal: Signal
    call: Call
    own: dict[str, Any]

    @classmethod
    def parse(cls, argv: list[str]) -> "Request":
        """The request of a command line.

        Raises:
            ValueError: naming the flag.
        """
        kinds = dict.fromkeys(section.flags for section in SECTIONS.values())
        arguments, signal, call, *found = parse_flags(Arguments, argv, Call, *kinds)
        by_kind = dict(zip(kinds, found, strict=True))
        return cls(arguments, signal, call, {name: by_kind[section.flags] for name, section in SECTIONS.items()})

    def words(self, name: str) -> list[str]:
        """The flags by which a section is measured again, apart from its name and the output."""
        return words(self.arguments, self.signal, self.own[name])

    def command(self) -> str:
        """This very call as a command line."""
        own = {id(flags): flags for flags in self.own.values()}
        return "python " + shlex.join(["evaluate.py", *words(self.arguments, self.signal, self.call, *own.values())])

    def settings(self, name: str) -> dict[str, Any]:
        """All flags that decide a section's numbers; the checkpoint's weights and config are recorded separately."""
        return fingerprint(self.signal, self.arguments, self.own[name], apart_from=("checkpoint", "kind"))

    def wants(self, name: str) -> bool:
        """Whether a section is to be measured."""
        return name in (self.call.sections or SECTIONS) and SECTIONS[name].wanted(self.own[name])


def evaluate(request: Request) -> dict:
    """The report that `--output` holds: `sections` by name and, for the model card, the numbers of some of them."""
    arguments, output = request.arguments, None if request.call.output is None else Path(request.call.output)
    model = PixelTransformerModel.from_pretrained(arguments.checkpoint).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    job = Job(
        model,
        request.signal,
        arguments.split,
        arguments.limit,
        arguments.contexts,
        arguments.queries,
        arguments.seed,
        output,
        progress=sys.stderr.isatty(),
    )
    report = facts(request, job)
    # Sections of these weights stay as they are, those not asked for even where they were measured with other settings.
    held = {
        name: section
        for name, section in read_report(output).get("sections", {}).items()
        if section["settings"]["weights"] == report["weights"]
    }
    done = dict(held)
    for name, section in SECTIONS.items():
        if not request.wants(name):
            continue
        settings = {"arguments": request.settings(name), "weights": report["weights"]}
        settings["config"] = config_digest(model.config)
        if request.call.redo or name not in held or held[name]["settings"] != settings:
            started = time.process_time()
            found = asdict(section.measure(job, request.own[name]))
            seconds = time.process_time() - started
            done[name] = {**found, "flags": request.words(name), "settings": settings, "cpu_seconds": seconds}
        print(f"## {section.title}\n\n{section_markdown(done[name])}\n", flush=True)
        report["sections"] = {key: done[key] for key in SECTIONS if key in done}
        for part in report["sections"].values():
            report |= part["numbers"]
        write_report(report, output)
    return report


def facts(request: Request, job: Job) -> dict:
    """Everything in a report except its sections."""
    arguments, model = request.arguments, job.model
    on_cpu = f"{torch.get_num_threads()} CPU core(s) ({platform.machine()}), torch {torch.__version__}"
    return {
        "name": Path(arguments.checkpoint).name,
        "checkpoint": arguments.checkpoint,
        "kind": model.config.signal,
        "quantised": model.config.quantization_step is not None,
        "calibrated_within": job.plan.calibrated_within,
        "weights": weights_digest(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": on_cpu if model.device.type == "cpu" else torch.cuda.get_device_name(),
        "command": request.command(),
        "split": arguments.split,
        "plural": job.signal.plural,
        "sections": {},
        "signals": 0,
        "rows": [],
        "completed": 0,
        "quality": [],
    }


def main() -> None:
    try:
        evaluate(Request.parse(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"evaluate.py: {error}")


if __name__ == "__main__":
    main()
