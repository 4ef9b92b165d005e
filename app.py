"""The Gradio app: `python app.py` serves the models in `checkpoints/`, offline, here or as a Hugging Face Space."""

import argparse
from pathlib import Path

import gradio as gr

from demo import api, field_tab, image_tab, models, opening, polynomial_tab, saving, shape_tab, share, video_tab
from demo.cores import share_cores
from demo.guard import guarded
from demo.limits import MAX_FILE, MAX_SESSIONS, MAX_WAITING
from demo.memory import share_arenas
from demo.tab import QUICK, Tab

TITLE = "PixelTransformer"
INTRO = f"# {TITLE}\nInfer a whole signal, and how sure one can be of it, from the values at a few positions."
TABS = {"Image": image_tab, "Polynomial": polynomial_tab, "3D": shape_tab, "Video": video_tab, "Field": field_tab}

# On a direct visit of `/?view=api` Gradio takes its page about the API for open without having loaded it: its button
# closes it first, and takes `view` out of the address; another click opens it.
SHOW_API = """() => {
  if (new URLSearchParams(location.search).get("view") !== "api") return;
  let tries = 40;
  const open = () => {
    if (document.querySelector(".api-docs")) return;
    const button = document.querySelector("button.show-api");
    if (!button) return void (tries-- && setTimeout(open, 250));
    button.click();
    if (!new URLSearchParams(location.search).has("view")) button.click();
  };
  open();
}"""
ACCESSIBLE = (Path(__file__).parent / "demo" / "accessible.js").read_text(encoding="utf-8")


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
                saving.remember_tab(item, module.NAME, image_tab.NAME)
                if tabs[-1].chosen is not None:
                    tabs[-1].chosen(item.select)
        for tab in tabs:
            _connect(blocks, row, tab)
        api.build()
        blocks.load(None, None, None, js=SHOW_API)
        blocks.load(None, None, None, js=ACCESSIBLE)
    return blocks.queue(max_size=MAX_WAITING)


def _connect(blocks: gr.Blocks, row: gr.Tabs, tab: Tab) -> None:
    """Open the tab that a link names, with the link's state if it has one; otherwise what the browser saved of it."""
    if tab.restore is None:
        return

    arrived = gr.State("")  # the state, once it is on the page: then what depends on it is drawn
    named = gr.Textbox(visible="hidden")  # the tab's name, where it is to be opened
    texts = [gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")]

    @guarded
    def open_link(saved: str, last: str, request: gr.Request):
        code, wanted = request.query_params.get("state"), request.query_params.get("tab")
        chosen = {named: tab.name if tab.name == (wanted or last) else ""}
        if code and wanted == tab.name:
            try:
                return chosen | {arrived: code} | tab.restore(share.from_code(code))
            except ValueError as error:
                gr.Warning(f"This link cannot be opened: {error}", title="Please check")
        kept = saving.read_saved(saved)
        found = None if kept is None or tab.recover is None else _recovered(tab, kept)
        if found is not None and not tab.recovers_alone:
            return chosen | {arrived: saved} | found
        return chosen | (found or {})

    outputs = [named, arrived, *tab.restored]
    read = blocks.load(open_link, texts, outputs, js=saving.reading(tab.name), show_progress="hidden", **QUICK)
    read.then(None, named, row, js=saving.OPEN, api_visibility="private")
    tab.opening(arrived.change)
    if tab.waits:
        tab.opening(blocks.load)


def _recovered(tab: Tab, kept: dict) -> dict | None:
    """Updates to what the browser saved; `None` where an older version of the app, or somebody else, wrote it."""
    try:
        return tab.recover(kept)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def prepare() -> None:
    """Before `build`'s blocks are launched: threads as an app of many visitors needs them, and a first drawing."""
    share_cores()
    opening.warm_up()


def launch_options() -> dict:
    """What `blocks.launch` needs besides a port: look and limits."""
    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=fonts[0], font_mono=fonts[1])
    style = Path(__file__).parent / "demo" / "style.css"
    limits = dict(max_file_size=MAX_FILE, state_session_capacity=MAX_SESSIONS)
    # `_frontend` alone decides whether Gradio first asks its own page for an answer within three seconds, which a busy
    # machine does not give: the app would not start.
    return dict(theme=theme, css_paths=style, show_error=True, ssr_mode=False, _frontend=False, **limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", action="append", help="folder or Hub id of a further checkpoint; repeatable")
    parser.add_argument("--port", type=int, help="port to serve on; default: the first free one from 7860")
    parser.add_argument("--mcp", action="store_true", help="offer the API as MCP tools too (pip install 'gradio[mcp]')")
    arguments = parser.parse_args()
    try:
        blocks = build(arguments.checkpoint)
        prepare()
        blocks.launch(server_port=arguments.port, mcp_server=arguments.mcp, **launch_options())
    except (ValueError, ImportError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
