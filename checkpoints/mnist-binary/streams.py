"""Random numbers for each sample on its own, independent of what else is drawn in the same call."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): number n of a stream is a hash of key + n × WEYL.
WEYL = 0x9E3779B97F4A7C15 - 2**64
MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
NUMBERS_OF_A_VALUE = 2**24  # random numbers reserved for each value: far more than it needs
ORDER_BLOCK = 2**38  # the numbers for the order start here, after those of 16 million values

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class Streams:
    """One stream of random numbers for each row. Any number can be read at any time, by its index.

    The stream of sample s of item i depends only on the generator's next number, on i and on s. So the samples of an
    item do not depend on the other items, and the first samples do not depend on how many are drawn. Numbers are
    computed on the CPU and are the same for every device.

    Attributes:
        keys (`Tensor` (N,), int64, on the CPU): Start of each stream.
    """

    keys: Tensor

    @classmethod
    def of(cls, generator: Generators, batch: int, samples: int = 1) -> "Streams":
        """Streams for samples × batch rows: all items of sample 0, then of sample 1, …

        Args:
            generator (`torch.Generator`, a sequence of `batch` of them, or `None`): Each supplies one number. With one
                generator per item, an item's samples do not depend on its index in the batch either. `None`: torch's
                default generator.

        Raises:
            ValueError: if a sequence does not hold one generator per item.
        """
        if generator is None or isinstance(generator, torch.Generator):
            items = _hash(_seed(generator) + WEYL * torch.arange(batch))
        else:
            given = list(generator)
            if len(given) != batch or not all(isinstance(one, torch.Generator) for one in given):
                names = ", ".join(sorted({type(one).__name__ for one in given}))
                raise ValueError(
                    f"generator: expected one torch.Generator, or one for each of {batch} items, "
                    f"got {len(given)} ({names or 'none'})"
                )
            items = _hash(torch.cat([_seed(one) for one in given]))
        return cls(_hash(items + WEYL * torch.arange(1, samples + 1)[:, None]).flatten())

    def rows(self, index: Tensor) -> "Streams":
        """The streams of the rows with these indices."""
        return Streams(self.keys[index])

    def fork(self, number: int) -> "Streams":
        """New streams for the same rows, different for each `number`."""
        return Streams(_hash(_hash(self.keys) + WEYL * torch.tensor(number + 1)))

    def uniform(self, values: Tensor, first: int, count: int) -> Tensor:
        """Uniform numbers in (0, 1), (N, L, `count`), float64: those with index `first`, `first` + 1, … of each value.

        Args:
            values (`Tensor` (N, L), int64): Indices of values in their chain.
        """
        start = self.keys[:, None, None] + WEYL * (values[..., None] * NUMBERS_OF_A_VALUE)
        bits = _hash(start + WEYL * torch.arange(first, first + count))
        return ((_right(bits, 12)).double() + 0.5) * 2.0**-52

    def of_order(self, count: int) -> Tensor:
        """Uniform numbers in (0, 1) that decide about each row's order, (N, `count`), float64."""
        return self.uniform(torch.full((len(self.keys), 1), ORDER_BLOCK), 0, count)[:, 0]


def _seed(generator: torch.Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    return torch.randint(2**62, (1,), generator=generator, device=device).cpu()


def _right(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: the sign bit is not copied."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _hash(x: Tensor) -> Tensor:
    x = (x ^ _right(x, 30)) * MULTIPLIERS[0]
    x = (x ^ _right(x, 27)) * MULTIPLIERS[1]
    return x ^ _right(x, 31)
