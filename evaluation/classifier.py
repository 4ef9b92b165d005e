"""A small classifier of real images, which says whether generated ones can be recognised.

`python -m evaluation.classifier --dataset_name ylecun/mnist --output runs/mnist-classifier.safetensors` trains it on
the training split, in minutes on one core, and measures it on the test split. `evaluate.py --classifier FILE` uses it.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, Value
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy
from tqdm.auto import trange
from transformers import HfArgumentParser

from signals.base import flag
from signals.data import find_column, pick_split
from signals.image import choose_channels, find_image_column, load_images, open_image, read, to_values, undecoded


@dataclass
class Arguments:
    """Train a small classifier on real images."""

    dataset_name: str = flag("Hub dataset or folder of dataset files with images and labels.")
    output: str = flag("File for the weights (.safetensors).")
    image_size: int | None = flag("Side to which images are resized; default: that of the first.")
    train_split: str = flag("Split to train on.", "train")
    test_split: str = flag("Split on which the accuracy is measured.", "test")
    label_column: str | None = flag("Column with the labels; needed only where there are several.")
    epochs: int = flag("Passes through the training split.", 2)
    batch_size: int = flag("Images in a step.", 128)
    learning_rate: float = flag("Peak of the one-cycle schedule of AdamW.", 4e-3)
    flip: bool = flag("Mirror every other image: for pictures of things, not for digits.", False)
    limit: int | None = flag("Train and test on so many images only, for a quick look.")
    seed: int = flag("Seed of weights and order.", 0)

    def __post_init__(self):
        for name in ("dataset_name", "output"):
            if not getattr(self, name):
                raise ValueError(f"--{name}: expected a name, got {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "image_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name}: expected a number above 0, got {value}")


class Classifier(nn.Sequential):
    """Three convolutions with batch norm, each second resolution halved, then an average and a linear layer.

    Args:
        channels (`int`): V of the images (N, V, y, x) in [0, 1] that it reads.
        classes (`int`): Length of the logits (N, classes) that it returns.
        width (`int`): Channels of the first convolution; doubled twice.
    """

    def __init__(self, channels: int, classes: int, width: int = 32):
        layers: list[nn.Module] = []
        for level, size in enumerate((width, 2 * width, 4 * width)):
            layers += [nn.Conv2d(channels, size, 3, padding=1, bias=False), nn.BatchNorm2d(size), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] * (level < 2)
            channels = size
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))

    @torch.no_grad()
    def classes_of(self, images: Tensor) -> Tensor:
        """The most probable class (N,) of images (N, V, y, x)."""
        return torch.cat([self(part).argmax(-1) for part in images.split(512)])


def read_labels(rows: Dataset, column: str | None = None) -> list[int]:
    """The labels of a dataset's rows, from its only column of class labels or, without such, of integers.

    Raises:
        ValueError: where there is none, or several and `column` names none.
    """
    labelled = any(isinstance(feature, ClassLabel) for feature in rows.features.values())
    return rows[find_column(rows.features, (ClassLabel if labelled else Value,), "a label", column, "label_column")]


def read_images(rows: Dataset, side: int | None, channels: int | None) -> Tensor:
    """Images (N, V, y, x), uint8, at the first one's size, and grey or in colour, unless given."""
    name = find_image_column(rows)
    rows = undecoded(rows, name)
    channels = channels or choose_channels(rows, name, "auto")
    size = (side, side) if side else open_image(rows[0][name]).size
    return torch.stack([read(open_image(row[name]), size, channels).movedim(-1, 0) for row in rows])


def train(images: Tensor, labels: Tensor, classes: int, arguments: Arguments) -> Classifier:
    """A classifier trained on images (N, V, y, x) of uint8 and their labels (N,)."""
    generator = torch.Generator().manual_seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    model = Classifier(images.shape[1], classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    steps = arguments.epochs * -(-len(images) // arguments.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.learning_rate, steps)
    for _ in trange(arguments.epochs, desc="classifier"):
        for batch in torch.randperm(len(images), generator=generator).split(arguments.batch_size):
            values = to_values(images[batch])
            if arguments.flip:
                mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
                values = torch.where(mirrored, values.flip(-1), values)
            loss = F.cross_entropy(model(values.contiguous(memory_format=torch.channels_last)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Share of labels (N,) that were predicted, each image counting the same."""
    return multiclass_accuracy(predicted, labels, num_classes=classes, average="micro").item()


def save(model: Classifier, path: Path, facts: dict) -> None:
    """Weights and, as the file's metadata, what `load` needs and what is known of the classifier."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, path, metadata={"facts": json.dumps(facts)})


def load(path: str | Path) -> tuple[Classifier, dict]:
    """A classifier and the facts that were saved with it: `channels`, `classes`, `accuracy`, `images`, `command`.

    Raises:
        ValueError: for a file that is not there or holds no classifier.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # safetensors raises its own kinds
        raise ValueError(f"--classifier: expected a file of evaluation.classifier, got {path}: {error}") from error
    if facts is None:
        raise ValueError(f"--classifier: expected a file of evaluation.classifier, got {path}")
    model = Classifier(facts["channels"], facts["classes"])
    model.load_state_dict(weights)
    return model.eval(), facts


def main() -> None:
    try:
        (arguments,) = HfArgumentParser(Arguments, description=Arguments.__doc__).parse_args_into_dataclasses()
        splits = load_images(arguments.dataset_name)
        parts = [pick_split(splits, split) for split in (arguments.train_split, arguments.test_split)]
        if arguments.limit:
            parts = [part.select(range(min(arguments.limit, len(part)))) for part in parts]
        labels = [torch.tensor(read_labels(part, arguments.label_column)) for part in parts]
        training = read_images(parts[0], arguments.image_size, None)
        testing = read_images(parts[1], training.shape[-1], training.shape[1])
    except ValueError as error:
        sys.exit(f"evaluation.classifier: {error}")
    classes = int(labels[0].max()) + 1
    model = train(training, labels[0], classes, arguments)
    share = accuracy(model.classes_of(to_values(testing)), labels[1], classes)
    command = "python -m evaluation.classifier " + shlex.join(sys.argv[1:])
    facts = {"channels": training.shape[1], "classes": classes, "accuracy": share}
    save(model, Path(arguments.output), facts | {"images": len(testing), "command": command})
    print(f"{share:.2%} of {len(testing):,} real test images are recognised; trained on {len(training):,}")


if __name__ == "__main__":
    main()
