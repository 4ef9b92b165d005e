"""`evaluate.py` and `evaluation.report` do what their help says."""

import dataclasses
import json
import shlex

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image

import evaluate
from conftest import make_model
from evaluate import Request
from evaluation import classifier, report
from evaluation.job import Found
from evaluation.report import section_command
from evaluation.sections import SECTIONS
from processes import python
from signals.image import Images
from signals.plan import SamplePlan

CURVE = dict(
    signal="polynomial", native_grid=[32], value_range=None, quantization_step=None, num_bins=1, offset_radius=None
)


@pytest.fixture
def flags(tmp_path, image_folder):
    make_model(native_grid=[12, 12], provenance={"max_context": 40}).save_pretrained(tmp_path / "model")
    data = ["--dataset_name", str(image_folder), "--split", "train", "--validation_size", "8"]
    return ["--checkpoint", str(tmp_path / "model"), *data, "--contexts", "0", "8", "--queries", "16", "--limit", "6"]


def small_plan(monkeypatch, **changes) -> None:
    """A quick plan of samples for images."""
    plan = dataclasses.replace(Images.evaluation_plan(), **changes)
    monkeypatch.setattr(Images, "evaluation_plan", classmethod(lambda cls: plan))


def run(flags: list[str]) -> dict:
    return evaluate.evaluate(Request.parse(flags))


