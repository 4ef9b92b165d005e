"""Pictures as the model's arguments, and its answers as pictures: `AutoImageProcessor` of a checkpoint for images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from .grids import centres, coordinates
from .levels import round_to_levels
from .patterns import IMAGE_PATTERNS
from .pictures import as_image, as_list, as_mask, image_to_array, to_image, to_values, upright_size

Observed = tuple[Tensor, Tensor]  # values (y, x, V) of a picture, and where they are hidden (y, x)


class PixelTransformerImageProcessor(BaseImageProcessor):
    """Turns pictures with hidden pixels into context and queries, and values at the queries into pictures.

    Example:

    ```python
    >>> import numpy as np
    >>> processor = PixelTransformerImageProcessor(size=(8, 6))
    >>> inputs = processor(np.zeros((6, 8), np.uint8), num_pixels=5, generator=0)
    >>> inputs.context_values.shape, inputs.query_positions.shape
    (torch.Size([1, 5, 1]), torch.Size([1, 43, 2]))
    >>> processor.post_process(inputs, torch.rand(1, 43, 1))[0].size
    (8, 6)

    ```

    Args:
        size (`dict[str, int]` or `tuple[int, int]`): `width` and `height` to which pictures are resized and
            centre-cropped by default: the model's native grid.
        num_channels (`int`): 1 (grey) or 3 (RGB).
        quantization_step (`float` or `None`): Observed values are rounded to the nearest multiple of it, as the model
            knows no others; `None`: they stay as they are.
    """

    model_input_names = ["context_positions", "context_values", "context_mask", "query_positions"]

    def __init__(
        self,
        size: dict[str, int] | tuple[int, int] | int = 32,
        num_channels: int = 1,
        quantization_step: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_channels not in (1, 3):
            raise ValueError(f"num_channels: expected 1 or 3, got {num_channels!r}")
        self.size = dict(zip(("width", "height"), _as_size(size), strict=True))
        if quantization_step is not None and not quantization_step > 0:
            raise ValueError(f"quantization_step: expected None or a number above 0, got {quantization_step!r}")
        self.num_channels, self.quantization_step = num_channels, quantization_step

    @classmethod
    def of(cls, config) -> "PixelTransformerImageProcessor":
        """The processor for a model of images with this config."""
        return cls(tuple(config.native_grid), config.value_dim, config.quantization_step)

    def preprocess(
        self,
        images: Any,
        mask: Any = None,
        pattern: str | None = None,
        num_pixels: int | None = None,
        size: tuple[int, int] | int | None = None,
        generator: torch.Generator | int | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """What the model takes of pictures. One of `mask`, `pattern` and `num_pixels` says which pixels are observed.

        Args:
            images: A picture (PIL image, path, array or tensor, see `pictures.as_image`), or a list of pictures.
                Transparent pixels become white; EXIF orientation is applied.
            mask: White (or 1, or true) where pixels are hidden: a picture or an array of the size of the picture or of
                `size`; for a list of pictures one for all or a list.
            pattern (`str`): Name of a pattern of observed pixels, see `patterns.IMAGE_PATTERNS`.
            num_pixels (`int`): Number of random pixels that are observed; 0: none.
            size (`tuple[int, int]` or `int`): Width and height to which pictures are resized and centre-cropped, or the
                side of a square; `None`: the processor's own.
            generator (`torch.Generator` or `int`): Generator, or a seed, of what is random.

        Returns:
            `BatchFeature`: `context_positions` (B, K, 2), `context_values` (B, K, V), `query_positions` (B, Q, 2). For
            a list also `context_mask` (B, K), as pictures may have fewer observed pixels than K; those with fewer than
            Q hidden ones repeat an observed position among their queries.

        Raises:
            TypeError, ValueError: naming the argument, what was expected and what came.
        """
        if return_tensors != "pt":
            raise ValueError(f'return_tensors: expected "pt", as the model takes tensors, got {return_tensors!r}')
        pictures = as_list(images)
        if not pictures:
            raise ValueError("images: expected at least one picture, got an empty list")
        masks = mask if isinstance(mask, list | tuple) else [mask] * len(pictures)
        if len(masks) != len(pictures):
            raise ValueError(f"mask: expected one mask, or one for each of {len(pictures)} pictures, got {len(masks)}")
        width_height = _as_size(self.size if size is None else size)
        if isinstance(generator, int):
            generator = torch.Generator().manual_seed(generator)
        hide = _hider(width_height, mask is not None, pattern, num_pixels, generator)
        observed = [self._observe(*pair, width_height, hide) for pair in zip(pictures, masks, strict=True)]
        many = isinstance(images, list | tuple) or len(pictures) > 1
        return BatchFeature(_batch(observed, with_mask=many))

    def _observe(self, picture: Any, mask: Any, size: tuple[int, int], hide: Callable[[], Tensor] | None) -> Observed:
        image = as_image(picture)
        values = to_values(torch.from_numpy(image_to_array(image, size, self.num_channels)))
        values = round_to_levels(values, (0.0, 1.0), self.quantization_step)
        hidden = as_mask(mask, upright_size(image), size) if hide is None else hide()
        if not hidden.any():
            raise ValueError("mask: expected at least one hidden (white) pixel, got none")
        return values, hidden

    def post_process(self, inputs: BatchFeature | dict, values: Tensor, return_tensors: str | None = None) -> list[Any]:
        """Pictures of values at the queries: means or samples. Observed pixels are put in as the model saw them.

        Args:
            inputs (`BatchFeature`): What the processor made of the pictures.
            values (`Tensor` (B, Q, V) or (n, B, Q, V)): Values at the queries, or n samples of them.
            return_tensors (`str` or `None`): "pt" for tensors (y, x, V) instead of PIL images.

        Returns:
            `list`: For each of B pictures an image, or a list of n images where there are samples.

        Raises:
            ValueError: for values that do not fit the inputs.
        """
        if return_tensors not in (None, "pt"):
            raise ValueError(f'return_tensors: expected None or "pt", got {return_tensors!r}')
        queries = inputs["query_positions"]
        if values.dim() not in (3, 4) or values.shape[-3:-1] != queries.shape[:2]:
            raise ValueError(
                f"values: expected shape (B, Q, V) or (n, B, Q, V) with B, Q = {tuple(queries.shape[:2])}, "
                f"got {tuple(values.shape)}"
            )
        found = []
        for row in range(len(queries)):
            given = values[..., row, :, :] if values.dim() == 4 else values[row][None]
            wholes = _put_in(inputs, row, given)
            pictures = [whole if return_tensors else to_image(whole) for whole in wholes]
            found.append(pictures if values.dim() == 4 else pictures[0])
        return found

    def post_process_uncertainty(
        self, inputs: BatchFeature | dict, std: Tensor, white: float = 0.25, return_tensors: str | None = None
    ) -> list[Any]:
        """Grey pictures of standard deviations (B, Q, V) at the queries, averaged over channels; black where observed.

        Args:
            white (`float`): The standard deviation that is shown as white.

        Further arguments and errors as in `post_process`; tensors (y, x, 1) hold standard deviations.
        """
        known = {**inputs, "context_values": torch.zeros_like(inputs["context_values"][..., :1])}
        wholes = self.post_process(known, std.mean(-1, keepdim=True), "pt")
        return wholes if return_tensors else [to_image(whole / white) for whole in wholes]


def _as_size(size: Any) -> tuple[int, int]:
    """Width and height from an integer, a pair, or a dictionary of both."""
    pair = (size.get("width"), size.get("height")) if isinstance(size, dict) else size
    pair = (pair, pair) if isinstance(pair, int) else tuple(pair)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"size: expected a side, or width and height, in pixels, got {size!r}")
    return pair


def _hider(
    size: tuple[int, int], has_mask: bool, pattern: str | None, count: int | None, generator: torch.Generator | None
) -> Callable[[], Tensor] | None:
    """Makes random masks of hidden pixels (y, x), if no mask is given."""
    chosen = {"mask": has_mask, "pattern": pattern is not None, "num_pixels": count is not None}
    if sum(chosen.values()) != 1:
        got = " and ".join(name for name, given in chosen.items() if given) or "none"
        raise ValueError(f"mask: expected one of mask, pattern and num_pixels, got {got}")
    cells = size[0] * size[1]
    if has_mask:
        return None
    if pattern is not None and pattern not in IMAGE_PATTERNS:
        raise ValueError(f"pattern: expected one of {', '.join(IMAGE_PATTERNS)}, got {pattern!r}")
    if count is not None and not 0 <= count < cells:
        raise ValueError(f"num_pixels: expected a number from 0 to {cells - 1}, below the {cells} pixels, got {count}")
    if pattern is not None and cells < 2:
        raise ValueError(f"pattern: expected a picture of several pixels, got size {size}")
    positions = _positions(size)[None]

    def hide() -> Tensor:
        hidden = torch.ones(cells, dtype=torch.bool)
        if pattern is not None:
            hidden[IMAGE_PATTERNS[pattern].observe(positions, generator)[0][0]] = False
        else:
            hidden[torch.randperm(cells, generator=generator)[:count]] = False
        return hidden.view(size[1], size[0])

    return hide


def _positions(size: tuple[int, int]) -> Tensor:
    """Cell centres (cells, 2) of a picture, row by row."""
    x, y = (centres(torch.arange(side), side) for side in size)
    return torch.stack((x.expand(size[1], -1), y[:, None].expand(-1, size[0])), -1).reshape(-1, 2)


def _batch(observed: list[Observed], with_mask: bool) -> dict[str, Tensor]:
    """The model's arguments, padded to the largest numbers of observed and of hidden pixels."""
    parts = []
    for values, hidden in observed:
        positions, hidden = _positions((values.shape[1], values.shape[0])), hidden.flatten()
        parts.append((positions[~hidden], values.flatten(0, 1)[~hidden], positions[hidden]))
    most = [max(len(part[number]) for part in parts) for number in (0, 2)]
    made = {name: [] for name in ("context_positions", "context_values", "query_positions", "context_mask")}
    for known, values, queries in parts:
        padding = most[0] - len(known)
        made["context_positions"].append(torch.cat((known, known.new_zeros(padding, 2))))
        made["context_values"].append(torch.cat((values, values.new_zeros(padding, values.shape[1]))))
        # A picture without an observed pixel has the most queries, so that it is never padded.
        made["query_positions"].append(torch.cat((queries, known[:1].expand(most[1] - len(queries), -1))))
        made["context_mask"].append(torch.arange(most[0]) < len(known))
    if not with_mask:
        del made["context_mask"]
    return {name: torch.stack(rows) for name, rows in made.items()}


