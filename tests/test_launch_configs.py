"""The accelerate config files in examples/ are read by accelerate, and what they cannot do is told at once."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import DistributedType
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils.dataclasses import get_module_class_from_name
from torch.distributed.fsdp import MixedPrecisionPolicy

from conftest import ROOT, make_model
from training.arguments import Arguments
from training.optimizers import prepare_sharding

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
