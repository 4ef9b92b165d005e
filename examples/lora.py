"""Adapt a checkpoint to a folder of pictures by LoRA: `python -m examples.lora path/to/images --output runs/adapted`.

Low-rank adapters (Hu et al. 2022) of all layers are trained on the episodes of `train_accelerate.py`; the checkpoint's
own weights stay as they are. Twenty pictures are enough (two of them are then held out; `--validation_size` names
another number, `--validation_split` a folder of others). Writes the adapters, a few hundred kB, to OUTPUT/adapters,
and a checkpoint with the adapters merged into its weights to OUTPUT/merged, which `AutoModel` and the app load like
any other. Needs peft (`pip install peft`). To load the adapters by themselves:

    model = AutoModel.from_pretrained("checkpoints/cat-faces", trust_remote_code=True)
    model = PeftModel.from_pretrained(model, "runs/adapted/adapters")
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tqdm import tqdm

from evaluation.against_context import marginals_against_context
from pixeltransformer import PixelTransformerConfig
from signals.base import Rows, Signal
from training.arguments import Arguments, parse_arguments
from training.batches import EpisodeBatches
from training.episodes import EpisodeSampler, make_episode
from training.setup import make_model, make_sampler

# The linear layers of encoder and decoder, see `pixeltransformer/attention.py`.
TARGETS = ["query_key_value", "query", "projection", "output", "up", "down"]
# Steps of a size that suits a few pictures on a CPU; --average_probability and --chain_probability keep what the
# checkpoint knows of coarser scales.
EPISODES = "--token_budget 2048 --max_context 400 --buffer_size 32 --continuous_probability 0 --pattern_probability 0.2"
EPISODES += " --chain_probability 0.1 --average_probability 0.05 --horizontal_flip true"
RANK = 7  # the largest whose adapters are below 5 % of the weights of cat faces
CONTEXTS = (16, 64, 256)  # observed pixels of held-out pictures, by which the adapters are judged


def episodes(signal: Signal, rows: Rows, sampler: EpisodeSampler) -> Iterator[dict[str, torch.Tensor]]:
    """Training episodes without end."""
    for number, indices in enumerate(EpisodeBatches(len(rows), sampler)):
        batch = signal.collate([rows[index] for index in indices])
        yield make_episode(signal, batch, sampler.sizes(number), sampler.seed, number)


def add_adapters(model: torch.nn.Module, rank: int) -> tuple[PeftModel, list[torch.nn.Parameter]]:
    """A model with adapters, and their weights, which are all that is trained."""
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS))
    return model, [parameter for parameter in model.parameters() if parameter.requires_grad]


def held_out_bits(model: PeftModel, signal: Signal, rows: list[torch.Tensor]) -> str:
    """Bits per dimension of hidden pixels of held-out pictures, given some random pixels, as words."""
    contexts = [
        context for context in CONTEXTS if context < signal.num_cells({"native_grid": model.config.native_grid})
    ]
    found = marginals_against_context(model.eval(), signal, rows, contexts)
    return ", ".join(f"{row['bits_per_dim']:.3f} (K = {row['context']})" for row in found)


def adapt(own: argparse.Namespace, arguments: Arguments, signal: Signal) -> PeftModel:
    """The checkpoint with trained adapters."""
    training, validation = signal.load(arguments.seed)
    model = make_model(arguments, signal, training)  # which refuses a checkpoint for other signals
    model, adapters = add_adapters(model, own.rank)
    sampler = make_sampler(arguments, signal, model.config)
    held_out = validation.first(arguments.validation_images)
    with model.disable_adapter():
        print(f"{len(held_out)} held-out pictures, bits per dimension before: {held_out_bits(model, signal, held_out)}")
    trained, everything = (sum(p.numel() for p in part) for part in (adapters, model.parameters()))
    share = trained / (everything - trained)
    print(f"{len(training)} pictures; adapters: {trained:,} weights, {share:.1%} of the model's")
    optimizer = torch.optim.AdamW(adapters, lr=own.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=own.steps)
    model.train()
    with tqdm(total=own.steps) as bar:
        for _, episode in zip(range(own.steps), episodes(signal, training, sampler), strict=False):
            loss = model(**episode).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapters, arguments.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            bar.update()
            bar.set_postfix(nats=f"{loss.item():.3f}")
    print(f"{len(held_out)} held-out pictures, bits per dimension after: {held_out_bits(model, signal, held_out)}")
    return model


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"All other flags are those of train_accelerate.py, here with {EPISODES}",
        allow_abbrev=False,
    )
    parser.add_argument("folder", help="folder of image files, any sizes, or a dataset of images")
    parser.add_argument("--checkpoint", default="checkpoints/cat-faces", help="what is adapted (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: %(default)s)")
    parser.add_argument("--rank", type=int, default=RANK, help="of the adapters (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/adapted"), help="default: %(default)s")
    own, rest = parser.parse_known_args(argv)
    try:
        config = PixelTransformerConfig.from_pretrained(own.checkpoint)
        if config.signal != "image" or len(set(config.native_grid)) > 1:
            raise ValueError(f"--checkpoint: expected one for square images, got {config.signal} {config.native_grid}")
        flags = ["--kind", "image", "--dataset_name", own.folder, "--image_size", str(config.native_grid[0])]
        flags += ["--channels", "grey" if config.value_dim == 1 else "colour", "--init_from", own.checkpoint]
        flags += [*EPISODES.split(), "--max_train_steps", str(own.steps), "--output_dir", str(own.output)]
        model = adapt(own, *parse_arguments([*flags, *rest]))
    except (ValueError, OSError) as error:
        sys.exit(f"lora: {error}")
    model.save_pretrained(own.output / "adapters")
    model.merge_and_unload().save_pretrained(own.output / "merged")
    print(f"wrote {own.output}/adapters and {own.output}/merged")
    return own.output


if __name__ == "__main__":
    main()