def test_the_command_writes_its_report(tmp_path, flags):
    command = ["evaluate.py", *flags, "--sections", "likelihood", "quality", "--quality", "8"]
    done = python(*command, "--output", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert [row["context"] for row in found["rows"]] == [0, 8] and found["signals"] == 6
    assert 0 < found["quality"][0]["SSIM"] < 1 and "SSIM of nearest neighbour" in done.stdout
    assert "| 8 |" in done.stdout and (tmp_path / "r-curves.png").exists()
    done = python(*command, "--split", "dev")
    assert done.returncode == 1 and "--split: expected one of train, got 'dev'" in done.stderr


def test_all_sections_of_images_run_and_have_a_report(tmp_path, flags, monkeypatch):
    small_plan(monkeypatch, samples=SamplePlan(3, 2, (4, 8), steps=4), joint_signals=2)
    monkeypatch.setattr(Images, "patterns", dict(list(Images.patterns.items())[:2]))
    found = run([*flags, "--output", str(tmp_path / "r.json")])
    names = ["likelihood", "patterns", "joint", "samples", "references", "buffer", "generalisation"]
    assert list(found["sections"]) == names
    titles = [table["title"] for section in found["sections"].values() for table in section["tables"]]
    assert {"Calibration", "Diversity of samples", "Marginals of what is hidden", "RMSE of the mean"} <= set(titles)
    pictures = [figure for section in found["sections"].values() for figure in section["figures"]]
    assert [name for name, _ in pictures] == ["r-patterns.png", "r-means.png", "r-samples.png"]
    for name, _ in pictures:
        assert (tmp_path / name).stat().st_size < 150_000
    text = report.results([{**found, "file": "r.json"}], "make", "", {str(tmp_path / "images"): "path/to/images"})
    assert text.count("```bash\npython evaluate.py") == len(names) and "--dataset_name path/to/images" in text
    assert text.index("--sections buffer") < text.index("Does the buffer cost anything?")
    assert "--sections likelihood --output runs/r.json" in text and "5 (missed)" in text  # an untrained model


def test_polynomials_have_their_posterior_beside_them(tmp_path):
    make_model(**CURVE).save_pretrained(tmp_path / "model")
    flags = ["--checkpoint", str(tmp_path / "model"), "--limit", "3", "--queries", "8"]
    found = run([*flags, "--sections", "likelihood", "joint", "samples", "buffer"])
    sections = found["sections"]
    (joint,) = sections["joint"]["tables"]
    exact = {title: cell for (title, _), cell in zip(joint["columns"], joint["rows"][0], strict=True)}
    assert exact["exact"][0] < exact["one random order"][0]  # no model beats it
    assert found["rows"][0]["reference_nats"] < found["rows"][0]["nats"]
    table = sections["samples"]["tables"][0]
    assert table["rows"][-1][4][0] < 1e-3 < table["rows"][0][4][0]  # 20 positions leave the posterior nothing to vary


def test_a_second_call_goes_on_where_the_first_stopped(tmp_path, flags, monkeypatch):
    output = ["--output", str(tmp_path / "r.json")]
    first = run([*flags, "--sections", "likelihood", *output])
    calls = []

    put_stand_ins(monkeypatch, calls)
    second = run([*flags, "--sections", "likelihood", "joint", *output])
    assert second["sections"]["likelihood"] == first["sections"]["likelihood"] and calls == ["joint"]
    third = run([*flags, "--sections", "joint", "--redo", *output])
    assert len(calls) == 2 and third["sections"]["likelihood"] == first["sections"]["likelihood"]
    assert third["rows"] == first["rows"]  # the card's numbers stay with their section
    run([*flags, "--seed", "1", "--sections", "likelihood", *output])  # other settings: measured again
    assert len(calls) == 3
    make_model(seed=1, native_grid=[12, 12]).save_pretrained(tmp_path / "model")  # other weights: nothing is kept
    fourth = run([*flags, "--sections", "joint", *output])
    assert list(fourth["sections"]) == ["joint"] and fourth["rows"] == []


@pytest.mark.parametrize(
    ("change", "measured"),
    [
        ({"max_buffer_share": 0.9}, True),
        ({"step_losses": {"random": {"known": [1, 2], "nats": [2.0, 1.0]}}}, True),
        ({"max_tokens": 999}, True),
        ({"provenance": {"max_context": 7}}, True),
        ({"provenance": {"max_context": 40, "metrics": "Better."}}, False),  # what the card says changes no number
        ({}, False),
    ],
)
def test_a_section_is_measured_again_when_the_config_changed(tmp_path, flags, monkeypatch, change, measured):
    calls = []
    put_stand_ins(monkeypatch, calls)
    command = [*flags, "--sections", "joint", "--output", str(tmp_path / "r.json")]
    run(command)
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    run(command)
    assert len(calls) == 1 + measured


def test_a_section_is_measured_again_when_the_classifier_s_file_changed(tmp_path, flags, monkeypatch):
    calls = []
    put_stand_ins(monkeypatch, calls)
    command = [*flags, "--sections", "samples", "--output", str(tmp_path / "r.json")]
    for content in ("first", "first", "second"):
        (tmp_path / "c.safetensors").write_text(content)
        run([*command, "--classifier", str(tmp_path / "c.safetensors")])
    assert len(calls) == 2


def put_stand_ins(monkeypatch, calls: list[str]) -> None:
    """Sections that measure nothing and note that they were asked to."""

    def stand_in(name: str):
        def measure(job, flags):
            calls.append(name)
            return Found("seen")

        return measure

    for name, section in SECTIONS.items():
        monkeypatch.setitem(SECTIONS, name, dataclasses.replace(section, measure=stand_in(name)))


def test_a_section_is_not_measured_again_when_another_s_flags_changed(tmp_path, flags, monkeypatch):
    calls = []
    put_stand_ins(monkeypatch, calls)
    command = [*flags, "--sections", "joint", "samples", "--output", str(tmp_path / "r.json")]
    run(command)
    found = run([*command, "--classifier", "c.safetensors"])
    assert calls == ["joint", "samples", "samples"]
    assert "--classifier" in found["sections"]["samples"]["flags"]
    assert "--classifier" not in found["sections"]["joint"]["flags"]


def test_a_command_written_from_its_flags_reads_as_the_same_flags(flags):
    argv = [*flags, "--horizontal_flip", "true", "--sections", "joint", "quality", "--quality", "4", "8", "--redo"]
    request = Request.parse(argv)
    assert Request.parse(shlex.split(request.command())[2:]) == request
    assert "--quality" in request.words("quality") and "--redo" not in request.words("quality")
    assert "--quality" not in request.words("joint") and request.wants("quality")
    assert not Request.parse(flags).wants("quality") and Request.parse(flags).wants("joint")


KIND = """
from examples.audio_signal import Sounds as Strings
from signals.patterns import Pattern, toward
from signals.plan import EvaluationPlan, SamplePlan

class Sounds(Strings):
    patterns = {"the beginning": Pattern(toward(-1), 1 / 2)}

    @classmethod
    def evaluation_plan(cls):
        return EvaluationPlan(
            contexts=(0, 4), few_contexts=(4,), signals={"joint": 1}, joint_signals=1, whole_contexts=(8,),
            whole_signals=1, samples=SamplePlan(2, 2, (4,), steps=2), galleries=("means",),
            measure=lambda truth, guess, grid: {"error": (truth - guess).abs().mean((1, 2))},
        )
"""


def test_a_kind_in_one_file_has_its_own_plan_in_every_section(tmp_path):
    (tmp_path / "sounds.py").write_text(KIND)
    config = dict(signal="audio", native_grid=[64], value_range=[-1.0, 1.0], quantization_step=None, num_bins=3)
    make_model(**config).save_pretrained(tmp_path / "model")
    flags = ["--checkpoint", str(tmp_path / "model"), "--kind", str(tmp_path / "sounds.py"), "--samples", "64"]
    flags += ["--limit", "2", "--queries", "8", "--quality", "4", "--output", str(tmp_path / "r.json")]
    found = run(flags)
    assert [row["context"] for row in found["rows"]] == [0, 4] and found["quality"][0]["error"] > 0
    sections = found["sections"]
    assert list(sections) == list(SECTIONS)
    assert [row[0] for row in sections["patterns"]["tables"][1]["rows"]] == ["the beginning", "8 random pixels"]
    assert sections["samples"]["tables"][0]["columns"][1][0] == "error of mean"
    assert [name for name, _ in sections["samples"]["figures"]] == ["r-means.png"]


def test_the_same_seed_gives_the_same_numbers(flags, monkeypatch):
    small_plan(monkeypatch, samples=SamplePlan(2, 2, (4,), steps=3))
    tables = [run([*flags, "--sections", "samples", "references"])["sections"] for _ in range(2)]
    assert [s["tables"] for s in tables[0].values()] == [s["tables"] for s in tables[1].values()]
    other = run([*flags, "--sections", "samples", "--seed", "1"])["sections"]
    assert other["samples"]["tables"] != tables[0]["samples"]["tables"]


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--sections", "likelyhood", "--sections: expected some of likelihood, patterns"),
        ("--limit", "0", "--limit: expected a number above 0, got 0"),
        ("--output", "report.md", "--output: expected a file ending in .json"),
        ("--quality", "-1", "--quality: expected numbers of at least 0"),
    ],
)
def test_wrong_flags_are_named(flags, flag, value, message):
    with pytest.raises(ValueError, match=message):
        Request.parse([*flags, flag, value])


