"""Speculative sampling: exact samples, with many values drawn per pass of the network.

Leviathan, Kalman & Matias (ICML 2023) and Chen et al. (2023) use a small model to draft for a large one. Here the model
drafts for itself, because it predicts any number of values at once from any subset of them (Guo & Ermon, 2025).

A round works as follows. A block of drafts x_1, x_2, … is drawn from proposals q_1, q_2, … and appended to the memory.
One pass gives the distribution p_i of each value given all values before it. Draft x_i is accepted with probability
min(1, p_i(x_i) / q_i(x_i)). The first rejected draft is drawn again from the residual distribution, proportional to
max(0, p_i - q_i), and the drafts after it are dropped.

What is kept has exactly the distribution that drawing one value per pass would give. This holds for any proposal q_i
that does not depend on the random numbers of value i or of later values. Proposals are therefore taken from the round
before: for values whose drafts were dropped, the distributions p_i of that round; for values beyond the block,
predictions given all drafts of the block. In the first round they are predictions given the context.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .chain import Chain, draw_blocks
from .distribution import ValueDistribution
from .orders import renewals
from .row_memory import windows
from .streams import Streams

FIRST, SHORTEST, LONGEST = 8, 8, 64  # drafts per round: in the first round, at least, at most
GROWTH, AHEAD = 2.5, 2.0  # per value accepted lately: drafts, and proposals for values after the drafts
TRIES = 24  # draws for a residual that are tried at once, at first
ATTEMPTS = 2**16  # approximate limit of draws for one residual; see `draw_residual`


@torch.inference_mode()
def draw_speculatively(
    chain: Chain, streams: Streams, temperature: float, use_cache: bool = True, complete: bool = False
) -> Iterator[None]:
    """Draw the values of a chain in rounds, with the distribution of drawing one at a time; yields after each round.

    Rows advance independently of each other. Arguments as for `draw_blocks`; `spare` gives the number of free slots
    that the chain needs.
    """
    share, device = chain.model.config.max_buffer_share, chain.values.device
    noise, pace = chain.noise(streams), [Pace(total) for total in chain.totals]
    renewed = [renewals(*counts, share) for counts in zip(chain.known, chain.totals, strict=True)]
    stops = [sorted({*at, total}) for at, total in zip(renewed, chain.totals, strict=True)]  # blocks end here
    proposed = [own.length for own in pace]  # number of values of each row that have a proposal
    proposals = chain.decode(chain.drawn, max(1, *proposed)).tempered(temperature)
    while not chain.done:
        if not use_cache:
            chain.encode_anew(torch.arange(1, max(chain.totals) + 1, device=device).expand(len(pace), -1))
        due = [row for row, drawn in enumerate(chain.drawn) if drawn == stops[row][0] < chain.totals[row]]
        for row in due:
            stops[row].pop(0)
        chain.renew(due)
        starts = chain.drawn
        lengths = [
            min(own.length, found, stop[0] - start)
            for own, found, stop, start in zip(pace, proposed, stops, starts, strict=True)
        ]
        ahead = [
            min(own.ahead, total - start - length)
            for own, total, start, length in zip(pace, chain.totals, starts, lengths, strict=True)
        ]
        part = noise.at(starts, max(lengths))
        drafts = proposals[:, : max(lengths)].draw(part.choice, part.normal)
        chain.write(starts, drafts)
        judged = _judge(chain, starts, lengths, ahead).tempered(temperature)
        accepted = _accepted(judged, proposals, drafts, part.accept, torch.tensor(lengths, device=device))
        rejected = accepted < torch.tensor(lengths, device=device)
        if rejected.any():
            rows = rejected.nonzero()[:, 0]
            here = rows, accepted[rows]
            numbers = torch.tensor(starts, device=device)[rows] + accepted[rows]
            values = draw_residual(judged[here], proposals[here], streams.rows(rows.cpu()), numbers.cpu())
            chain.values[rows, chain.first[rows, 0] + numbers] = values.to(chain.values.dtype)
        kept, moved = accepted.tolist(), (accepted + rejected).tolist()
        chain.drawn = [start + by for start, by in zip(starts, moved, strict=True)]
        chain.encoded = [start + by for start, by in zip(starts, kept, strict=True)]
        for own, count, length in zip(pace, kept, lengths, strict=True):
            own.learn(count, length)
        proposed = [length + more - by for length, more, by in zip(lengths, ahead, moved, strict=True)]
        rows, index = windows(moved, max(proposed), device)
        proposals = judged[rows, index.clamp(max=judged.batch_shape[1] - 1)]
        yield
    if complete:
        _judge(chain, chain.drawn, [0] * len(pace), [1] * len(pace))  # encodes what was drawn last
        chain.encoded = chain.drawn.copy()
        chain.renew([row for row, at in enumerate(renewed) if chain.totals[row] in at])


class Pace:
    """How many values a row drafts, and how many further ones get proposals: somewhat more than were accepted lately.

    More of them save rounds, but what is dropped was computed in vain, and several rows keep all cores busy. The
    factors are a compromise: on CIFAR-10, 2.5 and 2 take 50 rounds where 3 and 3 take 49, and 8 % less time.
    """

    def __init__(self, total: int):
        self.longest = min(LONGEST, total)
        self.recent, self.length = 0.0, min(FIRST, total)
        self.ahead = min(2 * FIRST, total)

    def learn(self, accepted: int, length: int) -> None:
        """Record that `accepted` of `length` drafts were accepted."""
        if not length:
            return
        self.recent = 0.5 * self.recent + 0.5 * accepted
        least = 2 * length if accepted == length else SHORTEST
        self.length = min(max(SHORTEST + round(GROWTH * self.recent), least), self.longest)
        self.ahead = min(max(SHORTEST + round(AHEAD * self.recent), least), self.longest)


def _judge(chain: Chain, starts: list[int], lengths: list[int], ahead: list[int]) -> ValueDistribution:
    """Distributions (N, L) of each row's drafts, each given those before it, and of `ahead` more values given all."""
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    counts, device = [end - encoded for end, encoded in zip(ends, chain.encoded, strict=True)], chain.values.device
    if count := max(counts):
        seen = 1 + windows(chain.encoded, count, device)[1]
        chain.append(chain.encoded, chain.values_at(chain.encoded, count), seen, counts)
    counts = [length + more for length, more in zip(lengths, ahead, strict=True)]
    queries = windows(starts, max(counts), device)[1]
    return chain.decode(starts, max(counts), torch.minimum(queries, torch.tensor(ends, device=device)[:, None]), counts)


