"""Recurrent models: an RNN over the sequence of pixels, and PixelRNN with Row LSTM and with Diagonal BiLSTM.

Van den Oord, Kalchbrenner & Kavukcuoglu, ICML 2016. Both PixelRNNs start with a 7×7 convolution with mask A; LSTM
layers with residual connections follow, then two 1×1 convolutions. Binarised MNIST (static), published: Row LSTM
80.54, Diagonal BiLSTM 79.20 nats. The RNN over pixels is the textbook model that they improve on.

- Row LSTM: the state of a pixel comes from the three states above it, so that it sees a triangle above.
- Diagonal BiLSTM: rows are skewed, so that a diagonal is a column; the state comes from the left and from above, in
  one direction and in the other. Together they see all pixels before.
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head
from .layers import CausalConv, Rowwise, ShiftDown
from .rows import RasterImageModel


@strict
class PixelSequenceConfig(FieldConfig):
    """Args:
    hidden_size: Units.
    num_layers: Layers.
    """

    model_type = "field-pixel-sequence"

    hidden_size: int = 160
    num_layers: int = 2


class PixelSequence(AutoregressiveModel):
    """A GRU over pixels in raster order; its input is the pixel before and where the next one lies."""

    config_class = PixelSequenceConfig

    def __init__(self, config: PixelSequenceConfig):
        super().__init__(config)
        self.head = Head(config)
        inputs = config.value_dim + config.position_dim
        self.recurrent = nn.GRU(inputs, config.hidden_size, config.num_layers, batch_first=True)
        self.output = nn.Linear(config.hidden_size, self.head.size)
        self.post_init()

    def _inputs(self, values: Tensor) -> Tensor:
        before = F.pad(2 * values - 1, (0, 0, 1, 0))[:, :-1]
        return torch.cat((before, self.native_positions().expand(len(values), -1, -1)), 2)

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        return self.head.read(self.output(self.recurrent(self._inputs(values))[0]))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        values, inputs = values.clone(), self._inputs(values)
        state = self.recurrent(inputs[:, :start])[1] if start else None
        for cell in range(start, stop):
            out, state = self.recurrent(inputs[:, cell : cell + 1], state)
            drawn = self.head.read(self.output(out)).sample((), generator, temperature)
            values[:, cell] = drawn[:, 0]
            if cell + 1 < inputs.shape[1]:
                inputs[:, cell + 1, :1] = 2 * drawn[:, 0] - 1
        return values


class RowLSTM(Rowwise):
    """An LSTM from row to row: the state passes through a convolution of three columns, the input through a masked one.

    Args:
        width (`int`): Channels of input and state.
        size (`int`): Columns of both convolutions.
    """

    def __init__(self, width: int, size: int = 3):
        super().__init__()
        self.from_input = CausalConv(width, 4 * width, (1, size), "B")
        self.from_state = nn.Conv1d(width, 4 * width, size, padding=size // 2)
        self._state: tuple[Tensor, Tensor] | None = None

    def start_rows(self) -> None:
        super().start_rows()
        self._state = self._next = None

    def stop_rows(self) -> None:
        super().stop_rows()
        self._state = self._next = None

    def finish_row(self) -> None:
        """The state after a row is all that is remembered."""
        self._state = self._next

    def forward(self, x: Tensor) -> Tensor:
        gates, rows = self.from_input(x), []
        state = self._state if self.cached else None
        for y in range(x.shape[2]):
            state = self._step(gates[:, :, y], state)
            rows.append(state[0])
        self._next = state if self.cached else None
        return torch.stack(rows, 2)

    def _step(self, gates: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Hidden values and memory (B, C, x) of a row from its gates (B, 4 C, x)."""
        gates = gates + (self.from_state.bias[:, None] if state is None else self.from_state(state[0]))
        return _lstm(gates, 0 if state is None else state[1])


def _lstm(gates: Tensor, memory: Tensor | int, dim: int = 1) -> tuple[Tensor, Tensor]:
    """Hidden values and memory from gates (B, 4 C, …), or with 4 C at `dim`: output, forget, input, content."""
    out, forget, enter, content = gates.chunk(4, dim)
    memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(content)
    return torch.sigmoid(out) * torch.tanh(memory), memory


