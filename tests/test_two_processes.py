"""Two processes see what one sees that accumulates two batches; streams are dealt out without repeats."""

import json
import re

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from conftest import ROOT
from processes import launch, python
from signals.streams import Stream
from training.batches import EpisodeBatches
from training.episodes import EpisodeSampler
from training.journal import read_journal

SAMPLER = EpisodeSampler(seed=0, max_context=40, buffer=8, queries=8, token_budget=256, num_cells=64)


def test_two_processes_have_the_losses_of_one_with_the_same_global_batch(tmp_path):
    (tmp_path / "one").mkdir()
    common = dict(max_train_steps=6, save_every=100)
    launch(tmp_path / "one", 1, output_dir=str(tmp_path / "1"), gradient_accumulation_steps=2, **common)
    launch(tmp_path, 2, output_dir=str(tmp_path / "2"), **common)
    one, two = (read_journal(tmp_path / name / "log.jsonl") for name in "12")
    assert [line["nats"] for line in two] == pytest.approx([line["nats"] for line in one], rel=2e-5)
    assert len({line["nats"] for line in one}) == 6
    first, second = (load_file(tmp_path / name / "state-6" / "model.safetensors") for name in "12")
    for name in first:
        assert torch.allclose(first[name], second[name], atol=2e-4), name


@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_a_batch_holds_depends_on_its_number_alone(world):
    alone = iter(EpisodeBatches(50, SAMPLER))
    streams = [iter(EpisodeBatches(50, SAMPLER, rank, world, start=2 * world)) for rank in range(world)]
    for _ in range(2 * world):
        next(alone)
    assert [next(alone) for _ in range(4 * world)] == [next(stream) for _ in range(4) for stream in streams]


def numbers(shards: int) -> Stream:
    """A stream of the numbers 0 … 52."""
    return Stream(Dataset.from_dict({"a": list(range(53))}).to_iterable_dataset(num_shards=shards), 0, 10)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_of_a_stream_shows_every_row_once_over_all_processes(shards, world):
    parts = []
    for rank in range(world):
        stream = numbers(shards)
        stream.split(rank, world)
        batches = iter(EpisodeBatches(None, SAMPLER, rank, world))
        rows = []
        while stream.epoch == 0:
            rows += [stream[row]["a"] for row in next(batches)]
        parts += rows[: len(stream)]
        assert rows[: len(stream)] != sorted(rows[: len(stream)])  # shuffled
    assert sorted(parts) == list(range(53))


@pytest.mark.parametrize("shards", [1, 4])
def test_a_stream_goes_on_exactly_where_it_was(shards):
    """At any row, over the end of an epoch too, from a state that has been JSON."""
    whole = numbers(shards)
    rows = [whole[row]["a"] for row in range(120)]
    stream = numbers(shards)
    for row in range(110):
        assert stream[row]["a"] == rows[row]
        again = numbers(shards)
        again.load_state_dict(json.loads(json.dumps(stream.state_dict())))
        assert [again[later]["a"] for later in range(row + 1, row + 6)] == rows[row + 1 : row + 6]


def test_a_stream_is_read_in_order():
    stream = numbers(2)
    assert stream[25]["a"] in range(20, 30)
    with pytest.raises(ValueError, match="--streaming: expected rows in order, from 20 on, got 3"):
        stream[3]


def test_a_streamed_training_resumes_with_the_same_losses(image_folder, tmp_path):
    """Two processes, images, interrupted in the middle of the stream."""
    splits = image_folder.parent / "data"
    for number, path in enumerate(sorted(image_folder.iterdir())):
        target = splits / ("train" if number < 36 else "validation") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    flags = dict(kind="image", dataset_name=str(splits), streaming=True, validation_split="validation")
    flags |= dict(cache_dir=str(tmp_path / "cache"), shuffle_rows=8, max_train_steps=6, save_every=4, num_bins=4)
    launch(tmp_path, 2, output_dir=str(tmp_path / "run"), max_checkpoints=3, **flags)
    whole = read_journal(tmp_path / "run" / "log.jsonl")
    expected = load_file(tmp_path / "run" / "export" / "model.safetensors")
    state = tmp_path / "run" / "state-4"
    assert {path.name for path in state.glob("place*")} == {"place-0-of-2.json", "place-1-of-2.json"}
    launch(tmp_path, 2, output_dir=str(tmp_path / "run"), resume=str(state), **flags)
    assert read_journal(tmp_path / "run" / "log.jsonl") == whole
    again = load_file(tmp_path / "run" / "export" / "model.safetensors")
    assert all(torch.equal(expected[name], again[name]) for name in expected)