def _accepted(
    judged: ValueDistribution, proposals: ValueDistribution, drafts: Tensor, accept: Tensor, lengths: Tensor
) -> Tensor:
    """Number (N,) of accepted drafts (N, L, V) before the first rejected one.

    Args:
        accept (`Tensor` (N, L)): Uniform random numbers that decide about acceptance.
        lengths (`Tensor` (N,)): Number of drafts of each row; what follows in the row is not a draft.
    """
    count = drafts.shape[1]
    log_ratio = _log_ratio(judged[:, :count], proposals[:, :count], drafts)
    accepted = (accept.log() < log_ratio) & (torch.arange(count, device=drafts.device) < lengths[:, None])
    return accepted.long().cumprod(1).sum(1)


def _log_ratio(p: ValueDistribution, q: ValueDistribution, values: Tensor) -> Tensor:
    """log p - log q at `values` (…, N, V) or (…, N, L, V), both in one pass, as a pass is many small operations."""
    dim = -1 - len(p.batch_shape)
    both = ValueDistribution.cat([p, q], 0).log_prob(torch.cat((values, values), dim))
    of_p, of_q = both.chunk(2, dim + 1)
    return of_p - of_q


def draw_residual(target: ValueDistribution, proposal: ValueDistribution, streams: Streams, numbers: Tensor) -> Tensor:
    """Draw values (R, V) from the residual, proportional to max(0, p - q), with p the target and q the proposal.

    Rejection sampling: a draw from the target is accepted with probability max(0, 1 - q / p). The closer p and q are,
    the more draws a residual takes, but the more rarely one is needed: at total variation distance d, a share d of the
    drafts needs 1 / d draws each, which is one draw per draft on average. A row without an accepted draw after about
    `ATTEMPTS` draws keeps the last one: the total variation distance of p and q is then about 1e-5, a rounding error.

    Args:
        streams (`Streams`): Random numbers of the R rows, one for each rejected draft.
        numbers (`Tensor` (R,), on the CPU): Index of each value in its chain.
    """
    channels, device = target.event_shape[0], target.means.device
    values = torch.empty(*target.batch_shape, channels, device=device)
    rows, tried, tries = torch.arange(len(values)), 0, TRIES
    while len(rows) and tried < ATTEMPTS:
        size = channels + 2  # random numbers per draw; `Noise` uses the first ones
        uniform = streams.rows(rows).uniform(numbers[rows, None], size * (1 + tried), size * tries)
        uniform = uniform.view(len(rows), tries, size).transpose(0, 1)  # (tries, rows, numbers)
        normal = torch.special.ndtri(uniform[..., 2:]).float().to(device)
        choice, accept = uniform[..., :2].float().to(device).unbind(-1)
        p, q = target[rows.to(device)], proposal[rows.to(device)]
        drawn = p.draw(choice, normal)
        accepted = accept < -torch.expm1(-_log_ratio(p, q, drawn))
        first = accepted.byte().argmax(0)  # index of the first accepted draw, 0 if there is none
        found = accepted.any(0)
        values[rows.to(device)] = drawn[torch.where(found, first, -1), torch.arange(len(rows), device=device)]
        rows, tried, tries = rows[~found.cpu()], tried + tries, min(2 * tries, 4096)
    return values


def draw(
    chain: Chain, sizes: list[list[int]] | None, streams: Streams, options, complete: bool = False
) -> Iterator[None]:
    """Draw a chain in blocks of the given sizes, or speculatively if `sizes` is `None`."""
    how = (streams, options.temperature, options.use_cache, complete)
    return draw_speculatively(chain, *how) if sizes is None else draw_blocks(chain, sizes, *how)


def spare(sizes: list[list[int]] | None, most: int) -> int:
    """Free slots that a chain of `most` values needs after the last one, as rows that are done are computed too."""
    return 2 * min(LONGEST, most) + 1 if sizes is None else max(max(row, default=0) for row in sizes)
