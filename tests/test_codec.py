"""The codec gives back every pixel, takes what the model's likelihood says, and never returns a wrong image."""

import dataclasses
import math
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from applications.codec import coding, container, names
from applications.codec.__main__ import main
from applications.codec.coding import Known, Options, decode, encode
from applications.codec.container import CodecError, read, write
from applications.codec.frequencies import PRECISION, Reader, Writer, integer_frequencies
from applications.codec.pictures import Picture, read_picture, target_of
from applications.codec.tiles import cut, plan_blocks
from conftest import make_model

COLOUR = dict(value_dim=3, correlated_channels=True)
SIZES = [(1, 1), (1, 17), (6, 6), (13, 9)]  # height and width; the native grid is 6×6


def make_pictures(channels: int = 1, sizes=SIZES) -> list[Picture]:
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]
    arrays.append(np.zeros((7, 5, channels), np.uint8))
    mode = "L" if channels == 1 else "RGB"
    return [Picture(f"{number}", array, mode) for number, array in enumerate(arrays)]


def same(found, pictures) -> bool:
    return all(
        np.array_equal(one.picture.levels, of.levels) and one.picture.mode == of.mode
        for one, of in zip(found, pictures, strict=True)
    )


def test_frequencies_are_integers_of_at_least_one_that_sum_to_a_power_of_two():
    masses = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, -1e-8], [0.0, 0.0, 0.0], [1e-30, 3e-30, 0.0]], np.float32)
    found = integer_frequencies(masses)
    assert (found >= 1).all() and (found == found.round()).all() and (found.sum(-1) == 2**PRECISION).all()
    assert found[0, 0] == pytest.approx(2**23, abs=2)
    assert found[2].max() - found[2].min() <= 2
    assert found[3, 1] == pytest.approx(3 * found[3, 0], rel=1e-6)


def test_symbols_cost_their_frequencies_and_come_back():
    random = np.random.default_rng(0)
    frequencies = integer_frequencies(random.dirichlet(np.full(16, 0.1), 2000))
    symbols = random.integers(0, 16, 2000)  # most of them improbable
    writer = Writer()
    writer(frequencies, symbols)
    payload = writer.payload()
    bits = -np.log2(frequencies[np.arange(2000), symbols] / 2**PRECISION).sum()
    assert bits - 8 <= 8 * len(payload) <= bits * 1.001 + 64
    assert np.array_equal(Reader(payload)(frequencies, None), symbols)


@pytest.mark.parametrize("config", [{}, dict(value_dim=3), COLOUR], ids=["grey", "colour", "correlated"])
@pytest.mark.parametrize("options", [Options(4, 3), Options(1, 1), Options(50, 64, share=0.1)])
def test_every_pixel_comes_back_whatever_the_size(config, options):
    model = make_model(**config)
    pictures = make_pictures(config.get("value_dim", 1))
    assert same(decode(encode(pictures, model, "x", options).data, model), pictures)


@pytest.mark.parametrize(
    ("flag", "wrong"), [("share", 0.155), ("share", 1.01), ("batch_size", 4097), ("threads", 1025), ("num_steps", 0)]
)
def test_options_that_no_file_can_hold_are_refused(flag, wrong):
    with pytest.raises(CodecError, match=f"--{flag}: expected a number .*, got {wrong}"):
        Options(**{flag: wrong})
    assert all(Options(share=share / 100) for share in range(101))


@pytest.mark.parametrize("name", ["shot 12:30:05", "a\\b", "../a", ".", "\udcff", "a\0b"])
def test_names_that_no_decoder_takes_are_refused(name):
    picture = dataclasses.replace(make_pictures()[0], name=name)
    with pytest.raises(CodecError, match="inputs: expected names in UTF-8 without .*; rename the file"):
        encode([picture], make_model(), "x")


@pytest.mark.parametrize(("limit", "what"), [("IMAGES", "images"), ("PIXELS", "pixels"), ("NAMES", "bytes of names")])
def test_more_than_a_decoder_takes_is_refused_before_any_work(limit, what, monkeypatch):
    monkeypatch.setattr(container, f"MAX_{limit}", 3)
    monkeypatch.setattr(coding, "BatchCoder", None)
    pictures = [dataclasses.replace(one, name=f"{one.name} {number**2}") for number, one in enumerate(make_pictures())]
    with pytest.raises(CodecError, match=f"inputs: expected at most 3 {what} in a file, got .*; make several files"):
        encode(pictures, make_model(), "x")


