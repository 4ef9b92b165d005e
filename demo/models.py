"""The checkpoints that the app offers, loaded once when first asked for."""

from functools import lru_cache
from pathlib import Path

import torch

from demo.guard import check_time
from demo.turns import rest
from pixeltransformer.modeling_pixeltransformer import PixelTransformerConfig, PixelTransformerModel

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
FIRST = ("cat-faces", "mnist", "cifar10")  # the order in which the shipped ones are offered
NOT_OFFERED = ("mnist-binary",)  # of two levels, for the field tab alone

offered: dict[str, str] = {}  # names of all checkpoints on offer, and where each is


def offer(extra: list[str] | None = None) -> None:
    """Offer the shipped checkpoints and `extra` ones (folders or Hub ids).

    Raises:
        ValueError: for one that cannot be read.
    """
    found = (path.parent for path in CHECKPOINTS.glob("*/config.json"))
    shipped = sorted(str(folder) for folder in found if folder.name not in NOT_OFFERED)
    shipped.sort(key=lambda source: FIRST.index(Path(source).name) if Path(source).name in FIRST else len(FIRST))
    offered.clear()
    for source in shipped + list(extra or []):
        try:
            PixelTransformerConfig.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--checkpoint: expected a checkpoint folder or a Hub id, got {source!r}: {error}"
            ) from error
        parts = source.rstrip("/").split("/")
        # Every training exports to a folder of the same name; its parent's tells them apart.
        name = "/".join(parts[-2:]) if parts[-1] in offered or parts[-1] == "export" else parts[-1]
        offered[name] = source


def names(signal: str) -> list[str]:
    """Names of the offered checkpoints for one kind of signal."""
    return [name for name in offered if config_of(name).signal == signal]


@lru_cache(maxsize=64)
def _config(source: str) -> PixelTransformerConfig:
    return PixelTransformerConfig.from_pretrained(source)


def config_of(name: str, signal: str | None = None) -> PixelTransformerConfig:
    """The configuration of an offered checkpoint, of one kind of signal if that is given.

    Raises:
        ValueError: for a name that is not on offer; nothing else is ever loaded.
    """
    fitting = [key for key in offered if signal is None or _config(offered[key]).signal == signal]
    if not isinstance(name, str) or name not in fitting:
        raise ValueError(f"checkpoint: expected one of {', '.join(fitting) or '(none)'}, got {str(name)[:60]!r}")
    return _config(offered[name])


def load(name: str) -> PixelTransformerModel:
    """The offered checkpoint's model, ready to answer, on the GPU if there is one."""
    config_of(name)
    return _load(offered[name])


@lru_cache(maxsize=8)
def _load(source: str) -> PixelTransformerModel:
    model = PixelTransformerModel.from_pretrained(source).eval()
    for stack in (model.encoder, model.decoder):
        stack[0].register_forward_pre_hook(_before_pass)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _before_pass(*_) -> None:
    """Within one answer, too, the time is up at some point, and large work lets others come first."""
    check_time()
    rest()
