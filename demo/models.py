"""The checkpoints that the app offers, loaded once when first asked for."""

from functools import lru_cache
from pathlib import Path

from modeling_pixeltransformer import PixelTransformerConfig, PixelTransformerModel

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"


def available(extra: list[str] | None = None, signal: str = "image") -> dict[str, str]:
    """Names of the checkpoints for one kind of signal, and where each is: those shipped, then `extra` ones."""
    places = sorted(str(path.parent) for path in CHECKPOINTS.glob("*/config.json")) + list(extra or [])
    names = {}
    for place in places:
        try:
            config = PixelTransformerConfig.from_pretrained(place)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--checkpoint: expected a checkpoint folder or a Hub id, got {place!r}: {error}"
            ) from error
        if config.signal == signal:
            parts = place.rstrip("/").split("/")
            # Every training exports to a folder of the same name; its parent's tells them apart.
            names["/".join(parts[-2:]) if parts[-1] in names or parts[-1] == "export" else parts[-1]] = place
    return names


@lru_cache(maxsize=8)
def load(place: str) -> PixelTransformerModel:
    """The model in a folder or of a Hub id, ready to answer."""
    return PixelTransformerModel.from_pretrained(place).eval()