def _put_in(inputs: BatchFeature | dict, row: int, values: Tensor) -> Tensor:
    """Whole pictures (n, y, x, V) of values (n, Q, V) at the queries of one picture, and its observed pixels."""
    known, queries = (inputs[f"{name}_positions"][row].detach().cpu().float() for name in ("context", "query"))
    observed, mask = inputs["context_values"][row].detach().cpu().float(), inputs.get("context_mask")
    if mask is not None:
        known, observed = known[mask[row].cpu()], observed[mask[row].cpu()]
    positions = torch.cat((queries, known))
    size = torch.tensor([len(positions[:, axis].unique()) for axis in (0, 1)])
    cells = coordinates(positions, size).round().long().clamp(min=0)
    whole = torch.full((len(values), *size.flip(0).tolist(), values.shape[-1]), torch.nan)
    if bool((cells < size).all()):
        values = torch.cat((values.detach().cpu().float(), observed.expand(len(values), -1, -1)), 1)
        for part in (slice(0, len(queries)), slice(len(queries), None)):  # what is observed comes last and stays
            x, y = cells[part].unbind(-1)
            whole[:, y, x] = values[:, part]
    if whole.isnan().any():
        raise ValueError(
            "inputs: expected each pixel of a picture among the positions of context or queries, in float32, "
            f"got {len(known)} and {len(queries)} positions on a grid of {tuple(size.tolist())}"
        )
    return whole


PixelTransformerImageProcessor.register_for_auto_class("AutoImageProcessor")
