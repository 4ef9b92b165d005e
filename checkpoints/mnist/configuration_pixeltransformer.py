"""Configuration of a PixelTransformer: the network, and what others need to know to use its weights."""

import math
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import PreTrainedConfig

from .levels import Levels

if TYPE_CHECKING:
    # This import never runs, but transformers' loader follows it, so that the config's module is identified by the code
    # of the whole folder. Otherwise two checkpoints with different model code and equal config files would share one
    # config class, and AutoModel, which looks up models by it, would run the first one's code for both.
    from .modeling_pixeltransformer import PixelTransformerModel  # noqa: F401

COUNTS = "value_dim num_bins hidden_size num_encoder_layers num_decoder_layers num_attention_heads intermediate_size"


class PixelTransformerConfig(PreTrainedConfig):
    r"""Everything that defines a [`PixelTransformerModel`] besides its weights.

    The default network was the best one found on two CPU cores; [`PixelTransformerConfig.paper`] is the published one.

    Args:
        signal (`str`): Kind of signal: "image", "polynomial", "shape", "video" or the name of another kind.
        native_grid (`list[int]`): Number of cells of the training signals along each axis of a position (x before y
            before z; videos t, x, y). Its length is P. A 28×28 image has `[28, 28]`.
        axes (`list[int]` or `None`): For each axis of a signal's array, slowest first, the coordinate of a position
            that runs along it. Images have arrays (y, x) and positions (x, y): `[1, 0]`. `None`: `[0, 2, 1]` for videos
            (arrays (t, y, x), positions (t, x, y)), otherwise the last coordinate first.
        value_dim (`int`): V, number of channels of a value.
        value_range (`list[float]` or `None`): Smallest and largest value; `None`: values are unbounded.
        quantization_step (`float` or `None`): Distance between two neighbouring levels of quantised values (1/255 for
            8-bit pixels in [0, 1]); likelihoods are then probabilities of levels. `None`: values are continuous, and
            likelihoods are densities.
        num_bins (`int`): B, number of components of the value distribution (Eq. 1 of the paper).
        min_scale, max_scale (`float` or `None`): Bounds on a component's standard deviation. `None`: an eighth of the
            quantisation step (without one, 0.001 of the range), and half of the range.
        offset_radius (`float` or `None`): Largest distance of a component's mean from the centre of its bin, as a share
            of the value range (without a range, in units of values). Means never leave the range. `None`: unbounded.
        correlated_channels (`bool`): Channels of a component depend on each other, see `ValueDistribution`: each has
            its own standard deviation and a mean that moves with the channels before it. `False`: channels are
            independent and share one standard deviation.
        hidden_size (`int`): Width of the Transformer.
        num_encoder_layers, num_decoder_layers (`int`): Depth.
        num_attention_heads (`int`): Number of heads. `hidden_size` must be a multiple of twice this number. Few wide
            heads are faster, since softmax takes most of the time of attention.
        intermediate_size (`int`): Width of the feed-forward layers.
        activation (`str`): "swiglu" (gated, Shazeer 2020) or "relu".
        norm (`str`): "layer" (without bias; on CPUs its kernel is several times faster) or "rms".
        norm_position (`str`): "pre" or "post".
        qk_norm (`bool`): Normalise queries and keys in each head.
        rotary (`bool`): Rotate queries and keys by their continuous positions: attention sees relative position.
        rotary_max_frequency (`float`): Highest initial angular frequency in radians per unit of position; the lowest
            is 1. `None`: the Nyquist frequency of the native grid.
        fourier_scale (`float`): Standard deviation of the initial frequencies of the position features, in cycles per
            unit of position.
        value_fourier_scale (`float` or `None`): The same for features of the value, in cycles per unit of value.
            `None`: a value enters through a linear layer, as in the paper; fine differences are then learned late.
        num_scales (`int`): Number of scales that the model knows: scale s is an average over 2^s cells of the native
            grid along each axis, s = 0, …, `num_scales - 1`. Each side of the native grid must be divisible by
            2^(num_scales - 1). 1: cells of the native grid alone.
        chain_scales (`list[int]` or `None`): Scales that sampling from coarse to fine draws one after another,
            decreasing to 0. `None`: all.
        step_losses (`dict` or `None`): Measured loss of the next value by the number of known values; block sizes of
            sampling depend on it. Under "random", "scale-0", "scale-1", … a dictionary of lists "known" and "nats".
            `None`: a typical curve is taken. See `python -m benchmarks.steps`.
        max_buffer_share (`float`): Largest share of the known values that may be in the causal buffer while a joint
            sample is drawn or scored. Beyond it, all of them become context and are encoded again: more often, the
            smaller the share. 1: never, so that scoring a whole signal takes little more than one pass.
        max_tokens (`int`): Largest number of context and drawn values together in one call; a guard for memory.
        initializer_range (`float`): Standard deviation of the initial weights.
        provenance (`dict` or `None`): What the model card says about data, training and metrics; see `model_card`.

    Raises:
        ValueError: naming the field, what was expected and what came.
    """

    model_type = "pixeltransformer"
    keys_to_ignore_at_inference = ["distribution", "buffer_distribution"]  # no tensors, which a Trainer could gather

    def __init__(
        self,
        signal: str = "image",
        native_grid: list[int] | None = None,
        axes: list[int] | None = None,
        value_dim: int = 1,
        value_range: list[float] | None = (0.0, 1.0),
        quantization_step: float | None = 1 / 255,
        num_bins: int = 16,
        min_scale: float | None = None,
        max_scale: float | None = None,
        offset_radius: float | None = 0.25,
        correlated_channels: bool = False,
        hidden_size: int = 128,
        num_encoder_layers: int = 4,
        num_decoder_layers: int = 4,
        num_attention_heads: int = 2,
        intermediate_size: int = 256,
        activation: str = "swiglu",
        norm: str = "layer",
        norm_position: str = "pre",
        qk_norm: bool = True,
        rotary: bool = True,
        rotary_max_frequency: float | None = None,
        fourier_scale: float = 2.0,
        value_fourier_scale: float | None = 0.5,
        num_scales: int = 1,
        chain_scales: list[int] | None = None,
        step_losses: dict[str, Any] | None = None,
        max_buffer_share: float = 0.25,
        max_tokens: int = 16384,
        initializer_range: float = 0.02,
        provenance: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.signal = signal
        self.native_grid = native_grid if native_grid is not None else [28, 28]
        self.axes = axes
        self.value_dim = value_dim
        self.value_range = value_range
        self.quantization_step = quantization_step
        self.num_bins = num_bins
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.offset_radius = offset_radius
        self.correlated_channels = correlated_channels
        self.hidden_size = hidden_size
        self.num_encoder_layers = num_encoder_layers
        self.num_decoder_layers = num_decoder_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.activation = activation
        self.norm = norm
        self.norm_position = norm_position
        self.qk_norm = qk_norm
        self.rotary = rotary
        self.rotary_max_frequency = rotary_max_frequency
        self.fourier_scale = fourier_scale
        self.value_fourier_scale = value_fourier_scale
        self.num_scales = num_scales
        self.chain_scales = chain_scales
        self.step_losses = step_losses
        self.max_buffer_share = max_buffer_share
        self.max_tokens = max_tokens
        self.initializer_range = initializer_range
        self.provenance = provenance
        self._check()
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any):
        """As inherited; fields replaced by `kwargs` are checked like those of a new config."""
        loaded = super().from_dict(config_dict, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded)._check()
        return loaded

    @classmethod
    def paper(cls, **kwargs: Any) -> "PixelTransformerConfig":
        """The architecture of Tulsiani & Gupta (ICML 2021): 10 + 10 post-norm layers of width 256, absolute positions.

        The learned "nothing observed" token and the bounded component means of this implementation stay.
        Colour values have 512 bins, grey ones 32, distance fields 150, polynomials one. The published training (Adam at
        1e-4, batches of 6, K from 4 to 2,048) is the preset `mnist-paper`.
        """
        signal = kwargs.get("signal", "image")
        bins = {"image": 512 if kwargs.get("value_dim", 1) == 3 else 32, "shape": 150, "polynomial": 1}
        bins["video"] = bins["image"]
        published = {
            "hidden_size": 256,
            "num_encoder_layers": 10,
            "num_decoder_layers": 10,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "activation": "relu",
            "norm": "layer",
            "norm_position": "post",
            "qk_norm": False,
            "rotary": False,
            "value_fourier_scale": None,
            "num_bins": bins.get(signal, 32),
        }
        return cls(**{**published, **kwargs})

    @property
    def chain(self) -> list[int]:
        """Scales that sampling from coarse to fine draws one after another; the last is 0."""
        return self.chain_scales or list(range(self.num_scales - 1, -1, -1))

    @property
    def position_dim(self) -> int:
        """P, the number of coordinates of a position."""
        return len(self.native_grid)

    @property
    def axes_slowest_first(self) -> list[int]:
        """For each axis of a signal's array, slowest first, the coordinate of a position that runs along it."""
        if self.axes is not None:
            return self.axes
        return [0, 2, 1] if self.signal == "video" else list(reversed(range(self.position_dim)))

    @property
    def levels(self) -> Levels | None:
        """The levels of quantised values; `None` if values are continuous."""
        return Levels.of(self.value_range, self.quantization_step)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def scale_bounds(self) -> tuple[float, float]:
        """Smallest and largest standard deviation of a component, in the units of values."""
        extent = self.value_range[1] - self.value_range[0] if self.value_range else 1.0
        smallest = self.quantization_step / 8 if self.quantization_step else 1e-3 * extent
        low = self.min_scale if self.min_scale is not None else smallest
        high = self.max_scale if self.max_scale is not None else 0.5 * extent
        return low, high

    @property
    def rotary_nyquist(self) -> float:
        """Highest initial rotary frequency, in radians per unit of position."""
        if self.rotary_max_frequency is not None:
            return self.rotary_max_frequency
        return math.pi * max(self.native_grid) / 2

    def _check(self) -> None:
        """Raise unless all fields fit together. Numbers of NumPy and torch become Python numbers, for JSON."""
        self._convert()
        expect = self._expect
        expect(isinstance(self.signal, str) and bool(self.signal), "signal", "the name of a kind of signal")
        expect(
            self.native_grid and len(self.native_grid) <= 3 and all(_is_count(n) for n in self.native_grid),
            "native_grid",
            "one to three positive integers, one for each coordinate of a position",
        )
        expect(
            self.axes is None or sorted(self.axes) == list(range(self.position_dim)),
            "axes",
            f"None or each of the {self.position_dim} coordinates of native_grid once, counted from 0",
        )
        for field in f"{COUNTS} num_scales max_tokens".split():
            expect(_is_count(getattr(self, field)), field, "an integer of at least 1")
        self._check_scales()
        self._check_values()
        expect(
            _is_real(self.max_buffer_share) and 0 <= self.max_buffer_share <= 1,
            "max_buffer_share",
            "a number from 0 to 1",
        )
        for field in ("fourier_scale", "initializer_range"):
            value = getattr(self, field)
            expect(_is_real(value) and value > 0, field, "a number above 0")
        for field in ("value_fourier_scale", "rotary_max_frequency"):
            value = getattr(self, field)
            expect(value is None or (_is_real(value) and value > 0), field, "None or a number above 0")
        expect(
            self.hidden_size % (2 * self.num_attention_heads) == 0,
            "hidden_size",
            f"a multiple of twice num_attention_heads ({self.num_attention_heads})",
        )
        expect(self.activation in ("swiglu", "relu"), "activation", '"swiglu" or "relu"')
        expect(self.norm in ("rms", "layer"), "norm", '"rms" or "layer"')
        expect(self.norm_position in ("pre", "post"), "norm_position", '"pre" or "post"')
        expect(self.value_dim > 1 or not self.correlated_channels, "correlated_channels", "False where value_dim is 1")

    def _expect(self, ok: bool, field: str, expected: str) -> None:
        if not ok:
            raise ValueError(f"PixelTransformerConfig.{field}: expected {expected}, got {getattr(self, field)!r}")

    def _check_scales(self) -> None:
        most = 1 + min((side & -side).bit_length() - 1 for side in self.native_grid)  # halvings of all sides, plus 1
        self._expect(
            self.num_scales <= most,
            "num_scales",
            f"at most {most}, as the sides of native_grid {self.native_grid} can be halved {most - 1} times",
        )
        if self.chain_scales is not None:
            known, chain = range(self.num_scales), self.chain_scales
            self._expect(
                len(chain) > 1 and chain == [scale for scale in reversed(known) if scale in chain] and chain[-1] == 0,
                "chain_scales",
                f"None or falling scales from at most {known[-1]} (num_scales - 1) to 0",
            )

    def _check_values(self) -> None:
        expect, bounds, step = self._expect, self.value_range, self.quantization_step
        expect(
            bounds is None or (len(bounds) == 2 and all(map(_is_real, bounds)) and bounds[0] < bounds[1]),
            "value_range",
            "None or two increasing numbers",
        )
        expect(
            step is None or (bounds is not None and _is_real(step) and step > 0),
            "quantization_step",
            "None, or a positive number together with a value_range",
        )
        if step is not None:
            count = (bounds[1] - bounds[0]) / step
            expect(abs(count - round(count)) < 1e-3 and round(count) > 0, "quantization_step", f"a part of {bounds}")
        for field in ("min_scale", "max_scale", "offset_radius"):
            value = getattr(self, field)
            expect(value is None or (_is_real(value) and value > 0), field, "None or a number above 0")
        low, high = self.scale_bounds
        expect(low < high, "max_scale", f"None or a number above min_scale ({low:g})")

    def _convert(self) -> None:
        for field in ("native_grid", "axes", "value_range", "chain_scales"):
            value = getattr(self, field)
            if value is not None:
                listed = hasattr(value, "__iter__") and not isinstance(value, str | bytes | dict)
                self._expect(listed, field, "a list of numbers")
                setattr(self, field, [_plain(part) for part in value])
        for field, value in list(vars(self).items()):
            if isinstance(value, np.generic):
                setattr(self, field, value.item())


def _plain(value: Any) -> Any:
    """A scalar of NumPy or torch as a Python number; other values unchanged."""
    return value.item() if hasattr(value, "item") else value


def _is_count(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


PixelTransformerConfig.register_for_auto_class()