SHORT_LIMIT = """
import datetime, time
from torch import distributed
start = distributed.init_process_group
distributed.init_process_group = lambda *a, **k: start(*a, **{**k, "timeout": datetime.timedelta(seconds=3)})
from training import run
from signals.polynomial import Polynomials
validate, load = run.validate, Polynomials.load
waits = [4]  # the first validation takes longer than the limit, the last one does not
run.validate = lambda *a: (time.sleep(waits.pop() if waits else 0), validate(*a))[1]
Polynomials.load = lambda *a, **k: (time.sleep(4 * (os.environ["RANK"] == "0")), load(*a, **k))[1]
"""


def test_processes_wait_for_the_main_one_beyond_the_limit_of_collectives(tmp_path):
    """It prepares the data and validates alone, for longer than a process may be silent in training."""
    launch(tmp_path, 2, SHORT_LIMIT, output_dir=str(tmp_path / "run"), max_train_steps=3, validate_every=2)
    assert (tmp_path / "run" / "export" / "model.safetensors").exists()


RECORD = """
import os
from training import reading
make = reading.make_episode
def recorded(kind, batch, sizes, seed, number, *rest):
    os.write(1, f"batch {number}\\n".encode())  # in one piece, whatever else the two processes write
    return make(kind, batch, sizes, seed, number, *rest)
reading.make_episode = recorded
"""


def test_another_number_of_processes_goes_on_with_the_next_batch(tmp_path):
    flags = dict(output_dir=str(tmp_path / "run"), save_every=100)
    said = launch(tmp_path, 1, RECORD, max_train_steps=3, **flags)
    said += launch(tmp_path, 2, RECORD, max_train_steps=5, resume="latest", **flags)
    said += launch(tmp_path, 1, RECORD, max_train_steps=7, resume="latest", **flags)
    assert sorted(map(int, re.findall(r"batch (\d+)", said))) == list(range(9))


def test_a_stream_stays_with_the_processes_that_it_was_dealt_out_to(image_folder, tmp_path):
    flags = dict(kind="image", dataset_name=str(image_folder), streaming=True, validation_split="train", num_bins=4)
    flags |= dict(output_dir=str(tmp_path / "run"), shuffle_rows=8, validation_size=4)
    launch(tmp_path, 2, max_train_steps=2, **flags)
    said = launch(tmp_path, 1, expect=1, max_train_steps=4, resume="latest", **flags)
    assert "--resume: expected 2 processes, to which the stream of" in said and "got 1" in said
    said = launch(tmp_path, 1, expect=1, max_train_steps=4, resume="latest", **{**flags, "streaming": False})
    assert "--streaming: expected true, as the run of" in said or "--dataset_name: expected what" in said


SHARDED = """
import os, socket, sys
sys.path[:0] = [{root!r}, {tests!r}]
import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from conftest import make_context, make_model

def run(rank, port):
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{{port}}", rank=rank, world_size=2)
    mesh = dist.init_device_mesh("cpu", (2,))
    whole, sharded = (make_model(value_dim=3, correlated_channels=True) for _ in range(2))
    kinds = set(sharded._no_split_modules)
    layers = [module for module in sharded.modules() if type(module).__name__ in kinds]
    for module in [*layers, sharded]:
        fully_shard(module, mesh=mesh)
    assert len(layers) == 4 and all(isinstance(module, FSDPModule) for module in layers)
    positions, values = make_context(whole, batch=2, context=9)
    parts = {{"context": slice(0, 3), "buffer": slice(3, 6), "query": slice(6, 9)}}

    def episode(items):
        found = {{f"{{name}}_positions": positions[items, part] for name, part in parts.items()}}
        return found | {{f"{{name}}_values": values[items, part] for name, part in parts.items()}}

    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-2) for model in (whole, sharded)]
    for _ in range(3):
        loss = whole(**episode(slice(None))).loss
        own = sharded(**episode(slice(rank, rank + 1))).loss
        loss.backward(), own.backward()
        mean = own.detach().clone()
        dist.all_reduce(mean)
        assert torch.allclose(mean / 2, loss.detach(), atol=1e-5), (mean, loss)
        for (name, one), other in zip(sharded.named_parameters(), whole.parameters(), strict=True):
            assert isinstance(one, DTensor) and one.to_local().numel() < other.numel(), name
            away = (one.grad.full_tensor() - other.grad).abs().max()
            assert away < 1e-4 * other.grad.abs().max() + 1e-5, (name, away, other.grad.abs().max())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for one, other in zip(sharded.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(one.full_tensor(), other, atol=1e-3)
    os.write(1, b"rank %d agrees\\n" % rank)  # in one piece, as two processes write
    dist.destroy_process_group()

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
child = os.fork()
run(int(child == 0), port)
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_layers_sharded_over_two_processes_have_the_losses_and_gradients_of_whole_ones():
    """FSDP2 on CPUs (gloo): each layer's weights are gathered when it computes, half an episode in each process."""
    script = SHARDED.format(root=str(ROOT), tests=str(ROOT / "tests"))
    done = python("-c", script)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert sorted(done.stdout.split("\n"))[-2:] == ["rank 0 agrees", "rank 1 agrees"]
