"""The Gradio app: `python app.py` serves the models in `checkpoints/`, offline, here or as a Hugging Face Space."""

import argparse

import gradio as gr

from demo import image_tab
from demo.models import available

TITLE = "PixelTransformer"
INTRO = f"""# {TITLE}
Infer a whole signal, and how sure one can be of it, from the values at a few places."""


def build(checkpoints: list[str] | None = None) -> gr.Blocks:
    """The app over the shipped checkpoints and further ones (folders or Hub ids)."""
    with gr.Blocks(title=TITLE) as blocks:
        gr.Markdown(INTRO)
        image_tab.build(available(checkpoints))
    return blocks.queue(max_size=32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", action="append", help="folder or Hub id of a further checkpoint; repeatable")
    parser.add_argument("--port", type=int, help="port to serve on; default: the first free one from 7860")
    arguments = parser.parse_args()
    try:
        blocks = build(arguments.checkpoint)
    except ValueError as error:
        parser.error(str(error))
    blocks.launch(server_port=arguments.port, max_file_size="10mb", theme=gr.themes.Soft(primary_hue="indigo"))


if __name__ == "__main__":
    main()
