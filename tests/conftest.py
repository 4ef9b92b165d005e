"""Small models and small generated images that the tests share."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs a network; set before the libraries read it
if "PYTEST_XDIST_WORKER" in os.environ:  # the other cores and the folder of the checkpoints' code belong to others
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="pixeltransformer-modules-")
    atexit.register(shutil.rmtree, os.environ["HF_MODULES_CACHE"], ignore_errors=True)

ROOT = Path(__file__).parent.parent
PATIENCE = 1200  # seconds after which what hangs is given up: far more than a crowded machine takes
sys.path.insert(0, str(ROOT))
# What `save_pretrained` copies into a checkpoint's folder.
CODE = sorted(path.name for path in (ROOT / "pixeltransformer").glob("*.py") if path.name != "__init__.py")

from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig  # noqa: E402
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel  # noqa: E402
from training import processes as training_processes  # noqa: E402
from training.setup import num_cores  # noqa: E402

if "PYTEST_XDIST_WORKER" in os.environ:  # trainings would take, and leave, a thread for each core
    training_processes.num_cores = lambda: 1

# The files that take longest start first, so that workers end together; "browser" are all of that folder.
LONGEST = [
    *("browser", "test_hub", "test_training", "test_resume", "test_two_processes", "test_evaluation_command"),
    *("test_data_faults", "test_skipped_steps", "test_security", "test_examples", "test_app_api"),
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers for `-n auto`: one a core that this process may use, at most 4; none where a single file is tested."""
    paths = {argument.split("::")[0] for argument in config.args}
    if len(paths) == 1 and paths.pop().endswith(".py"):
        return 0
    return min(4, num_cores())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; within a file the order stays."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: min(places.get(name, len(LONGEST)) for name in (item.path.stem, item.path.parent.name)))


def make_model(seed: int = 0, **config) -> PixelTransformerModel:
    """A small model whose weights are large enough that everything depends on everything."""
    torch.manual_seed(seed)
    defaults = dict(native_grid=[6, 6], hidden_size=32, num_encoder_layers=2, num_decoder_layers=2)
    defaults |= dict(num_attention_heads=2, intermediate_size=48, num_bins=5, initializer_range=0.2)
    return PixelTransformerModel(PixelTransformerConfig(**{**defaults, **config})).eval()


def make_context(model, batch: int = 2, context: int = 7, seed: int = 1):
    """Random positions and values (B, K, P), (B, K, V)."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    positions = torch.rand(batch, context, config.position_dim, generator=generator) * 2 - 1
    values = torch.rand(batch, context, config.value_dim, generator=generator)
    if config.quantization_step:
        values = (values * 255).round() / 255
    return positions, values


@pytest.fixture(params=["default", "paper", "colour", "correlated", "continuous", "curve"])
def model(request) -> PixelTransformerModel:
    """Every kind of configuration in small."""
    if request.param == "paper":
        small = dict(native_grid=[6, 6], hidden_size=32, num_encoder_layers=2, num_decoder_layers=2)
        small |= dict(intermediate_size=48, num_bins=5, initializer_range=0.2)
        torch.manual_seed(0)
        return PixelTransformerModel(PixelTransformerConfig.paper(**small)).eval()
    variants = {
        "default": {},
        "colour": dict(value_dim=3),
        "correlated": dict(value_dim=3, correlated_channels=True),
        "continuous": dict(
            signal="shape",
            native_grid=[4, 4, 4],
            value_range=[-1.0, 1.0],
            quantization_step=None,
            norm="rms",
        ),
        "curve": dict(
            signal="polynomial",
            native_grid=[32],
            value_range=None,
            quantization_step=None,
            num_bins=3,
            offset_radius=None,
        ),
    }
    return make_model(**variants[request.param])


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Each test may choose its own precision: accelerate's state is one for the process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def grey_model() -> PixelTransformerModel:
    return make_model()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A folder of 40 grey PNGs of 8×8: bright discs at random positions."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]
    for index in range(40):
        cx, cy = random.uniform(2, 6, 2)
        disc = 255 / (1 + np.exp(2 * (np.hypot(x - cx, y - cy) - 2)))
        Image.fromarray(disc.astype(np.uint8)).save(folder / f"{index:02d}.png")
    return folder