def test_a_broken_report_is_not_overwritten(tmp_path, flags):
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(ValueError, match="--output: expected a report to go on with"):
        run([*flags, "--sections", "likelihood", "--output", str(tmp_path / "r.json")])


def test_a_classifier_of_other_channels_is_refused(tmp_path, flags):
    file = tmp_path / "c.safetensors"
    classifier.save(classifier.Classifier(3, 2), file, {"channels": 3, "classes": 2})
    with pytest.raises(ValueError, match="--classifier: expected one of 1 channels, got 3"):
        run([*flags, "--sections", "samples", "--classifier", str(file)])


def test_a_section_s_command_names_the_data_as_asked():
    section = {"flags": ["--checkpoint", "checkpoints/a", "--dataset_name", "data/mnist"]}
    command = section_command({"sections": {"joint": section}, "file": "docs/a.json"}, "joint", {"data/": "path/to/"})
    assert command == (
        "python evaluate.py --checkpoint checkpoints/a --dataset_name path/to/mnist --sections joint "
        "--output runs/a.json"
    )


def test_the_classifier_s_script_learns(tmp_path):
    """Bright and dark images, which anything learns."""
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["dark", "bright"])})
    rows = {
        "image": [Image.new("L", (8, 8), 200 * (n % 2) + n) for n in range(40)],
        "label": [n % 2 for n in range(40)],
    }
    made = Dataset.from_dict(rows, features=features)
    folder = tmp_path / "data"
    folder.mkdir()
    for split, part in DatasetDict(train=made, test=made).items():
        part.to_parquet(folder / f"{split}.parquet")
    command = ["-m", "evaluation.classifier", "--dataset_name", folder, "--epochs", "8"]
    command += ["--batch_size", "8", "--output", tmp_path / "c.safetensors"]
    done = python(*command)
    assert done.returncode == 0, done.stderr
    _, facts = classifier.load(tmp_path / "c.safetensors")
    assert facts["accuracy"] == 1 and facts["images"] == 40 and "100.00%" in done.stdout