@pytest.mark.parametrize(
    ("config", "got"), [(dict(quantization_step=1.0), "2 levels"), (dict(quantization_step=None), "continuous values")]
)
def test_a_checkpoint_of_other_levels_is_refused(config, got):
    with pytest.raises(CodecError, match=f"--checkpoint: expected one of images with 256 levels, got one with {got}"):
        encode(make_pictures(), make_model(**config), "x")


@pytest.mark.parametrize("config", [{}, COLOUR], ids=["grey", "correlated"])
def test_the_payload_is_what_the_likelihood_says(config):
    model = make_model(**config, max_buffer_share=0.5)
    pictures = make_pictures(config.get("value_dim", 1), [(6, 6)] * 20)[:20]
    made = encode(pictures, model, "x", Options(5, 32, share=0.5))
    order = cut([(6, 6)], [6, 6], [None])[0].coded
    values = torch.stack([torch.from_numpy(picture.levels).float() / 255 for picture in pictures]).flatten(1, 2)
    nothing = torch.zeros(20, 0, 2), torch.zeros(20, 0, values.shape[-1])
    nats = model.log_prob(*nothing, model.native_positions(), values, order=order, num_steps=5)
    assert made.ideal_bits == pytest.approx(-nats.sum().item() / math.log(2), rel=1e-4)
    assert made.payload_bits <= 1.01 * made.ideal_bits + 64


def test_damage_anywhere_is_an_error():
    model, pictures = make_model(), make_pictures()
    data = encode(pictures, model, "x", Options(4, 8)).data
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        with pytest.raises(CodecError, match="file: "):
            decode(bytes(broken), model)
    for length in {*range(0, len(data), 7), len(data) - 1}:
        with pytest.raises(CodecError, match="file: "):
            decode(data[:length], model)
    with pytest.raises(CodecError, match="behind its end"):
        decode(data + b"\0", model)


def test_another_checkpoint_is_an_error():
    pictures = make_pictures()
    data = encode(pictures, make_model(), "mine", Options(4, 8)).data
    with pytest.raises(CodecError, match="--checkpoint: expected the weights that the file was coded with .mine"):
        decode(data, make_model(seed=1))


def test_numbers_that_disagree_never_give_an_image(monkeypatch):
    model, pictures = make_model(), make_pictures()
    data = encode(pictures, model, "x", Options(4, 8)).data
    monkeypatch.setattr(coding, "model_digest", lambda model: read(data)[0].digest)
    with pytest.raises(CodecError, match="the probabilities of this machine are not those of the encoder"):
        decode(data, make_model(seed=1))


def test_known_pixels_cost_nothing_and_must_be_the_same():
    model, pictures = make_model(), make_pictures(sizes=[(12, 12)])[:1]
    levels = pictures[0].levels
    mask = np.zeros((12, 12), bool)
    mask[:, :5] = True
    whole = encode(pictures, model, "x", Options(4, 8))
    part = encode(pictures, model, "x", Options(4, 8), [mask])
    assert part.payload_bits < 0.75 * whole.payload_bits
    held = np.where(mask[..., None], levels, 0).astype(np.uint8)
    assert same(decode(part.data, model, [Known(mask, held)]), pictures)
    held[0, 0] ^= 1
    for wrong in ([Known(mask, held)], [Known(~mask, levels)], None):
        with pytest.raises(CodecError, match="--known, --held: expected the mask and the known pixels"):
            decode(part.data, model, wrong)
    everything = encode(pictures, model, "x", Options(4, 8), [np.ones((12, 12), bool)])
    assert everything.payload_bits == 0
    assert same(decode(everything.data, model, [Known(np.ones((12, 12), bool), levels)]), pictures)


def test_a_region_comes_first_and_the_rest_is_a_mean_with_its_uncertainty():
    model, pictures = make_model(), make_pictures(sizes=[(12, 11)])[:1]
    data = encode(pictures, model, "x", Options(4, 8, first=(3, 2, 5, 6))).data
    assert same(decode(data, model), pictures)
    found = decode(data, model, only_first=True)[0]
    region = np.zeros((12, 11), bool)
    region[2:8, 3:8] = True
    assert np.array_equal(found.picture.levels[region], pictures[0].levels[region])
    assert (found.stds[region] == 0).all() and (found.stds[~region] > 0).all()
    half = decode(data, model, part=0.5)[0]
    exact = half.stds == 0
    assert 0.4 < exact.mean() < 1 and np.array_equal(half.picture.levels[exact], pictures[0].levels[exact])
    early = decode(data, model, only_first=True, part=0.1)[0]
    assert (early.stds[region] == 0).any() and (early.stds[region] > 0).any()
    plain = encode(pictures, model, "x", Options(4, 8)).data
    with pytest.raises(CodecError, match="--only_first: expected a file that was coded with --first"):
        decode(plain, model, only_first=True)


