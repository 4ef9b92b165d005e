"""The Gradio app: `python app.py` serves the models in `checkpoints/`, offline, here or as a Hugging Face Space."""

import argparse
from pathlib import Path

import gradio as gr

from demo import api, image_tab, models, polynomial_tab, shape_tab, share, video_tab
from demo.guard import guarded
from demo.limits import MAX_FILE, MAX_SESSIONS, MAX_WAITING
from demo.memory import share_arenas
from demo.tab import QUICK, Tab

TITLE = "PixelTransformer"
INTRO = f"# {TITLE}\nInfer a whole signal, and how sure one can be of it, from the values at a few positions."
TABS = {"Image": image_tab, "Polynomial": polynomial_tab, "3D": shape_tab, "Video": video_tab}


def build(checkpoints: list[str] | None = None) -> gr.Blocks:
    """The app over the shipped checkpoints and further ones (folders or Hub ids).

    Raises:
        ValueError: for a checkpoint that cannot be read.
    """
    share_arenas()
    models.offer(checkpoints)
    # Files that visitors made are looked after every ten minutes and deleted after an hour.
    with gr.Blocks(title=TITLE, delete_cache=(600, 3600)) as blocks:
        gr.Markdown(INTRO, elem_classes="pt-title")
        tabs = []
        with gr.Tabs(elem_id="tabs") as row:
            for title, module in TABS.items():
                with gr.Tab(title, id=module.NAME) as item:
                    tabs.append(module.build())
                if tabs[-1].chosen is not None:
                    item.select(*tabs[-1].chosen, show_progress="hidden", **QUICK)
        for tab in tabs:
            _connect(blocks, row, tab)
        api.build()
    return blocks.queue(max_size=MAX_WAITING)


def _connect(blocks: gr.Blocks, row: gr.Tabs, tab: Tab) -> None:
    """Open the tab that a link names, with the link's state if it has one."""
    if tab.restore is None:
        return

    arrived = gr.State("")  # the link's state, once it is on the page: then what depends on it is drawn
    named = gr.State(False)  # a link names the tab alone

    @guarded
    def open_link(request: gr.Request):
        code, wanted = request.query_params.get("state"), request.query_params.get("tab")
        if wanted != tab.name:
            return {row: gr.skip()}
        chosen = {row: gr.update(selected=tab.name)}
        if code:
            try:
                return chosen | {arrived: code} | tab.restore(share.from_code(code))
            except ValueError as error:
                gr.Warning(f"This link cannot be opened: {error}", title="Please check")
        return chosen | {named: True}

    blocks.load(open_link, None, [row, arrived, named, *tab.restored], show_progress="hidden", **QUICK)
    if tab.chosen is not None:
        named.change(*tab.chosen, show_progress="hidden", **QUICK)
    tab.opening(arrived.change)
    if tab.waits:
        tab.opening(blocks.load)


def launch_options() -> dict:
    """What `blocks.launch` needs besides a port: look and limits."""
    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=fonts[0], font_mono=fonts[1])
    style = Path(__file__).parent / "demo" / "style.css"
    limits = dict(max_file_size=MAX_FILE, state_session_capacity=MAX_SESSIONS)
    return dict(theme=theme, css_paths=style, show_error=True, ssr_mode=False, **limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", action="append", help="folder or Hub id of a further checkpoint; repeatable")
    parser.add_argument("--port", type=int, help="port to serve on; default: the first free one from 7860")
    parser.add_argument("--mcp", action="store_true", help="offer the API as MCP tools too (pip install 'gradio[mcp]')")
    arguments = parser.parse_args()
    try:
        blocks = build(arguments.checkpoint)
        blocks.launch(server_port=arguments.port, mcp_server=arguments.mcp, **launch_options())
    except (ValueError, ImportError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
