"""The app over models as small as can be, under the names of the shipped ones: for what the page does, not how well."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import app
from conftest import make_model
from demo import field_actions, field_handlers, field_models, field_tab, models
from demo.answers import SPEEDS

SMALL = dict(hidden_size=32, num_encoder_layers=1, num_decoder_layers=1, num_attention_heads=2, intermediate_size=32)
KEPT = ("signal", "native_grid", "value_dim", "value_range", "quantization_step", "num_scales")
REAL = ("chairs",)  # of others the mean distance has no surface
FIELD = ("nade", "eonade")  # models of the field that answer at once: one of a single order, one of any


@contextmanager
def served() -> Iterator[str]:
    """Address of the app over small models of the shipped ones' names and shapes, alone on offer until the end.

    What they call exact samples takes four passes.
    """
    shipped, before, exact = models.CHECKPOINTS, dict(models.offered), SPEEDS["exact"]
    folder = Path(tempfile.mkdtemp(prefix="pixeltransformer-"))
    quick = {name: field_models.offered()[name] for name in FIELD}
    asking = [(module, module.offered) for module in (field_actions, field_handlers, field_tab)]
    try:
        for module, _ in asking:
            module.offered = lambda: quick
        for place in sorted(shipped.glob("*/config.json")):
            if place.parent.name in REAL:
                (folder / place.parent.name).symlink_to(place.parent)
                continue
            config = models.PixelTransformerConfig.from_pretrained(place.parent)
            kept = {name: getattr(config, name) for name in KEPT}
            bins = 8 if config.quantization_step else 2
            make_model(**{**SMALL, **kept, "num_bins": bins}).save_pretrained(folder / place.parent.name)
        models.CHECKPOINTS, SPEEDS["exact"] = folder, 4
        blocks = app.build()
        _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
        yield url.rstrip("/")
        blocks.close()
    finally:
        models.CHECKPOINTS, SPEEDS["exact"] = shipped, exact
        for module, offered in asking:
            module.offered = offered
        models.offered.clear()
        models.offered.update(before)
        shutil.rmtree(folder, ignore_errors=True)
