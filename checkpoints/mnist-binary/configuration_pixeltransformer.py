"""Configuration of a PixelTransformer: the network, and what others need to know to use its weights."""

import math
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from huggingface_hub.dataclasses import strict, validated_field
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from transformers import PreTrainedConfig

from .levels import Levels

if TYPE_CHECKING:
    # This import never runs, but transformers' loader follows it, so that the config's module is identified by the code
    # of the whole folder. Otherwise two checkpoints with different model code and equal config files would share one
    # config class, and AutoModel, which looks up models by it, would run the first one's code for both.
    from .modeling_pixeltransformer import PixelTransformerModel  # noqa: F401


def _expect(ok: bool, expected: str) -> None:
    if not ok:
        raise ValueError(expected)


def _name(value: str) -> None:
    _expect(bool(value), "the name of a kind of signal")


def _sides(value: list[int]) -> None:
    _expect(
        0 < len(value) <= 3 and min(value) >= 1, "one to three positive integers, one for each coordinate of a position"
    )


def _count(value: int) -> None:
    _expect(value >= 1, "an integer of at least 1")


def _share(value: float) -> None:
    _expect(0 <= value <= 1, "a number from 0 to 1")


def _positive(value: float) -> None:
    _expect(0 < value < math.inf, "a number above 0")


def _positive_or_none(value: float | None) -> None:
    _expect(value is None or 0 < value < math.inf, "None or a number above 0")


def _increasing(value: list[float] | None) -> None:
    _expect(
        value is None or (len(value) == 2 and -math.inf < value[0] < value[1] < math.inf),
        "None or two increasing numbers",
    )


count, positive, positive_or_none = (
    partial(validated_field, check) for check in (_count, _positive, _positive_or_none)
)


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy and torch as Python's numbers and lists, which JSON can hold; tuples as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(kind))
    return kind.__name__ if isinstance(kind, type) else str(kind)


def readable(cls: type) -> type:
    """Let a `@strict` config take numbers and arrays of NumPy and torch, and raise a `ValueError` of one line that says
    which field is wrong, what was expected and what came."""
    set_field, validate = cls.__setattr__, cls.validate

    def __setattr__(self, name: str, value: Any) -> None:
        name, value = cls.attribute_map.get(name, name), _plain(value)
        try:
            set_field(self, name, value)
        except StrictDataclassFieldValidationError as error:
            of_a_type = isinstance(error.__cause__, TypeError)  # else the sentence of the field's own check
            expected = _type_name(cls.__dataclass_fields__[name].type) if of_a_type else error.__cause__
            raise ValueError(f"{cls.__name__}.{name}: expected {expected}, got {value!r}") from error

    @wraps(validate)
    def checked(self) -> None:
        try:
            validate(self)
        except StrictDataclassClassValidationError as error:
            raise error.__cause__ from None

    cls.__setattr__, cls.validate = __setattr__, checked
    return cls