class DiagonalLSTM(Rowwise):
    """One direction: the state of a pixel comes from those to its left and above it."""

    def __init__(self, width: int):
        super().__init__()
        self.from_input = nn.Conv2d(width, 4 * width, 1)
        self.from_state = nn.Linear(2 * width, 4 * width)  # of the pixel above, then of the pixel to the left

    def start_rows(self) -> None:
        super().start_rows()
        self._states = self._next = None

    def stop_rows(self) -> None:
        super().stop_rows()
        self._states = self._next = None

    def finish_row(self) -> None:
        """The states of a row are all that is remembered."""
        self._states = self._next

    def forward(self, x: Tensor) -> Tensor:
        gates = self.from_input(x)
        return self._row_by_row(gates) if self.cached else self._along_diagonals(gates)

    def _step(self, gates: Tensor, above: Tensor, left: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden values and memory (…, C) from gates (…, 4 C), hidden values above and left, and memory to the left."""
        return _lstm(gates + self.from_state(torch.cat((above, left), -1)), memory, -1)

    def _along_diagonals(self, gates: Tensor) -> Tensor:
        """States (B, C, y, x) from gates (B, 4 C, y, x), all pixels of a diagonal at once."""
        columns = skew(gates).permute(3, 0, 2, 1).contiguous()  # (column, B, y, 4 C): each lies in one piece
        hidden = memory = columns.new_zeros(*columns.shape[1:3], columns.shape[3] // 4)
        rows, states = torch.arange(gates.shape[2], device=gates.device)[:, None], []
        for number, column in enumerate(columns.unbind()):
            # In the skewed image, both neighbours lie in the column before: of the row above and of the own row.
            above = F.pad(hidden, (0, 0, 1, 0))[:, :-1]
            state = self._step(column, above, hidden, memory)
            # Cells of a skewed image that lie before its row are no pixels and must not hold a state.
            hidden, memory = (part * (rows <= number).to(part.dtype) for part in state)
            states.append(hidden)
        return unskew(torch.stack(states, -1).transpose(1, 2), gates.shape[3])

    def _row_by_row(self, gates: Tensor) -> Tensor:
        """The same for one row, (B, C, 1, x) from (B, 4 C, 1, x), after the rows that are remembered."""
        pixels = gates[:, :, 0].permute(2, 0, 1).contiguous()  # (x, B, 4 C)
        hidden = memory = pixels.new_zeros(pixels.shape[1], pixels.shape[2] // 4)
        above = pixels.new_zeros(len(pixels), *hidden.shape) if self._states is None else self._states
        states = []
        for column, over in zip(pixels, above, strict=True):
            hidden, memory = self._step(column, over, hidden, memory)
            states.append(hidden)
        self._next = torch.stack(states)
        return self._next.permute(1, 2, 0)[:, :, None]


class DiagonalBiLSTM(nn.Module):
    """Both directions; the one from the right is moved down by a row, so that it sees no pixel after its own."""

    def __init__(self, width: int):
        super().__init__()
        self.left, self.right = DiagonalLSTM(width), DiagonalLSTM(width)
        self.down = ShiftDown()

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.down(self.right(x.flip(3)).flip(3))


def skew(x: Tensor) -> Tensor:
    """Row y moves y columns to the right: (B, C, y, x) becomes (B, C, y, x + y - 1)."""
    height, width = x.shape[2:]
    return F.pad(x, (0, height)).flatten(2)[..., : height * (width + height - 1)].unflatten(2, (height, -1))


def unskew(x: Tensor, width: int) -> Tensor:
    """The inverse of `skew`."""
    height = x.shape[2]
    return F.pad(x.flatten(2), (0, height)).unflatten(2, (height, -1))[..., :width]


@strict
class PixelRNNConfig(FieldConfig):
    """Args:
    layer: "row" or "diagonal".
    hidden_size: Channels of states.
    num_layers: LSTM layers.
    """

    model_type = "field-pixel-rnn"

    layer: str = "row"
    hidden_size: int = 48
    num_layers: int = 4


class PixelRNNNetwork(nn.Module):
    """See the module.

    Args:
        condition (`int`): Channels of a further image that every layer sees.
    """

    def __init__(self, layer: str, width: int, num_layers: int, channels: int, outputs: int, condition: int = 0):
        super().__init__()
        make = {"row": RowLSTM, "diagonal": DiagonalBiLSTM}
        if layer not in make:
            raise ValueError(f"layer: expected row or diagonal, got {layer!r}")
        self.first = CausalConv(channels, width, (4, 7), "A")
        self.layers = nn.ModuleList(make[layer](width) for _ in range(num_layers))
        self.condition = nn.Conv2d(condition, width, 3, padding=1) if condition else None
        self.last = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, outputs, 1))

    def forward(self, x: Tensor, first_row: int = 0, condition: Tensor | None = None) -> Tensor:
        x = self.first(x)
        if condition is not None:
            x = x + self.condition(condition)
        for layer in self.layers:
            x = x + layer(x)
        return self.last(x)


class PixelRNN(RasterImageModel):
    """With Row LSTM or Diagonal BiLSTM."""

    config_class = PixelRNNConfig

    def __init__(self, config: PixelRNNConfig):
        super().__init__(config)
        sizes = (config.layer, config.hidden_size, config.num_layers, config.value_dim, self.head.size)
        self.network = PixelRNNNetwork(*sizes)
        self.post_init()
