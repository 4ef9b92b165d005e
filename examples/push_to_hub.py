"""Push a checkpoint to the Hub: `hf auth login`, then `python -m examples.push_to_hub runs/mine/export you/name`."""

import argparse
import sys

from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="folder of an exported or shipped model")
    parser.add_argument("repository", help="name on the Hub, like you/cat-faces")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    arguments = parser.parse_args(argv)
    try:
        model = PixelTransformerModel.from_pretrained(arguments.checkpoint)
    except OSError as error:
        sys.exit(f"push_to_hub: cannot load {arguments.checkpoint!r}: {error}")
    # Weights, configuration, code and card go up as one commit; the card's example then loads from the Hub.
    print(model.push_to_hub(arguments.repository, private=arguments.private))


if __name__ == "__main__":
    main()
