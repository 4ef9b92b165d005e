"""Bad and odd checkpoints: configs, files that are missing or damaged, other code, edited cards, other dtypes."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from benchmarks.reliability.model_calls import INF, NAN, good_arguments, small_model
from benchmarks.reliability.tally import Tally, quiet
from pixeltransformer.modeling_pixeltransformer import PixelTransformerConfig, PixelTransformerModel

COUNTS = ("hidden_size", "num_encoder_layers", "num_decoder_layers", "num_attention_heads", "intermediate_size")
BAD_FIELDS: dict[str, tuple] = {
    **dict.fromkeys((*COUNTS, "num_bins", "num_scales", "max_tokens", "value_dim"), (0, -1, 1.5, "many", True, None)),
    **dict.fromkeys(("position_bandwidth", "initializer_range"), (0, -1.0, NAN, "x", None)),
    **dict.fromkeys(("min_std", "max_std", "offset_radius", "rotary_max_frequency"), (0, -1.0, INF, "x")),
    "native_grid": ([], [0, 6], [6, 6, 6, 6], [6.5, 6], "6×6", 6),
    "axes": ([0], [0, 0], [1, 2], "xy"),
    "value_range": ([1, 0], [0, 0], [0], [NAN, 1], "0 to 1", 1.0),
    "quantization_step": (0, -0.1, 0.3, NAN, "x"),
    "max_buffer_share": (2.0, -0.1, NAN, "x", None),
    "chain_scales": ([0], [0, 1], [3, 0], "all"),
    "activation": ("gelu", None),
    "norm": ("batch", None),
    "norm_position": ("middle", None),
    "signal": ("", None, 3),
}
EXACT = ("frequencies", "bin_centers", "head")  # parts that stay float32


def try_checkpoints() -> Tally:
    """All of this module."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with quiet():
            small_model().save_pretrained(root / "whole")
        for try_some in (_fields, _damaged, _cards, _dtypes, _other_code):
            with quiet():
                try_some(tally, root)
    return tally


def _fields(tally: Tally, root: Path) -> None:
    """Bad fields given to the config, and as overrides of a checkpoint's."""
    for field, bads in BAD_FIELDS.items():
        for bad in bads:
            word = r"PixelTransformerConfig\.\w+: expected"
            tally.refuse(f"config: {field}={bad!r}", lambda given={field: bad}: PixelTransformerConfig(**given), word)
        for bad in bads[:2]:
            for load in (PixelTransformerModel, PixelTransformerConfig):
                tally.refuse(
                    f"{load.__name__}.from_pretrained({field}={bad!r})",
                    lambda load=load, given={field: bad}: load.from_pretrained(root / "whole", **given),
                    word,
                )
    for count in (np.int64(6), np.uint8(6), torch.tensor(6)):
        for make in (list, tuple, np.array):
            grid = make([count, count])

            def plain(grid=grid) -> bool:
                return json.loads(PixelTransformerConfig(native_grid=grid).to_json_string())["native_grid"] == [6, 6]

            tally.answer(f"native_grid as {make.__name__} of {type(count).__name__}", plain)


def _damaged(tally: Tally, root: Path) -> None:
    """Folders that lack a file or hold a damaged one."""

    def weights(change: Callable[[dict], object]) -> Callable[[Path], None]:
        def edit(folder: Path) -> None:
            held = load_file(folder / "model.safetensors")
            change(held)
            save_file(held, folder / "model.safetensors", {"format": "pt"})

        return edit

    def settings(**fields) -> Callable[[Path], object]:
        def edit(folder: Path) -> None:
            held = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(held | fields))

        return edit

    def pickled(folder: Path) -> None:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()

    ways = {
        "without weights": lambda folder: (folder / "model.safetensors").unlink(),
        "weights cut in half": lambda folder: _cut(folder / "model.safetensors", 2),
        "weights emptied": lambda folder: (folder / "model.safetensors").write_bytes(b""),
        "weights replaced by a page of HTML": lambda folder: (folder / "model.safetensors").write_text("<html>" * 99),
        "weights as a pickle": pickled,
        "a weight missing": weights(lambda held: held.pop("nothing_observed.token")),
        "a weight too many": weights(lambda held: held.update(more=torch.zeros(2))),
        "a weight renamed": weights(lambda held: held.update(other=held.pop("nothing_observed.token"))),
        "a weight of another shape": weights(lambda held: held.update({"nothing_observed.token": torch.zeros(99)})),
        "without a config": lambda folder: (folder / "config.json").unlink(),
        "a config cut in half": lambda folder: _cut(folder / "config.json", 2),
        "a config of a list": lambda folder: (folder / "config.json").write_text("[]"),
        "a config of another width": settings(hidden_size=32),
        "a config of no layers": settings(num_encoder_layers=0),
        "a config of more layers": settings(num_encoder_layers=3),
        "a config of text": settings(native_grid="6x6"),
    }
    for number, (case, spoil) in enumerate(ways.items()):
        folder = root / f"damaged-{number}"
        small_model().save_pretrained(folder)
        spoil(folder)
        word = r"expected|[Ww]eights|safetensors|config|JSON|mismatch|pickle|\.bin"
        refusals = (ValueError, TypeError, OSError, RuntimeError)
        tally.refuse(case, lambda folder=folder: PixelTransformerModel.from_pretrained(folder), word, refusals)
    for name in ("/nowhere", "no/such-model", "", str(root)):
        tally.refuse(
            f"a checkpoint at {name!r}"[:60],
            lambda name=name: PixelTransformerModel.from_pretrained(name),
            r"config\.json|model\.safetensors|not a valid|[Cc]an't load|couldn't find them|Repo id must|expected",
            (ValueError, OSError),
        )


