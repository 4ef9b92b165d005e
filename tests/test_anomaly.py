"""A map of surprise scores every pixel once, from what lies outside its window, and finds a defect."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from applications.anomaly.__main__ import chosen, find_images, main, parse
from applications.anomaly.scores import compressed_bits, image_scores, joint_bits, read_images, shuffled, turned
from applications.anomaly.surprise import GREY, MAPS, Windows, smooth, surprise
from benchmarks.defects import DEFECTS, damage
from conftest import make_model

COLOUR = dict(value_dim=3, correlated_channels=True)


def values_of(model, batch: int = 3) -> torch.Tensor:
    width, height = model.config.native_grid
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, height, width, model.config.value_dim), generator=generator) / 255


@pytest.mark.parametrize(
    "windows",
    [
        Windows(8, 8, 16),
        Windows(8, 12, 16, 2),
        Windows(1, 1, 2),
        Windows(2, 4, 6),
        Windows(3, 5, 6, 3),
        Windows(1, 3, 99),
        Windows(2, 4, 98, 2),
    ],
)
@pytest.mark.parametrize("grid", [[6, 6], [9, 5]])
def test_each_pixel_is_scored_once_a_grid_and_its_window_is_hidden(windows, grid):
    count = torch.zeros(grid[1], grid[0])
    margin = (windows.window - windows.core) // 2
    for hidden, scored in windows.groups(grid):
        hidden, scored = hidden.view(grid[1], grid[0]), scored.view(grid[1], grid[0])
        count += scored
        for y, x in scored.nonzero().tolist():
            assert hidden[max(0, y - margin) : y + margin + 1, max(0, x - margin) : x + margin + 1].all()
    assert (count == windows.grids).all()


@pytest.mark.parametrize("config", [{}, COLOUR], ids=["grey", "colour"])
def test_surprise_is_the_likelihood_given_everything_outside_the_window(config):
    model = make_model(**config)
    values, positions = values_of(model), model.native_positions()
    found = surprise(model, values, Windows(1, 3, 99), ())
    y, x = 2, 4
    rows, columns = np.divmod(np.arange(36), 6)
    known = torch.from_numpy((abs(rows - y) > 1) | (abs(columns - x) > 1))
    flat, cell = values.flatten(1, 2), y * 6 + x
    given = model.predict(positions[:, known].expand(3, -1, -1), flat[:, known], positions[:, cell : cell + 1])
    torch.testing.assert_close(found.nats[:, y, x], -given.log_prob(flat[:, cell : cell + 1])[:, 0])
    mean = (given.probs[..., None] * given.means).sum(-2).clamp(0, 1)[:, 0]
    torch.testing.assert_close(found.distance[:, y, x], (mean - flat[:, cell]).square().mean(-1).sqrt())


def test_an_images_map_does_not_depend_on_the_others():
    model = make_model()
    values = values_of(model)
    together, alone = surprise(model, values), surprise(model, values[1:2])
    for name in MAPS:
        torch.testing.assert_close(together.maps()[name][1:2], alone.maps()[name])


def test_doubted_pixels_are_no_context():
    model = make_model()
    values = values_of(model, 1)
    doubted = smooth(surprise(model, values, Windows(1, 1, 99), ()).distance, 2.0)[0]
    doubted = doubted >= doubted.flatten().quantile(0.8)
    found = surprise(model, values, Windows(1, 1, 99), (0.2,))
    again = values.clone()
    again[0, doubted] = 1 - again[0, doubted]
    y, x = (~doubted).nonzero()[0].tolist()
    hidden = doubted.flatten().clone()
    hidden[y * 6 + x] = True
    positions = model.native_positions()
    for each in (values, again):
        flat = each.flatten(1, 2)
        given = model.predict(positions[:, ~hidden], flat[:, ~hidden], positions[:, [y * 6 + x]])
        torch.testing.assert_close(found.nats[0, y, x], -given.log_prob(flat[:, [y * 6 + x]])[0, 0])
    with pytest.raises(ValueError, match="doubts: expected shares between 0 and 1"):
        surprise(model, values, doubts=(1.5,))


def test_wrong_windows_and_images_are_refused():
    for wrong in ((0, 1, 2), (4, 2, 8), (2, 4, 3), (4, 8, 10), (2, 3, 4)):
        with pytest.raises(ValueError, match="windows: expected"):
            Windows(*wrong)
    with pytest.raises(ValueError, match=r"values: expected shape \(B, 6, 6, 1\), got"):
        surprise(make_model(), torch.zeros(1, 5, 6, 1))


def test_a_blur_keeps_the_mean_and_spreads_a_point():
    maps = torch.zeros(1, 21, 21)
    maps[0, 10, 10] = 1.0
    blurred = smooth(maps, 1.5)
    assert blurred.sum().item() == pytest.approx(1.0, abs=1e-5) and blurred.max() == blurred[0, 10, 10] < 0.1
    assert torch.equal(smooth(maps, 0.0), maps)
    assert torch.allclose(smooth(torch.full((1, 4, 4), 2.0), 3.0), torch.tensor(2.0))


def test_a_core_of_one_pixel_is_scored_on_one_grid():
    flags = parse(["x", "--checkpoint", "x", "--output", "x", "--core", "1", "--window", "1"])
    style = chosen(flags, GREY)
    assert style == replace(GREY, windows=Windows(1, 1, GREY.windows.distance, 1))


def test_scores_are_likelihoods_and_what_they_are_compared_with():
    model = make_model()
    values = values_of(model)
    found = image_scores(model, values, ("turned", "shuffled"))
    bits, share = joint_bits(model, values), model.config.max_buffer_share
    torch.testing.assert_close(torch.tensor(found["plain"]), bits / 36)
    torch.testing.assert_close(joint_bits(model, values[1:2])[0], bits[1])
    expected = (bits[0] - compressed_bits(values[0])) / 36
    assert found["corrected"][0] == pytest.approx(expected.item(), rel=1e-5)
    others = torch.stack([joint_bits(model, other.contiguous()) for other in turned(values)]).mean(0)
    torch.testing.assert_close(torch.tensor(found["turned"]), (bits - others) / 36)
    assert model.config.max_buffer_share == share


def test_shaken_images_keep_their_pixels():
    values = torch.rand(2, 9, 8, 1)
    for made in (*shuffled(values), *turned(values)):
        assert not torch.equal(made, values)
        assert torch.equal(made.flatten(1).sort(1).values, values.flatten(1).sort(1).values)
    assert len(turned(torch.rand(1, 6, 6, 1))) == 3


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defects_mask_is_where_the_image_changed(kind):
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    made, masks = damage(images, kind, 0)
    differs = (made != images).any(-1)
    assert masks.any((1, 2)).all() and not (masks & ~differs).any()
    assert masks.mean() < 0.2


def test_the_command_writes_pictures_maps_and_scores(tmp_path, capsys):
    make_model().save_pretrained(tmp_path / "model")
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(np.full((12, 9), 60 * number, np.uint8)).save(tmp_path / "in" / f"{number}.png")
    main(["--checkpoint", str(tmp_path / "model"), str(tmp_path / "in"), "--output", str(tmp_path / "report")])
    report = json.loads((tmp_path / "report" / "scores.json").read_text())
    rows = list(csv.DictReader((tmp_path / "report" / "scores.csv").open()))
    assert [one["name"] for one in report["images"]] == [row["name"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert {"plain", "corrected", "turned", "map_mean", "map_max"} <= set(rows[0])
    assert np.loadtxt(tmp_path / "report" / "0.png.csv", delimiter=",").shape == (6, 6)
    assert Image.open(tmp_path / "report" / "0.png.png").width > 600
    with pytest.raises(SystemExit, match="applications.anomaly: inputs: expected image files"):
        main(["--checkpoint", "x", str(tmp_path / "model"), "--output", str(tmp_path)])


def test_images_of_equal_names_in_several_folders_keep_apart(tmp_path, monkeypatch):
    for name in ("good/0.png", "bad/0.png", "bad/below/0.png", "1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    good, bad = Path("good"), Path("bad")
    found = dict(find_images([good, bad]))
    assert found == {name: Path(name) for name in ("good/0.png", "bad/0.png", "bad/below/0.png")}
    assert [name for name, _ in find_images([bad])] == ["0.png", "below/0.png"]
    files = find_images([Path("1.png"), tmp_path / "bad/../good/0.png"])
    assert [name for name, _ in files] == ["1.png", "good/0.png"]
    assert len(find_images([bad, bad / "below", bad / "0.png"])) == 2


def test_images_are_rounded_to_the_levels_of_the_checkpoint():
    image = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6) * 7)
    binary, grey = make_model(quantization_step=1.0).config, make_model().config
    assert read_images([image], binary).unique().tolist() == [0.0, 1.0]
    assert len(read_images([image], grey).unique()) == 36
