"""The accelerate config files in examples/ are read by accelerate, and what they cannot do is told at once."""

import re
import shlex
from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from accelerate import DistributedType
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.dataclasses import get_module_class_from_name
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.run import get_args_parser

from conftest import ROOT, make_model
from signals import find, kinds
from training.arguments import Arguments, parse_arguments
from training.optimizers import prepare_sharding
from training.precision import choose_precision
from training.processes import accumulation_steps

FILES = {"ddp.yaml": "MULTI_GPU", "fsdp.yaml": "FSDP", "deepspeed.yaml": "DEEPSPEED"}


@pytest.mark.parametrize(("name", "kind"), FILES.items())
def test_accelerate_reads_the_config_file(name, kind):
    config = load_config_from_file(str(ROOT / "examples" / name))
    assert config.distributed_type == DistributedType(kind) and config.num_processes == 8
    assert config.mixed_precision == "bf16"


def accelerator(kind: DistributedType, **more) -> SimpleNamespace:
    plugin = SimpleNamespace(zero_stage=more.pop("stage", 2), deepspeed_config={})
    sharding = SimpleNamespace(mixed_precision_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    state = SimpleNamespace(deepspeed_plugin=plugin, fsdp_plugin=sharding)
    return SimpleNamespace(distributed_type=kind, is_fsdp2=more.pop("fsdp2", True), state=state)


def test_what_sharding_cannot_do_is_told_before_any_work():
    adamw, muon = Arguments(optimizer="adamw"), Arguments()
    for kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        with pytest.raises(ValueError, match=f"--optimizer: expected adamw with {kind.value}"):
            prepare_sharding(accelerator(kind), muon)
        prepare_sharding(accelerator(kind), adamw)
    with pytest.raises(ValueError, match="fsdp_version: expected 2"):
        prepare_sharding(accelerator(DistributedType.FSDP, fsdp2=False), adamw)
    with pytest.raises(ValueError, match="zero_stage: expected at most 2"):
        prepare_sharding(accelerator(DistributedType.DEEPSPEED, stage=3), adamw)
    prepare_sharding(accelerator(DistributedType.MULTI_GPU), muon)


LAUNCHERS = {"accelerate launch": launch_command_parser, "torchrun": get_args_parser}
PAGES = ["README.md", "SECURITY.md", *(f"examples/{name}" for name in FILES), "examples/train_on_my_images.py"]
PAGES += [
    path.relative_to(ROOT).as_posix() for folder in ("docs", "checkpoints") for path in ROOT.glob(f"{folder}/**/*.md")
]


def launch_commands() -> list[tuple[str, str]]:
    """Pairs of launcher and the words after it, of every command that starts a training in the project's pages."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text().replace("\\\n", " ")
        for launcher in LAUNCHERS:
            for line in re.findall(rf"(?<!\w){launcher} ([^\n`]*train_accelerate\.py[^\n`]*)", text):
                found.append((launcher, line.split("  #")[0].replace("…", "").replace("DATA", "data")))
    return found


def split_by_launcher(launcher: str, words: list[str]) -> list[str]:
    """The words that a launcher hands on to the training, after its own were parsed."""
    return LAUNCHERS[launcher]().parse_args(words).training_script_args


@pytest.mark.parametrize(("launcher", "line"), launch_commands())
def test_every_launch_command_of_the_pages_reaches_the_training(launcher, line):
    words = shlex.split(line)
    own = words[words.index("train_accelerate.py") + 1 :]
    assert split_by_launcher(launcher, words) == own
    if "--help" not in own and "--dataset_name" in own + ["--dataset_name"] * ("--preset" in own):
        needed = ["--output_dir", "x", "--max_train_steps", "1", "--dataset_name", "x"]
        polynomials = "polynomial" in own
        parse_arguments([*(needed[:4] if polynomials else needed), *own])


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_no_launcher_takes_a_flag_of_the_training_for_its_own(launcher):
    names = {entry.name for kind in kinds() for entry in (*fields(Arguments), *fields(find(kind)))}
    for name in sorted(names):
        for own in ([f"--{name}", "x"], [f"--{name}=x"], [f"--{name.replace('_', '-')}", "x"]):
            assert split_by_launcher(launcher, ["train_accelerate.py", *own]) == own


def test_what_a_launcher_was_asked_for_is_followed_or_refused():
    assert accumulation_steps(1, 4) == accumulation_steps(4, 1) == accumulation_steps(4, 4) == 4
    with pytest.raises(ValueError, match="--gradient_accumulation_steps: expected 4, as the launcher has, got 2"):
        accumulation_steps(2, 4)
    assert choose_precision("auto", "cpu", "bf16") == "bf16" and choose_precision("no", "cpu", "bf16") == "no"
    assert choose_precision("auto", "cpu", "no") == choose_precision("auto", "cpu")


def test_sharding_wraps_the_layers_and_leaves_positions_in_float32():
    file = load_config_from_file(str(ROOT / "examples" / "fsdp.yaml"))
    names = file.fsdp_config["fsdp_transformer_layer_cls_to_wrap"].split(",")
    model = make_model()
    assert set(names) == set(model._no_split_modules)
    for name in names:
        assert get_module_class_from_name(model, name).__name__ == name
    sharded = accelerator(DistributedType.FSDP)
    prepare_sharding(sharded, Arguments(optimizer="adamw"))
    assert sharded.state.fsdp_plugin.mixed_precision_policy == MixedPrecisionPolicy()
