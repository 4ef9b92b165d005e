"""Train on a folder of your own images: `python -m examples.train_on_my_images path/to/images --minutes 30`.

The same as `accelerate launch train_accelerate.py --dataset_name path/to/images --image_size 32 …`, called from Python.
"""

import argparse
import sys
from pathlib import Path

from train_accelerate import train
from training.arguments import parse_arguments


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of image files, any sizes")
    parser.add_argument("--minutes", type=float, default=30.0, help="time to train for")
    parser.add_argument("--size", type=int, default=32, help="side to which images are resized")
    parser.add_argument("--output", default="runs/mine", help="folder for training states and the exported model")
    own, rest = parser.parse_known_args(argv)
    flags = ["--kind", "image", "--dataset_name", own.folder, "--image_size", str(own.size)]
    flags += ["--horizontal_flip", "--max_train_minutes", str(own.minutes), "--output_dir", own.output, *rest]
    try:
        export = train(*parse_arguments(flags))
    except ValueError as error:
        sys.exit(f"train_on_my_images: {error}")
    print(f'AutoModel.from_pretrained("{export}", trust_remote_code=True)')
    return export


if __name__ == "__main__":
    main()
