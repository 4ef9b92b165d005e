"""What is saved loads elsewhere; what is pushed arrives and loads."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from conftest import CODE, ROOT, make_context, make_model
from hub_server import run_hub
from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from processes import run_outside

FILES = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]  # of a model of images
LOAD = """
import sys, torch
from transformers import AutoConfig, AutoModel
config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
positions, values = torch.linspace(-0.9, 0.9, 6).view(1, 3, 2), torch.linspace(0, 1, 3).view(1, 3, 1)
print(config.model_type, *model.predict(positions, values, model.native_positions()).mean[0, :3, 0].tolist())
"""


def expected_line(model) -> list[float]:
    positions, values = torch.linspace(-0.9, 0.9, 6).view(1, 3, 2), torch.linspace(0, 1, 3).view(1, 3, 1)
    return model.predict(positions, values, model.native_positions()).mean[0, :3, 0].tolist()


def check_loads(model, folder: Path, elsewhere: Path, fresh: bool = False) -> None:
    elsewhere.mkdir(exist_ok=True)
    words = run_outside(LOAD, str(folder), folder=elsewhere, fresh=fresh).split()
    assert words[-4] == "pixeltransformer"
    assert [float(word) for word in words[-3:]] == pytest.approx(expected_line(model), abs=1e-5)


def test_saved_folder_holds_config_weights_code_and_card_and_nothing_else(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model")
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == sorted([*FILES, *CODE])
    for name in CODE:
        assert (tmp_path / "model" / name).read_text() == (ROOT / "pixeltransformer" / name).read_text()


def test_saved_folder_loads_in_a_fresh_process_outside_the_repo(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model")
    check_loads(grey_model, tmp_path / "model", tmp_path / "elsewhere", fresh=True)


def test_a_loaded_model_saves_a_folder_that_loads_again(grey_model, tmp_path):
    """Saving from remote code must not lose the code files."""
    grey_model.save_pretrained(tmp_path / "first")
    (tmp_path / "elsewhere").mkdir()
    again = LOAD + "model.save_pretrained(sys.argv[2])"
    run_outside(again, str(tmp_path / "first"), str(tmp_path / "second"), folder=tmp_path / "elsewhere")
    names = sorted(path.name for path in (tmp_path / "second").iterdir())
    assert names == sorted([*FILES, *CODE])
    check_loads(grey_model, tmp_path / "second", tmp_path / "elsewhere")


def test_two_checkpoints_in_a_process_run_their_own_code(grey_model, tmp_path):
    for name in ("one", "two"):
        grey_model.save_pretrained(tmp_path / name)
        with (tmp_path / name / "modeling_pixeltransformer.py").open("a") as file:
            file.write(f"\n\nPixelTransformerModel.code_of = {name!r}\n")
    code = """
import sys
from transformers import AutoModel
for folder in sys.argv[1:]:
    print(AutoModel.from_pretrained(folder, trust_remote_code=True).code_of)
"""
    (tmp_path / "elsewhere").mkdir()
    folders = [str(tmp_path / name) for name in ("one", "two", "one")]
    assert run_outside(code, *folders, folder=tmp_path / "elsewhere").split() == ["one", "two", "one"]


def test_a_broken_checkpoint_does_not_run_the_repositorys_code_instead(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model")
    with (tmp_path / "model" / "orders.py").open("a") as file:
        file.write("\n\nraise ImportError('broken on purpose')\n")
    code = """
import sys
from transformers import AutoModel
try:
    AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
except ImportError as error:
    print(error)
"""
    (tmp_path / "elsewhere").mkdir()
    words = run_outside(code, str(tmp_path / "model"), folder=tmp_path / "elsewhere", PYTHONPATH=str(ROOT))
    assert words.strip() == "broken on purpose"


def test_importing_the_package_makes_trust_needless(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model")
    code = """
