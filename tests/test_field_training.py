"""Models of the field train, save, load anywhere, and are compared in one table."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from baselines.autoregressive import MODELS
from baselines.field import __main__ as field_command
from baselines.field import train_all as field_train_all
from baselines.field.__main__ import TableArguments, compare
from baselines.field.arguments import parse_arguments
from baselines.field.export import LARGEST, publish, save
from baselines.field.pictures import SHOWN, PictureArguments
from baselines.field.pictures import draw as draw_pictures
from baselines.field.run import inner_weights
from baselines.field.samples import draw, judge
from baselines.field.table import measured, page
from baselines.field.train_all import AllArguments, command, jobs
from baselines.train import train
from conftest import ROOT, make_model
from evaluation.classifier import Classifier
from evaluation.classifier import save as save_classifier
from processes import run_outside
from test_field_models import make
from training.arguments import parse_arguments as parse_pixeltransformer
from training.setup import machine

LOADED = ("pixelcnn++", "nade", "lmconv", "row-lstm", "image-gpt", "made-orders", "spatial-pixelcnn")
LOAD = """
import sys, torch
from transformers import AutoModel
for folder in sys.argv[1:]:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
    cells = model.config.num_cells
    values = (torch.arange(cells) % 3 == 0).float().view(1, cells, 1)
    print(type(model).__name__, model(values, generator=torch.Generator().manual_seed(0)).loss.item())