def test_the_plan_ends_a_block_where_the_first_region_ends():
    tile = cut([(6, 6)], [6, 6], [None], first=(0, 0, 4, 3))[0]
    before, after = plan_blocks(tile, 5, None)
    assert sum(before) == tile.first == 12 and sum(after) == 24 and min(before + after) > 0
    assert sorted(tile.coded.tolist()) == list(range(36))
    assert all(cell % 6 < 4 and cell // 6 < 3 for cell in tile.coded[:12].tolist())


def test_a_header_comes_back():
    pictures = make_pictures()
    header, batches = read(encode(pictures, make_model(), "some/where", Options(4, 2, first=(0, 0, 3, 200))).data)
    assert header.checkpoint == "some/where" and header.first == (0, 0, 3, 200) and header.batch_size == 2
    assert [entry.name for entry in header.entries] == [picture.name for picture in pictures]
    again = dataclasses.replace(header, entries=header.entries[:1])
    assert read(write(again, batches)) == (again, batches)


@pytest.mark.parametrize(
    "given",
    [
        ["a"],
        ["cat", "dog", "cat9x"],
        ["00098", "00099", "00100", "00101"],
        ["9", "10", "09", "10"],
        ["one/img1-2.x", "one/img1-3.x", "two/img1-4.x", "two/img1-4.x", "ä 7", "ä 8"],
    ],
)
def test_names_come_back(given):
    assert names.unpack(*names.pack(given), 2**10) == given


def test_numbers_that_go_on_cost_nothing():
    many = [f"digits/{number:05d}" for number in range(10_000)]
    lengths, firsts = names.pack(many)
    assert lengths == [10_000] and len(firsts) < 25


def test_names_that_disagree_are_refused():
    for lengths, stored in (([2], zlib.compress(b"cat")), ([1, 1], zlib.compress(b"cat")), ([1], b"no")):
        body = container.varint(len(lengths)) + bytes(lengths) + container.varint(len(stored)) + stored
        with pytest.raises(CodecError, match="file: expected names"):
            container._read_names(container._Bytes(body), sum(lengths))
    with pytest.raises(CodecError, match="file: expected at most 1,048,576 images, got 1,152,921,504,606,846,976"):
        container._read_names(container._Bytes(b"\x01\x00\x00\x00\x00\x00"), 2**60)


def test_a_header_that_asks_for_too_much_is_refused():
    header, batches = read(encode(make_pictures(), make_model(), "x", Options(4, 2)).data)
    large = dataclasses.replace(header.entries[0], width=2**20, height=2**20)
    for wrong in (dict(entries=[large]), dict(batch_size=10**6), dict(threads=10**5), dict(num_steps=0)):
        with pytest.raises(CodecError, match="file: expected"):
            read(write(dataclasses.replace(header, **wrong), batches))


def test_what_would_lose_something_is_refused_with_advice(tmp_path):
    def saved(image: Image.Image, name: str = "a.png", **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    grey, colours = Image.new("L", (3, 2), 7), Image.new("RGB", (3, 2), (1, 2, 3))
    with pytest.raises(CodecError, match="transparent pixels; put it on a ground first"):
        read_picture("a", saved(Image.new("RGBA", (3, 2), (1, 2, 3, 4))), 3)
    with pytest.raises(CodecError, match="expected 8 bits of grey or RGB, got mode I;16; convert it first"):
        read_picture("a", saved(Image.fromarray(np.zeros((2, 3), np.uint16))), 1)
    with pytest.raises(CodecError, match="expected greys"):
        read_picture("a", saved(colours), 1)
    with pytest.raises(CodecError, match="got 2 frames; save each as a file"):
        read_picture("a", saved(grey, "a.gif", save_all=True, append_images=[Image.new("L", (3, 2), 200)]), 1)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(CodecError, match="expected an image file"):
        read_picture("b", tmp_path / "b.png", 1)
    assert read_picture("a", saved(colours.convert("RGBA")), 3).mode == "RGB"
    assert read_picture("a", saved(grey.convert("RGB")), 1).levels.shape == (2, 3, 1)
    assert read_picture("a", saved(colours.quantize(2)), 3).levels[0, 0].tolist() == [1, 2, 3]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(kind: int, channels: int) -> bytes:
    """A PNG file of one pixel with 16 bits a channel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, kind, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\0" + b"\xff\x01" * channels))
    return b"\x89PNG\r\n\x1a\n" + header + pixel + chunk(b"IEND", b"")


def deep_tiff(planar: int) -> bytes:
    """A TIFF file of one RGB pixel with 16 bits a channel."""
    tags = [(256, 1), (257, 1), (259, 1), (262, 2), (277, 3), (278, 1), (279, 6), (284, planar)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags]
    entries += [struct.pack("<HHII", 258, 3, 3, 14), struct.pack("<HHII", 273, 4, 1, 8)]
    start = b"II" + struct.pack("<HI", 42, 20) + b"\xff\x01" * 3 + struct.pack("<3H", 16, 16, 16)
    return start + struct.pack("<H", len(entries)) + b"".join(sorted(entries)) + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        *(deep_png(2, 3), deep_png(4, 2), deep_png(6, 4), deep_tiff(1), deep_tiff(2)),
        *(b"P6 1 1 65535\n" + bytes(6), b"P6 1 1 1023\n" + bytes(6), b"P3 1 1 1023\n7 8 1000\n"),
    ],
    ids=["RGB", "LA", "RGBA", "TIFF", "TIFF in planes", "PPM", "PPM of 10 bits", "PPM as text"],
)
def test_low_bytes_are_not_lost_silently(data, tmp_path):
    (tmp_path / "deep").write_bytes(data)
    with pytest.raises(CodecError, match="expected 8 bits of grey or RGB, got more than 8; convert it first"):
        read_picture("deep", tmp_path / "deep", 3)


@pytest.mark.parametrize("ending", ["png", "tif", "ppm", "bmp", "webp", "gif", "sgi", "tga"])
def test_eight_bits_are_read_from_files_of_many_kinds(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (3, 2), (1, 2, 3)).save(path, **dict(lossless=True) if ending == "webp" else {})
    assert (read_picture("a", path, 3).levels == (1, 2, 3)).all()


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "c:\\a", ""])
def test_no_name_leads_out_of_the_folder(name, tmp_path):
    with pytest.raises(CodecError, match="expected names below a folder"):
        target_of(tmp_path, name)


def test_the_commands_work_on_files_of_every_mode(tmp_path, capsys):
    make_model(**COLOUR).save_pretrained(tmp_path / "model")
    random = np.random.default_rng(0)
    inputs = tmp_path / "in" / "below"
    inputs.mkdir(parents=True)
    arrays = {
        "colour": random.integers(0, 256, (8, 7, 3), dtype=np.uint8),
        "grey": random.integers(0, 256, (5, 9), dtype=np.uint8),
        "bits": random.integers(0, 2, (6, 6)).astype(bool),
    }
    for name, array in arrays.items():
        Image.fromarray(array).save(inputs / f"{name}.png")
    common = ["--checkpoint", str(tmp_path / "model"), "--num_steps", "3"]
    main(["encode", str(tmp_path / "in"), *common, "--output", str(tmp_path / "x.ptz")])
    main(["info", str(tmp_path / "x.ptz")])
    main(["decode", str(tmp_path / "x.ptz"), "--output", str(tmp_path / "out")])
    for name, array in arrays.items():
        assert np.array_equal(np.array(Image.open(tmp_path / "out" / "below" / f"{name}.png")), array)
    said = capsys.readouterr().out
    assert "3 images" in said and "-log2 p" in said and "3 passes" in said

    mask = np.zeros((8, 7), np.uint8)
    mask[:4] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    main(["encode", str(inputs / "colour.png"), *common, "--known", str(tmp_path / "mask.png"),
          "--output", str(tmp_path / "y.ptz")])  # fmt: skip
    held = np.where(mask[..., None] > 0, arrays["colour"], 0).astype(np.uint8)
    Image.fromarray(held).save(tmp_path / "held.png")
    main(["decode", str(tmp_path / "y.ptz"), "--known", str(tmp_path / "mask.png"),
          "--held", str(tmp_path / "held.png"), "--output", str(tmp_path / "again")])  # fmt: skip
    assert np.array_equal(np.array(Image.open(tmp_path / "again" / "colour.png")), arrays["colour"])
    with pytest.raises(SystemExit, match="applications.codec: --known, --held: expected the mask"):
        main(["decode", str(tmp_path / "y.ptz"), "--output", str(tmp_path / "again")])
    main(["decode", str(tmp_path / "x.ptz"), "--part", "0.4", "--output", str(tmp_path / "early")])
    assert (tmp_path / "early" / "below" / "colour-std.png").exists()