import sys
import pixeltransformer
from transformers import AutoConfig, AutoModel
assert type(AutoConfig.from_pretrained(sys.argv[1])) is pixeltransformer.PixelTransformerConfig
assert type(AutoModel.from_pretrained(sys.argv[1])) is pixeltransformer.PixelTransformerModel
"""
    (tmp_path / "elsewhere").mkdir()
    run_outside(code, str(tmp_path / "model"), folder=tmp_path / "elsewhere", PYTHONPATH=str(ROOT))


def test_round_trip_keeps_every_number(model, tmp_path):
    model.set_bins(model.bin_centers * 0.9)
    model.save_pretrained(tmp_path)
    loaded = PixelTransformerModel.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_auto_classes_know_the_model_beside_the_scripts(grey_model):
    assert type(AutoModel.from_config(grey_model.config)) is PixelTransformerModel
    assert AutoConfig.for_model("pixeltransformer").model_type == "pixeltransformer"


def test_card_tells_what_a_stranger_needs(grey_model, tmp_path):
    grey_model.config.provenance = {
        "name": "discs",
        "dataset": "some/discs",
        "metrics": "| K | bits |",
        "data": "Discs.",
    }
    grey_model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    for heading in ("How to use", "Training data", "Training", "Metrics", "Limits", "Citation"):
        assert f"## {heading}" in card
    for words in ("license: apache-2.0", "- some/discs", "Discs.", "| K | bits |", "6×6"):
        assert words in card
    example = re.search(r"```python\n(.*?)```", card, re.S).group(1)
    (tmp_path / "elsewhere").mkdir()
    run_outside(example, folder=tmp_path / "elsewhere")


def test_card_of_a_large_grid_draws_a_part_of_it(tmp_path):
    model = make_model(native_grid=[64, 64], max_tokens=2600, num_scales=2)
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "up to 2 native cells a side" in card and "num_autoregressive=512" in card
    example = re.search(r"```python\n(.*?)```", card, re.S).group(1).replace("512", "5").replace("2000", "20")
    (tmp_path / "elsewhere").mkdir()
    run_outside(example, folder=tmp_path / "elsewhere")


def test_an_edited_card_and_what_stands_beside_it_survive_saving(grey_model, tmp_path):
    """Also a licence and pictures; asked to, saving writes the card anew."""
    grey_model.save_pretrained(tmp_path)
    mine = {"README.md": "---\nlicense: mit\n---\nMine.", "LICENSE": "MIT", "picture.png": "picture", "notes.txt": "x"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    PixelTransformerModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    grey_model.save_pretrained(tmp_path, replace_card=True)
    assert "## How to use" in (tmp_path / "README.md").read_text()
    assert all((tmp_path / name).read_text() == mine[name] for name in mine if name != "README.md")


PUSH = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
PixelTransformerModel.from_pretrained(sys.argv[1]).push_to_hub("someone/discs", **eval(sys.argv[2]))
"""


def push(model_folder: Path, arrived: Path, elsewhere: Path, options: str = "{}") -> dict[str, str]:
    """What a repository holds after a push, by name."""
    with run_hub(arrived) as hub:
        where = dict(HF_ENDPOINT=hub.url, HF_TOKEN="hf_x", HF_HUB_OFFLINE="0")
        run_outside(PUSH, str(model_folder), options, folder=elsewhere, **where)
    return {path.name: path.read_text() for path in arrived.iterdir() if path.suffix != ".safetensors"}


