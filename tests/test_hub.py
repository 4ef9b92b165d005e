"""What is saved loads elsewhere; what is pushed arrives and loads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from conftest import CODE, ROOT, make_context, make_model
from hub_server import run_hub
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel

LOAD = """
import sys, torch
from transformers import AutoConfig, AutoModel
config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
positions, values = torch.linspace(-0.9, 0.9, 6).view(1, 3, 2), torch.linspace(0, 1, 3).view(1, 3, 1)
print(config.model_type, *model.predict(positions, values, model.native_positions()).mean[0, :3, 0].tolist())
"""


def run_outside(code: str, *arguments: str, folder: Path, **environment: str) -> str:
    """Run Python code in a fresh process whose working folder and path know nothing of the repository."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    variables |= {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected_line(model) -> list[float]:
    positions, values = torch.linspace(-0.9, 0.9, 6).view(1, 3, 2), torch.linspace(0, 1, 3).view(1, 3, 1)
    return model.predict(positions, values, model.native_positions()).mean[0, :3, 0].tolist()


def check_loads(model, folder: Path, elsewhere: Path) -> None:
    elsewhere.mkdir(exist_ok=True)
    words = run_outside(LOAD, str(folder), folder=elsewhere).split()
    assert words[-4] == "pixeltransformer"
    assert [float(word) for word in words[-3:]] == pytest.approx(expected_line(model), abs=1e-5)


def test_saved_folder_holds_config_weights_code_and_card_and_nothing_else(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model")
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == sorted(["README.md", "config.json", "model.safetensors", *CODE])
    for name in CODE:
        assert (tmp_path / "model" / name).read_text() == (ROOT / "pixeltransformer" / name).read_text()


def test_saved_folder_loads_in_a_fresh_process_outside_the_repo(grey_model, tmp_path):
    grey_model.save_pretrained(tmp_path / "model")
    check_loads(grey_model, tmp_path / "model", tmp_path / "elsewhere")


def test_a_loaded_model_saves_a_folder_that_loads_again(grey_model, tmp_path):
    """Saving from remote code must not lose the code files."""
    grey_model.save_pretrained(tmp_path / "first")
    (tmp_path / "elsewhere").mkdir()
    again = LOAD + "model.save_pretrained(sys.argv[2])"
    run_outside(again, str(tmp_path / "first"), str(tmp_path / "second"), folder=tmp_path / "elsewhere")
    names = sorted(path.name for path in (tmp_path / "second").iterdir())
    assert names == sorted(["README.md", "config.json", "model.safetensors", *CODE])
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
    assert names == sorted(["README.md", "config.json", "model.safetensors", *CODE])
    assert "PixelTransformer on discs" in (arrived / "README.md").read_text()
    assert 'from_pretrained("someone/discs"' in (arrived / "README.md").read_text()
    check_loads(grey_model, arrived, tmp_path / "elsewhere")


def test_pushing_while_saving_is_refused_with_a_way_out(grey_model, tmp_path):
    with pytest.raises(ValueError, match="push_to_hub: call model.push_to_hub"):
        grey_model.save_pretrained(tmp_path, push_to_hub=True)


@pytest.mark.parametrize("folder", sorted((ROOT / "checkpoints").iterdir()), ids=lambda folder: folder.name)
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