def _cut(path: Path, part: int) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // part])


def _cards(tally: Tally, root: Path) -> None:
    """Whatever stands in a checkpoint's folder besides the model survives saving into it."""
    mine = {
        "another licence": ("README.md", b"---\nlicense: mit\n---\nMine."),
        "no front matter": ("README.md", b"# Mine"),
        "an empty card": ("README.md", b""),
        "a card that is no UTF-8": ("README.md", b"\xff\xfe caf\xe9"),
        "a long card": ("README.md", b"word " * 50_000),
        "a licence": ("LICENSE", b"MIT"),
        "a picture": ("samples.png", b"\x89PNG"),
        "a note": ("notes.txt", b"x"),
        "a file in a folder": ("figures/a.png", b"x"),
    }
    for number, (case, (name, data)) in enumerate(mine.items()):
        for source in ("loaded", "made"):
            folder = root / f"card-{number}-{source}"
            small_model().save_pretrained(folder)
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
            model = PixelTransformerModel.from_pretrained(folder) if source == "loaded" else small_model()

            def kept(model=model, file=folder / name, data=data, folder=folder) -> bool:
                model.save_pretrained(folder)
                return file.read_bytes() == data

            tally.answer(f"{case}, saved from a model that was {source}", kept)


def _dtypes(tally: Tally, root: Path) -> None:
    """A model in another dtype keeps what needs float32, and answers as before within that dtype's precision."""
    whole = PixelTransformerModel.from_pretrained(root / "whole")
    exact = {name: part for name, part in whole.state_dict().items() if set(EXACT) & set(name.split("."))}
    plain = whole.predict(**good_arguments()).mean
    for dtype in (torch.bfloat16, torch.float16):
        ways = {
            "loaded": lambda dtype=dtype: PixelTransformerModel.from_pretrained(root / "whole", dtype=dtype),
            "loaded by name": lambda dtype=dtype: PixelTransformerModel.from_pretrained(
                root / "whole", dtype=str(dtype).removeprefix("torch.")
            ),
            "converted": lambda dtype=dtype: PixelTransformerModel.from_pretrained(root / "whole").to(dtype),
            "converted inside of another module": lambda dtype=dtype: torch.nn.Sequential(
                PixelTransformerModel.from_pretrained(root / "whole")
            ).to(dtype)[0],
            "saved and loaded": lambda dtype=dtype: _saved(root / f"low-{dtype}", dtype, root / "whole"),
        }
        for way, make in ways.items():

            def right(make=make) -> bool:
                model = make().eval()
                held = model.state_dict()
                kept = all(torch.equal(held[name], part) for name, part in exact.items())
                return bool(exact) and kept and torch.allclose(model.predict(**good_arguments()).mean, plain, atol=0.02)

            tally.answer(f"{dtype}, {way}", right)


def _saved(folder: Path, dtype: torch.dtype, source: Path) -> PixelTransformerModel:
    PixelTransformerModel.from_pretrained(source, dtype=dtype).save_pretrained(folder)
    return PixelTransformerModel.from_pretrained(folder, dtype=dtype)


OTHER = """
import sys
from transformers import AutoModel
for folder in sys.argv[1:]:
    model, info = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    print("found", hasattr(model, "empty_set"), getattr(model, "mark", None))
"""


def _other_code(tally: Tally, root: Path) -> None:
    """Checkpoints of different code in one process, in any order: each runs its own."""
    folders = [root / parent / "export" for parent in ("first", "second", "third")]
    for folder in folders:
        small_model().save_pretrained(folder)
    code = folders[1] / "modeling_pixeltransformer.py"
    code.write_text(code.read_text().replace("nothing_observed", "empty_set"))
    held = load_file(folders[1] / "model.safetensors")
    held["empty_set.token"] = held.pop("nothing_observed.token")
    save_file(held, folders[1] / "model.safetensors", {"format": "pt"})
    with (folders[2] / "modeling_pixeltransformer.py").open("a") as file:
        file.write("\n\nPixelTransformerModel.mark = 3\n")
    expected = ["found False None", "found True None", "found False 3"]
    for order in ((0, 1, 2, 0), (2, 1, 0, 2)):
        variables = os.environ | {"HF_MODULES_CACHE": str(root / f"modules-{order[0]}"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", OTHER, *(str(folders[number]) for number in order)]
        done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith("found")]
        for position, number in enumerate(order):
            case = f"loaded as number {position + 1} of checkpoints with code {order}"
            tally.answer(case, lambda at=position, n=number, lines=lines: lines[at : at + 1] == [expected[n]])
    tally.refuse(
        "weights of other code",
        lambda: PixelTransformerModel.from_pretrained(folders[1]),
        "expected weights of this version .*missing: nothing_observed.token; unexpected: empty_set.token",
    )
    tally.refuse(
        "weights of other code, after this process has registered its own",
        lambda: AutoModel.from_pretrained(folders[1], trust_remote_code=True),
        "expected weights of this version",
    )