def test_pushing_keeps_the_repository_s_card_and_else_sends_the_folder_s(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model")
    example = 'AutoModel.from_pretrained("/old/path", trust_remote_code=True)'
    (tmp_path / "model" / "README.md").write_text(f"---\nlicense: mit\n---\nMine. {example}")
    (tmp_path / "model" / "LICENSE").write_text("MIT")
    (tmp_path / "model" / "picture.png").write_text("picture")
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    first = push(tmp_path / "model", arrived, tmp_path)
    assert "license: mit" in first["README.md"] and 'from_pretrained("someone/discs", ' in first["README.md"]
    assert (first["LICENSE"], first["picture.png"]) == ("MIT", "picture")
    (arrived / "README.md").write_text("theirs")
    assert push(tmp_path / "model", arrived, tmp_path)["README.md"] == "theirs"
    assert "## How to use" in push(tmp_path / "model", arrived, tmp_path, "{'replace_card': True}")["README.md"]


def two_checkpoints(tmp_path: Path) -> list[Path]:
    """Folders of one name and one config whose code differs: the second knows a weight by another name."""
    folders = [tmp_path / parent / "export" for parent in ("first", "second")]
    for seed, folder in enumerate(folders):
        make_model(seed).save_pretrained(folder)
    code = folders[1] / "modeling_pixeltransformer.py"
    code.write_text(code.read_text().replace("nothing_observed", "empty_set"))
    weights = load_file(folders[1] / "model.safetensors")
    weights["empty_set.token"] = weights.pop("nothing_observed.token")
    save_file(weights, folders[1] / "model.safetensors", {"format": "pt"})
    return folders


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_checkpoints_of_different_code_in_one_process_each_run_their_own(tmp_path, order):
    """And are saved with it."""
    folders = two_checkpoints(tmp_path)
    code = """
import sys, torch
from transformers import AutoModel
for number, folder in enumerate(sys.argv[1:] * 2):
    model, info = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    positions, values = torch.linspace(-0.9, 0.9, 6).view(1, 3, 2), torch.linspace(0, 1, 3).view(1, 3, 1)
    found = model.eval().predict(positions, values, model.native_positions())
    print(hasattr(model, "empty_set"), *found.mean[0, :3, 0].tolist())
    if number < 2:
        model.save_pretrained(f"saved-{number}")
"""
    lines = run_outside(code, *(str(folders[number]) for number in order), folder=tmp_path).strip().splitlines()[-4:]
    for line, number in zip(lines, order * 2, strict=True):
        assert line.split()[0] == str(number == 1)
        found = [float(word) for word in line.split()[1:]]
        assert found == pytest.approx(expected_line(make_model(number)), abs=1e-5)
    for place, number in enumerate(order):
        text = (tmp_path / f"saved-{place}" / "modeling_pixeltransformer.py").read_text()
        assert ("empty_set" in text) == (number == 1)


def test_weights_of_other_code_are_refused_by_name(tmp_path):
    _, other = two_checkpoints(tmp_path)
    with pytest.raises(
        ValueError, match="expected weights of this version .*missing: nothing_observed.token; unexpected: empty"
    ):
        PixelTransformerModel.from_pretrained(other)
    with pytest.raises(ValueError, match="expected weights of this version"):  # this process has registered its own
        AutoModel.from_pretrained(other, trust_remote_code=True)


def test_a_changed_config_is_named_as_a_reason_for_weights_that_do_not_fit(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path)
    message = "missing: .*scale.*if the config differs from its config.json, leave the changes out; otherwise, load"
    with pytest.raises(ValueError, match=message):
        AutoModel.from_pretrained(tmp_path, trust_remote_code=True, num_scales=2)
    config = PixelTransformerConfig.from_pretrained(tmp_path, num_scales=2)
    with pytest.raises(ValueError, match=message):
        PixelTransformerModel.from_pretrained(tmp_path, config=config)


@pytest.mark.parametrize("data", [b"", b"<html>" * 99, None])
def test_damaged_weights_are_refused_with_the_folders_name(grey_model, tmp_path, data):
    grey_model.save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000] if data is None else data)
    with pytest.raises(ValueError, match="model: expected whole safetensors weights, got a damaged file: "):
        PixelTransformerModel.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("text", ["[]", '"config"'])
def test_a_config_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json: expected a JSON object"):
        PixelTransformerModel.from_pretrained(tmp_path)


def test_a_pickle_of_tensors_is_no_checkpoint(grey_model, tmp_path):
    """One that would run code is refused by torch; this one by the model, unless it is asked for."""
    grey_model.save_pretrained(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OSError, match="model.safetensors"):
        PixelTransformerModel.from_pretrained(tmp_path)
    asked_for = PixelTransformerModel.from_pretrained(tmp_path, use_safetensors=False)
    assert torch.equal(asked_for.nothing_observed.token, grey_model.nothing_observed.token)


@pytest.mark.parametrize("load", [PixelTransformerModel, AutoModel, PixelTransformerConfig, AutoConfig])
@pytest.mark.parametrize(
    ("field", "value"), [("max_buffer_share", 2.0), ("num_bins", 0), ("value_range", [1, 0]), ("max_tokens", "many")]
)
def test_overrides_are_checked_like_a_config(grey_model, tmp_path, load, field, value):
    grey_model.save_pretrained(tmp_path)
    trust = {"trust_remote_code": True} if load in (AutoModel, AutoConfig) else {}
    with pytest.raises(ValueError, match=f"PixelTransformerConfig.{field}: expected"):
        load.from_pretrained(tmp_path, **trust, **{field: value})
    with pytest.raises(ValueError, match=f"PixelTransformerConfig.{field}: expected"):
        setattr(grey_model.config, field, value)


def test_fields_that_do_not_fit_together_are_refused_when_used(grey_model, tmp_path):
    grey_model.config.num_scales = 9  # alone a good number, but the grid cannot be halved that often
    with pytest.raises(ValueError, match="PixelTransformerConfig.num_scales: expected at most"):
        PixelTransformerModel(grey_model.config)
    with pytest.raises(ValueError, match="PixelTransformerConfig.num_scales: expected at most"):
        grey_model.config.save_pretrained(tmp_path)