"""


def words(folder, output, *more: str) -> list[str]:
    data = ["--dataset_name", str(folder), "--validation_size", "8", "--output_dir", str(output)]
    return [*data, "--binarise", "true", "--batch_size", "8", "--mixed_precision", "no", *more]


def test_saved_models_load_outside_of_the_repository_with_the_same_numbers(tmp_path):
    expected = []
    for name in LOADED:
        model = make(name)
        save(model, tmp_path / name)
        again = type(model).from_pretrained(tmp_path / name).eval()
        assert all(parameter.dtype == torch.float32 for parameter in again.parameters())
        stored = load_file(tmp_path / name / "model.safetensors")
        assert all(weight.dtype == torch.bfloat16 for weight in stored.values())
        values = (torch.arange(16) % 3 == 0).float().view(1, 16, 1)
        loss = again(values, generator=torch.Generator().manual_seed(0)).loss.item()
        expected.append((type(model).__name__, loss))
        assert loss == pytest.approx(model(values, generator=torch.Generator().manual_seed(0)).loss.item(), abs=0.05)
    printed = run_outside(LOAD, *(str(tmp_path / name) for name in LOADED), folder=tmp_path)
    found = [line.split() for line in printed.splitlines()]
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [float(loss) for _, loss in found] == pytest.approx([loss for _, loss in expected], abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_every_model_fit_in_one_mebibyte(name):
    entry = MODELS[name]
    for levels in {entry.config.get("num_levels", 2), None if entry.curves else 2}:
        grid = {"native_grid": (4, 4)} if name == "joint-histogram" else {}
        model = entry.make(num_levels=levels, **grid) if levels or entry.curves else entry.make()
        size = sum(2 * weight.numel() + 120 for weight in model.state_dict().values())  # a name and a shape each
        assert size <= LARGEST


def test_a_large_model_is_saved_but_not_shipped(tmp_path):
    model = MODELS["made"].make(native_grid=(8, 8), hidden_size=1500)
    model.config.provenance = {"model": "made"}
    save(model, tmp_path / "large")
    with pytest.raises(ValueError, match="large: expected at most 1,048,576 bytes of weights, got 2,"):
        publish(tmp_path / "large", tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


@pytest.mark.parametrize("name", ["nade", "pixelcnn"])  # by AdamW, and by Muon too
def test_a_resumed_training_ends_where_one_without_a_break_does(name, image_folder, tmp_path):
    base = words(image_folder, tmp_path / "run", "--model", name, "--max_train_steps", "4", "--save_every", "2")
    base += ["--max_checkpoints", "2", "--validate_every", "4"]
    folder = train(*parse_arguments(base))
    whole = load_file(folder / "model.safetensors")
    assert "## Training" in (folder / "README.md").read_text() and "nats" in (folder / "README.md").read_text()
    train(*parse_arguments([*base, "--resume", str(tmp_path / "run" / "state-2")]))
    resumed = load_file(folder / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(ValueError, match="without another run's work"):
        train(*parse_arguments(base))


def test_what_cannot_work_is_told_in_one_sentence(image_folder, tmp_path):
    data = ["--dataset_name", str(image_folder), "--output_dir", str(tmp_path / "run"), "--max_train_steps", "1"]
    data += ["--validation_size", "8"]
    with pytest.raises(ValueError, match="--binarise: the data do not suit --model fvsbn: num_levels: expected 2"):
        train(*parse_arguments(["--model", "fvsbn", *data]))
    with pytest.raises(ValueError, match="--channels: the data do not suit --model made"):
        train(*parse_arguments(["--model", "made", "--channels", "colour", *data]))
    with pytest.raises(ValueError, match="--model: expected one of pixel-histogram"):
        parse_arguments(["--model", "nad", *data])
    with pytest.raises(ValueError, match="--sizes: expected an object with some of hidden_size"):
        parse_arguments(["--model", "nade", "--sizes", '{"width": 3}', *data])
    with pytest.raises(ValueError, match="--max_train_steps: expected this or --max_train_minutes"):
        parse_arguments(["--model", "nade", "--dataset_name", "x"])
    with pytest.raises(ValueError, match="--learning_rate: expected --optimizer muon for nade"):
        parse_arguments(["--model", "nade", "--learning_rate", "0.01", *data])
    with pytest.raises(ValueError, match="--optimizer: expected adamw for nade"):
        train(*parse_arguments(["--model", "nade", "--optimizer", "muon", "--binarise", "true", *data]))
    with pytest.raises(ValueError, match="--compile: expected false for lmconv"):
        train(*parse_arguments(["--model", "lmconv", "--compile", "true", *data]))


@pytest.mark.parametrize("name", ["pixelcnn", "gated-pixelcnn", "pixelcnn++", "pixelsnail", "lmconv"])
def test_muon_trains_what_neither_reads_values_nor_makes_numbers(name):
    arguments = parse_arguments(["--model", name, "--dataset_name", "x", "--max_train_steps", "1"])[0]
    model = make(name)
    found = inner_weights(model, arguments)
    assert arguments.optimizer == "muon" and arguments.learning_rate == 5e-3 and arguments.adam_learning_rate == 2e-3
    seen = {id(weight) for weight in found}
    left = [parameter for parameter in model.parameters() if parameter.dim() == 4 and id(parameter) not in seen]
    for weight in left:  # of a convolution that enlarges, of values, or of a head
        enlarges = name == "pixelcnn++" and weight.shape[2:] == (2, 2)
        assert enlarges or weight.shape[1] <= 2 or len(weight) == model.head.size
    assert sum(weight.numel() for weight in found) > 0.6 * sum(weight.numel() for weight in model.parameters())


def test_a_model_that_counts_is_fitted_by_one_pass(image_folder, tmp_path):
    folder = train(*parse_arguments(words(image_folder, tmp_path / "run", "--model", "pixel-histogram")))
    weights = load_file(folder / "model.safetensors")["log_probs"].float()
    assert weights.shape == (64, 2) and weights.exp().sum(1).sub(1).abs().max() < 0.02
    assert weights[36].exp()[1] > weights[0].exp()[1]  # discs are bright in the middle


def test_binarised_images_are_drawn_once_for_tests_and_anew_in_training(image_folder):
    signal = parse_arguments(["--model", "nade", "--max_train_steps", "1", *words(image_folder, "x")])[1]
    training, validation = signal.load(0)
    assert set(torch.cat(validation.first(8)).unique().tolist()) <= {0, 255}
    again = signal.load(0)[1]
    assert torch.equal(validation[0], again[0])
    assert len(training[0].unique()) > 2
    batch, generator = training[0][None], torch.Generator().manual_seed(0)
    drawn = torch.stack([signal.augment(batch, generator) for _ in range(300)]).float() / 255
    assert (drawn.mean(0) - batch / 255).abs().max() < 0.15


@pytest.fixture
def compared(image_folder, tmp_path) -> Path:
    """A folder with three small models of 4×4 binary images, and the page that compares them."""
    small = {"native_grid": (4, 4), "num_levels": 2}
    for name in ("nade", "eonade", "lmconv", "spatial-pixelcnn"):
        model = make(name, **small)
        model.config.provenance = {"model": name, "minutes": 3.0}
        save(model, tmp_path / "models" / name)
    save(make("pixelcnn++", num_levels=256), tmp_path / "models" / "pixelcnn++-grey")
    save(make("joint-histogram", native_grid=(2, 2)), tmp_path / "models" / "joint-histogram")
    own = make_model(native_grid=[4, 4], quantization_step=1.0, num_bins=2)
    own.save_pretrained(tmp_path / "own")
    arguments = TableArguments(
        dataset_name=str(image_folder),
        folder=str(tmp_path / "models"),
        also=[str(tmp_path / "own")],
        split="train",
        images=4,
        completions=2,
        ensemble_images=2,
        orders=2,
        scores=str(tmp_path / "scores.json"),
        output=str(tmp_path / "FIELD.md"),
    )
    compare(arguments)
    return tmp_path


def test_the_table_says_who_can_answer_what(compared):
    text = (compared / "FIELD.md").read_text()
    tables = {title.split("\n")[0]: title for title in text.split("\n## ")[1:]}
    completion = {
        row.split(" | ")[0].strip("| "): row.split("|")[2:-1] for row in tables["Completion"].splitlines()[2:]
    }
    answered = {name: [cell.strip() != "–" for cell in cells] for name, cells in completion.items() if name}
    assert answered["nade"] == [True, False, False, False, False, False]  # the bottom half alone
    assert all(answered["PixelTransformer, `own`"]) and all(answered["eonade"]) and all(answered["lmconv"])
    assert "joint-histogram" not in answered and not any(answered["spatial-pixelcnn"])
    assert "joint-histogram (2×2)" in tables["Binarised images"]
    assert "pixelcnn++-grey" in tables["Grey images, 8 bits"] and "84.68 (static)" in tables["Binarised images"]
    scores = json.loads((compared / "scores.json").read_text())
    assert scores["nade"]["costs"]["passes"] == 16 and scores["own"]["costs"]["passes"] > 0
    assert scores["nade"]["minutes"] == 3.0 and scores["own"]["joint"]["images"] == 4
    cost = tables["Cost"].splitlines()
    assert "measured on" in cost[2] and all(machine() in row for row in cost[4:])
    binary = tables["Binarised images"].splitlines()
    assert "mean of several orders" in binary[2] and "2 images" in tables["Completion"].splitlines()[2]


def test_columns_that_nothing_was_measured_for_are_left_out():
    assert measured(["model", "a", "b"], [["x", "–", "1"], ["y", "–", "–"]]).startswith("| model | b |")


def test_what_is_known_is_not_measured_again(compared, image_folder, monkeypatch):
    def again(**changed) -> TableArguments:
        places = dict(
            folder=str(compared / "models"), scores=str(compared / "scores.json"), output=str(compared / "2.md")
        )
        sizes = dict(split="train", images=4, completions=2, ensemble_images=2, orders=2)
        return TableArguments(dataset_name=str(image_folder), **{**places, **sizes, **changed})

    monkeypatch.setattr(field_command, "measure", lambda *_: pytest.fail("it was measured again"))
    assert "nade" in compare(again()).read_text()
    known = json.loads((compared / "scores.json").read_text())
    known["nade, shorter"] = known["nade"] | {"former": True}  # whose weights are gone
    (compared / "scores.json").write_text(json.dumps(known | {"gone": known["nade"]}))
    text = compare(again()).read_text()
    assert text.count("| nade, shorter † |") == 3 and "† Weights of a shorter training" in text and "gone" not in text
    monkeypatch.setattr(field_command, "measure", lambda *_: {})
    compare(again(completions=3, parts=["hidden"]))
    scores = json.loads((compared / "scores.json").read_text())
    assert scores["nade"]["hidden"] == {} and scores["nade"]["joint"]["images"] == 4


@torch.no_grad()
def test_drawn_images_are_judged_at_the_size_that_a_classifier_knows():
    torch.manual_seed(0)
    images = torch.rand(3, 1, 56, 56)
    found = judge(images, Classifier(1, 10).eval(), 28)
    assert 10 <= 100 * found["confidence"]["mean"] <= 100 and found["similarity"]["images"] == 2
    assert draw(make("spatial-pixelcnn"), 2, 2, 0).shape == (2, 1, 8, 8)
    assert draw(make("nade"), 2, 2, 0) is None and draw(make("nade"), 2, 1, 0).shape == (2, 1, 4, 4)
    own = make_model(native_grid=[4, 4], quantization_step=1.0, num_bins=2)
    assert draw(own, 2, 2, 0).shape == (2, 1, 8, 8)


def test_the_same_images_are_drawn_at_several_sizes_into_files(tmp_path):
    save(make("spatial-pixelcnn"), tmp_path / "model")
    flags = dict(sides=[8, 16], images=3, output=str(tmp_path))
    sheet = draw_pictures(PictureArguments(str(tmp_path / "model"), **flags))
    assert [Image.open(tmp_path / f"{side}.png").size for side in (8, 16)] == [(24, 8), (48, 16)]
    assert Image.open(sheet).size == (3 * SHOWN, 2 * SHOWN)
    save(make("nade"), tmp_path / "nade")
    with pytest.raises(ValueError, match="--model: expected a Spatial PixelCNN"):
        draw_pictures(PictureArguments(str(tmp_path / "nade")))


def test_every_training_of_the_whole_field_parses():
    arguments = AllArguments(dataset_name="data/mnist", colour_name="data/cifar10", launcher="python")
    found = jobs(arguments)
    assert len({job.name for job in found}) == len(found) > 30
    assert set(MODELS) <= {job.name.removesuffix("-grey") for job in found}
    for job in found:
        program, *flags = command(job, arguments)[1:]
        if program == "-m":
            assert parse_arguments(flags[1:])[0].max_train_minutes == 20
        else:
            assert parse_pixeltransformer(flags)[1].binarise
    with pytest.raises(ValueError, match="--only: expected some of"):
        jobs(AllArguments(dataset_name="x", only=["pixelcn"]))


def test_what_was_trained_before_is_published_under_the_name_that_the_app_looks_for(tmp_path, monkeypatch):
    (tmp_path / "categorical-nade" / "export").mkdir(parents=True)
    (tmp_path / "categorical-nade" / "export" / "config.json").write_text("{}")
    published = []
    monkeypatch.setattr(field_train_all, "publish", lambda *paths: published.append(paths))
    arguments = AllArguments(
        dataset_name="x", sets=["grey"], only=["categorical-nade"], output_dir=str(tmp_path), publish=True
    )
    assert field_train_all.train_all(arguments) == []
    assert published == [(tmp_path / "categorical-nade" / "export", Path("checkpoints/field/categorical-nade"))]


def test_samples_of_tiny_images_are_not_judged_and_one_sample_is_refused(tmp_path):
    save_classifier(Classifier(1, 10), tmp_path / "classifier.safetensors", {"channels": 1, "classes": 10})
    arguments = TableArguments(dataset_name="x", classifier=str(tmp_path / "classifier.safetensors"), samples=2)
    assert field_command.judged(make("nade"), arguments) == {}
    with pytest.raises(ValueError, match="--samples: expected at least 2"):
        TableArguments(dataset_name="x", samples=1)


@pytest.mark.parametrize("page_name", ["README.md", "docs/FIELD_MODELS.md"])
def test_commands_of_the_pages_parse(page_name):
    text = (ROOT / page_name).read_text().replace("\\\n", " ")
    for line in re.findall(r"-m baselines\.train ([^\n`]*)", text):
        parse_arguments(shlex.split(line))


def test_a_page_without_models_of_a_kind_leaves_its_table_out():
    assert "Colour" not in page({}, [], "x")


@pytest.mark.parametrize("folder", sorted((ROOT / "checkpoints" / "field").glob("*/")), ids=lambda folder: folder.name)
def test_shipped_models_of_the_field_hold_the_current_code(folder):
    for path in folder.glob("*.py"):
        assert path.read_text() == (ROOT / "baselines" / "autoregressive" / path.name).read_text()
    assert (folder / "model.safetensors").stat().st_size <= LARGEST
