"""A new kind of signal in one file, short sounds: `train_accelerate.py --kind examples/audio_signal.py` trains on it
(with `--output_dir` and `--max_train_minutes`).

Copied to `signals/audio.py` it is known as `--kind audio`. It reads a folder of WAV files or, without one, makes
plucked strings: harmonics that fade.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from scipy.io import wavfile
from torch import Tensor

from signals.base import GridSignal, Rows, flag
from signals.plots import render_curve


@dataclass
class Sounds(GridSignal):
    """Sounds: positions t, values the amplitude in [-1, 1], continuous."""

    kind: ClassVar[str] = "audio"
    plural: ClassVar[str] = "sounds"
    coordinates: ClassVar[tuple[int, ...]] = (0,)

    folder: str | None = flag("Folder of mono or stereo WAV files; default: plucked strings, made up.")
    samples: int = flag("Amplitudes of a sound: its first that many.", 512)
    validation_size: int = flag("Sounds held out.", 16)

    def load(self, seed: int) -> tuple[Rows, Rows]:
        return self._split(self.samples)

    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        if split not in ("train", "test"):
            raise ValueError(f"--split: expected train or test, got {split!r}")
        rows = self._split(config.native_grid[0])[split == "test"]
        return Rows(rows.source[:limit], rows.decode)

    def _split(self, samples: int) -> tuple[Rows, Rows]:
        """Training and held-out sounds of so many amplitudes."""
        sounds = Strings(samples, 2000) if self.folder is None else Files(self.folder, samples)
        if len(sounds) <= self.validation_size:
            raise ValueError(
                f"--validation_size: expected fewer than the {len(sounds)} sounds of {self.folder or 'the strings'}, "
                f"got {self.validation_size}"
            )
        return (
            Rows(range(self.validation_size, len(sounds)), sounds.__getitem__),
            Rows(range(self.validation_size), sounds.__getitem__),
        )

    def config_fields(self, rows: Rows) -> dict[str, Any]:
        return {
            "native_grid": [self.samples],
            "value_dim": 1,
            "value_range": [-1.0, 1.0],
            "quantization_step": None,
        }

    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        return render_curve(self.positions(grid)[:, 0], values[:, 0], limit=1.0)


class Strings(Sequence):
    """Plucked strings (samples, 1) of random pitch and colour, numbered."""

    def __init__(self, samples: int, count: int):
        self.samples, self.count = samples, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        random = np.random.default_rng(index)
        time = np.arange(self.samples) / self.samples
        pitch, fading = random.uniform(4, 16), random.uniform(1, 6)
        parts = [random.normal() / k**1.5 * np.sin(2 * np.pi * k * pitch * time) for k in range(1, 5)]
        sound = np.sum(parts, 0) * np.exp(-fading * time)
        return torch.from_numpy((sound / max(np.abs(sound).max(), 1e-6)).astype(np.float32))[:, None]


class Files(Sequence):
    """The first samples of the WAV files in a folder, as (samples, 1) in [-1, 1], padded with silence."""

    def __init__(self, folder: str, samples: int):
        self.paths, self.samples = sorted(Path(folder).glob("*.wav")), samples

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        sound = wavfile.read(self.paths[index])[1]
        if sound.dtype.kind != "f":  # 8 bits are unsigned, all others are not
            zero, scale = (128, 128) if sound.dtype == np.uint8 else (0, float(np.iinfo(sound.dtype).max))
            sound = (sound - zero) / scale
        sound = sound.reshape(len(sound), -1).mean(1)[: self.samples]
        sound = np.pad(sound, (0, self.samples - len(sound))).clip(-1, 1)
        return torch.from_numpy(sound.astype(np.float32))[:, None]