def test_configs_of_earlier_versions_load(tmp_path):
    """Their fields keep their values under new names; overrides may use either name."""
    old = {"min_scale": 0.01, "max_scale": 0.4, "fourier_scale": 3.0, "value_fourier_scale": None}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "pixeltransformer", "num_bins": 7} | old))
    config = PixelTransformerConfig.from_pretrained(tmp_path)
    assert (config.min_std, config.max_std, config.position_bandwidth, config.value_bandwidth) == (0.01, 0.4, 3.0, None)
    assert config.num_bins == 7 and not set(old) & set(config.to_dict())
    for name in ("position_bandwidth", "fourier_scale"):
        assert PixelTransformerConfig.from_pretrained(tmp_path, **{name: 5}).position_bandwidth == 5
        with pytest.raises(ValueError, match="PixelTransformerConfig.position_bandwidth: expected a number above 0"):
            PixelTransformerConfig.from_pretrained(tmp_path, **{name: 0})


def exact_parts(model) -> dict[str, torch.Tensor]:
    names = ("frequencies", "bin_centers", "head", "channel_head", "value_embedding")
    return {name: part for name, part in model.state_dict().items() if set(names) & set(name.split("."))}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_needs_float32_stays_so_in_any_dtype(model, tmp_path, dtype):
    """Loaded or converted, whole or inside another module; all else has the dtype asked for."""
    model.save_pretrained(tmp_path)
    exact = exact_parts(model)
    loaded = PixelTransformerModel.from_pretrained(tmp_path, dtype=dtype).eval()
    converted = [PixelTransformerModel.from_pretrained(tmp_path).to(dtype), torch.nn.Sequential(loaded).to(dtype)[0]]
    converted.append(PixelTransformerModel.from_pretrained(tmp_path).half() if dtype == torch.float16 else loaded)
    context, queries = make_context(model), model.native_positions()
    expected = model.predict(*context, queries)
    for low in (loaded, *converted):
        assert exact_parts(low).keys() == exact.keys()
        assert all(torch.equal(part, exact[name]) for name, part in exact_parts(low).items())
        assert low.encoder[0].query_key_value.weight.dtype == low.dtype == dtype
        found = low.eval().predict(*context, queries)
        assert found.means.dtype == torch.float32 and torch.allclose(found.probs, expected.probs, atol=0.1)
        low.train()(*context, queries.expand(2, -1, -1), queries.new_zeros(2, queries.shape[1], model.config.value_dim))
    assert all(p.dtype == torch.float32 for p in loaded.float().parameters())
    assert all(p.device.type == "meta" for p in loaded.to("meta").parameters())


def test_push_to_hub_sends_every_file_and_what_arrives_loads(grey_model, tmp_path):
    grey_model.config.provenance = {"name": "discs"}
    grey_model.save_pretrained(tmp_path / "model")
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
print(PixelTransformerModel.from_pretrained(sys.argv[1]).push_to_hub("someone/discs", private=True))
"""
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    with run_hub(arrived) as hub:
        printed = run_outside(
            code, str(tmp_path / "model"), folder=tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="hf_x", HF_HUB_OFFLINE="0"
        )
        assert "/api/repos/create" in hub.calls
        assert "/api/models/someone/discs/preupload/main" in hub.calls
        assert "/api/models/someone/discs/commit/main" in hub.calls
    assert "someone/discs/commit/" in printed
    names = sorted(path.name for path in arrived.iterdir())
    assert names == sorted([*FILES, *CODE])
    assert "PixelTransformer on discs" in (arrived / "README.md").read_text()
    assert 'from_pretrained("someone/discs"' in (arrived / "README.md").read_text()
    check_loads(grey_model, arrived, tmp_path / "elsewhere")


def test_pushing_while_saving_is_refused_with_a_way_out(grey_model, tmp_path):
    with pytest.raises(ValueError, match="push_to_hub: call model.push_to_hub"):
        grey_model.save_pretrained(tmp_path, push_to_hub=True)


@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in (ROOT / "checkpoints").glob("*/config.json")),
    ids=lambda folder: folder.name,
)
def test_shipped_checkpoint_is_complete_current_and_loads(folder, tmp_path):
    for name in CODE:
        assert (folder / name).read_text() == (ROOT / "pixeltransformer" / name).read_text()
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert config.provenance["metrics"] in (folder / "README.md").read_text()
    model = PixelTransformerModel.from_pretrained(folder)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    context = make_context(model, batch=1)
    assert torch.isfinite(model.predict(*context, model.native_positions()).mean).all()
    words = run_outside(
        "import sys\nfrom transformers import AutoModel\n"
        "print(AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).config.model_type)",
        str(folder),
        folder=tmp_path,
    )
    assert words.split()[-1] == "pixeltransformer"
