"""Section: whole signals completed by the mean, for the numbers K of `--quality`."""

from dataclasses import dataclass

from evaluation.against_context import quality_table
from evaluation.job import Found, Job, Section
from evaluation.quality import quality_against_context
from signals.base import flag, flags


@dataclass
class Flags:
    """The flags of this section."""

    quality: list[int] = flags("Numbers K for which whole signals are completed and judged (SSIM, PSNR, IoU).", [])
    quality_limit: int | None = flag("Signals completed for --quality; default: all that likelihoods are measured on.")

    def __post_init__(self):
        if min(self.quality, default=0) < 0:
            raise ValueError(f"--quality: expected numbers of at least 0, got {self.quality}")
        if self.quality_limit is not None and self.quality_limit < 1:
            raise ValueError(f"--quality_limit: expected a number above 0, got {self.quality_limit}")


def measure(job: Job, flags: Flags) -> Found:
    """Completed signals, without samples."""
    rows = job.many_rows()
    rows = rows.first(flags.quality_limit or len(rows))
    found = quality_against_context(job.model, job.signal, rows, flags.quality, seed=job.seed, progress=job.progress)
    found = [{"context": k, **row} for k, row in zip(flags.quality, found, strict=True)]
    text = f"{len(rows):,} whole {job.signal.plural} completed by the mean."
    if len(found[0]) > 1:
        text += "\n\n" + quality_table(found)
    return Found(text, numbers={"quality": found, "completed": len(rows)})


SECTION = Section("quality", "Completed signals", measure, Flags, wanted=lambda flags: bool(flags.quality))