@readable
@strict
class PixelTransformerConfig(PreTrainedConfig):
    """Everything that defines a [`PixelTransformerModel`] besides its weights.

    The default network was the best one found on two CPU cores; [`PixelTransformerConfig.paper`] is the published one.
    Fields are checked when they are set, and together when a config is made, saved or used for a model.

    Raises:
        ValueError: naming the field, what was expected and what came.
    """

    model_type = "pixeltransformer"
    keys_to_ignore_at_inference = ["distribution", "buffer_distribution"]  # no tensors, which a Trainer could gather
    attribute_map = {  # names in configs of earlier versions
        "min_scale": "min_std",
        "max_scale": "max_std",
        "fourier_scale": "position_bandwidth",
        "value_fourier_scale": "value_bandwidth",
    }

    signal: str = validated_field(_name, default="image")
    """Kind of signal: "image", "polynomial", "shape", "video" or the name of another kind."""
    native_grid: list[int] = validated_field(_sides, default_factory=lambda: [28, 28])
    """Number of cells of the training signals along each axis of a position (x before y before z; videos t, x, y). Its
    length is P. A 28×28 image has `[28, 28]`."""
    axes: list[int] | None = None
    """For each axis of a signal's array, slowest first, the coordinate of a position that runs along it. Images have
    arrays (y, x) and positions (x, y): `[1, 0]`. `None`: `[0, 2, 1]` for videos, which have arrays (t, y, x) and
    positions (t, x, y); otherwise the last coordinate first."""
    value_dim: int = count(default=1)
    """V, number of channels of a value."""
    value_range: list[float | int] | None = validated_field(_increasing, default_factory=lambda: [0.0, 1.0])
    """Smallest and largest value; `None`: values are unbounded."""
    quantization_step: float | int | None = positive_or_none(default=1 / 255)
    """Distance between two neighbouring levels of quantised values (1/255 for 8-bit pixels in [0, 1]); likelihoods are
    then probabilities of levels. `None`: values are continuous, and likelihoods are densities."""
    num_bins: int = count(default=16)
    """B, number of components of the value distribution (Eq. 1 of the paper)."""
    min_std: float | int | None = positive_or_none(default=None)
    """Lower bound on a component's standard deviation. `None`: an eighth of the quantisation step (without one, 0.001
    of the range)."""
    max_std: float | int | None = positive_or_none(default=None)
    """Upper bound on a component's standard deviation. `None`: half of the range."""
    offset_radius: float | int | None = positive_or_none(default=0.25)
    """Largest distance of a component's mean from the centre of its bin, as a share of the value range (without a
    range, in units of values). Means never leave the range. `None`: unbounded."""
    correlated_channels: bool = False
    """Channels of a component depend on each other, see `ValueDistribution`: each has its own standard deviation and a
    mean that moves with the channels before it. `False`: channels are independent and share one standard deviation."""
    hidden_size: int = count(default=128)
    """Width of the Transformer."""
    num_encoder_layers: int = count(default=4)
    """Layers of the encoder, which reads the context."""
    num_decoder_layers: int = count(default=4)
    """Layers of the decoder, which answers queries."""
    num_attention_heads: int = count(default=2)
    """Number of heads. `hidden_size` must be a multiple of twice this number. Few wide heads are faster, since softmax
    takes most of the time of attention."""
    intermediate_size: int = count(default=256)
    """Width of the feed-forward layers."""
    activation: Literal["swiglu", "relu"] = "swiglu"
    """"swiglu" is gated (Shazeer 2020)."""
    norm: Literal["layer", "rms"] = "layer"
    """"layer" is a layer norm without bias; on CPUs its kernel is several times faster than that of "rms"."""
    norm_position: Literal["pre", "post"] = "pre"
    """Whether the input of a layer is normalised, or its output."""
    qk_norm: bool = True
    """Normalise queries and keys in each head."""
    rotary: bool = True
    """Rotate queries and keys by their continuous positions: attention sees relative position."""
    rotary_max_frequency: float | int | None = positive_or_none(default=None)
    """Highest initial angular frequency in radians per unit of position; the lowest is 1. `None`: the Nyquist frequency
    of the native grid."""
    position_bandwidth: float | int = positive(default=2.0)
    """Standard deviation of the initial frequencies of the position features, in cycles per unit of position."""
    value_bandwidth: float | int | None = positive_or_none(default=0.5)
    """The same for features of the value, in cycles per unit of value. `None`: a value enters through a linear layer,
    as in the paper; fine differences are then learned late."""
    num_scales: int = count(default=1)
    """Number of scales that the model knows: scale s is an average over 2^s cells of the native grid along each axis,
    s = 0, …, `num_scales - 1`. Each side of the native grid must be divisible by 2^(num_scales - 1). 1: cells of the
    native grid alone."""
    chain_scales: list[int] | None = None
    """Scales that sampling from coarse to fine draws one after another, decreasing to 0. `None`: all."""
    step_losses: dict[str, Any] | None = None
    """Measured loss of the next value by the number of known values; block sizes of sampling depend on it. Under
    "random", "scale-0", "scale-1", … a dictionary of lists "known" and "nats". `None`: a typical curve is taken. See
    `python -m benchmarks.steps`."""
    max_buffer_share: float | int = validated_field(_share, default=0.25)
    """Largest share of the known values that may be in the causal buffer while a joint sample is drawn or scored.
    Beyond it, all of them become context and are encoded again: more often, the smaller the share. 1: never, so that
    scoring a whole signal takes little more than one pass."""
    max_tokens: int = count(default=16384)
    """Largest number of context and drawn values together in one call; a guard for memory."""
    initializer_range: float | int = positive(default=0.02)
    """Standard deviation of the initial weights."""
    provenance: dict[str, Any] | None = None
    """What the model card says about data, training and metrics; see `model_card`."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any):
        """As inherited; fields replaced by `kwargs` are checked like those of a new config.

        Raises:
            ValueError: if a config file holds anything but an object with the fields of a config.
        """
        if not isinstance(config_dict, dict):
            raise ValueError(f"config.json: expected a JSON object, got {config_dict!r:.60}")
        replaced = {name: kwargs.pop(name) for name in cls.own_fields() if name in kwargs}
        given, replaced = (
            {cls.attribute_map.get(name, name): value for name, value in part.items()}
            for part in (config_dict, replaced)
        )
        return super().from_dict({**given, **replaced}, **kwargs)

    @classmethod
    def own_fields(cls) -> list[str]:
        """Names of the fields that other models do not have, those of earlier versions included."""
        return [*PixelTransformerConfig.__annotations__, *cls.attribute_map]

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
            "value_bandwidth": None,
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
    def std_bounds(self) -> tuple[float, float]:
        """Smallest and largest standard deviation of a component, in the units of values."""
        extent = self.value_range[1] - self.value_range[0] if self.value_range else 1.0
        smallest = self.quantization_step / 8 if self.quantization_step else 1e-3 * extent
        low = self.min_std if self.min_std is not None else smallest
        high = self.max_std if self.max_std is not None else 0.5 * extent
        return low, high

    @property
    def rotary_nyquist(self) -> float:
        """Highest initial rotary frequency, in radians per unit of position."""
        if self.rotary_max_frequency is not None:
            return self.rotary_max_frequency
        return math.pi * max(self.native_grid) / 2

    def validate_shape(self) -> None:
        """Raise unless the fields on positions and on the network's widths fit together."""
        self._expect(
            self.axes is None or sorted(self.axes) == list(range(self.position_dim)),
            "axes",
            f"None or each of the {self.position_dim} coordinates of native_grid once, counted from 0",
        )
        self._expect(
            self.hidden_size % (2 * self.num_attention_heads) == 0,
            "hidden_size",
            f"a multiple of twice num_attention_heads ({self.num_attention_heads})",
        )

    def validate_scales(self) -> None:
        """Raise unless the native grid can be halved as often as the scales need."""
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

    def validate_values(self) -> None:
        """Raise unless the fields on values fit together."""
        bounds, step = self.value_range, self.quantization_step
        if step is not None:
            self._expect(bounds is not None, "quantization_step", "None without a value_range")
            levels = (bounds[1] - bounds[0]) / step
            self._expect(
                abs(levels - round(levels)) < 1e-3 and round(levels) > 0, "quantization_step", f"a part of {bounds}"
            )
        low, high = self.std_bounds
        self._expect(low < high, "max_std", f"None or a number above min_std ({low:g})")
        self._expect(
            self.value_dim > 1 or not self.correlated_channels, "correlated_channels", "False where value_dim is 1"
        )

    def _expect(self, ok: bool, name: str, expected: str) -> None:
        if not ok:
            raise ValueError(f"{type(self).__name__}.{name}: expected {expected}, got {getattr(self, name)!r}")


PixelTransformerConfig.register_for_auto_class()
