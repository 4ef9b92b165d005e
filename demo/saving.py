"""The visitor's work kept in their own browser: saved after every change, there again after a reload, Back, or a lost
connection. Nothing of it is stored on the server."""

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from demo.observed import read_json
from demo.tab import Page

KEY = "pixeltransformer"
TAB = f"{KEY}.tab"  # where the tab is kept that was open
# A link in the address bar goes with the first change after it: after a reload it would win over later work.
# A browser may refuse to keep anything, or have no room: then the page works all the same.
SAVE = """(...values) => {{
  const saved = {names}.map((name, index) => [name, values[index]]);
  const text = JSON.stringify(Object.fromEntries(saved)), last = (window.ptSaved ??= {{}})["{tab}"];
  try {{ localStorage.setItem("{key}", text); }} catch {{ /* no room */ }}
  window.ptSaved["{tab}"] = text;
  const link = location.search.includes("tab={tab}&state=") && last !== undefined && last !== text;
  if (link) history.replaceState(null, "", location.pathname + "?tab={tab}");
}}"""
READ = """() => {{
  try {{ return ["{key}", "{tab}"].map((name) => localStorage.getItem(name) || ""); }} catch {{ return ["", ""]; }}
}}"""
# Gradio says that the first tab is chosen as soon as the page is there: that is no choice of the visitor's.
CHOSEN = """() => {{
  if ((window.ptTab ?? "{first}") === "{name}") return;
  window.ptTab = "{name}";
  try {{ localStorage.setItem("{tab}", "{name}"); }} catch {{ /* not kept */ }}
}}"""
# The server's answer may come late: by then a quick visitor has chosen another tab, which stays open.
OPEN = """(name) => name && window.ptTab === undefined ? { __type__: "update", selected: name } : undefined"""


def save_after(page: Page, tab: str, names: list[str], *events: Callable) -> None:
    """Keep the values of these components after each of the events."""
    js = SAVE.format(names=json.dumps(names), key=f"{KEY}.{tab}", tab=tab)
    for event in events:
        event(None, [page[name] for name in names], None, js=js, api_visibility="private")


def remember_tab(item: gr.Tab, tab: str, first: str) -> None:
    """Keep which tab is open; `first` is the one that the page opens with."""
    item.select(None, None, None, js=CHOSEN.format(tab=TAB, name=tab, first=first))


def reading(tab: str) -> str:
    """A script that gives what was saved of a tab, and which tab was open; empty texts where nothing was."""
    return READ.format(key=f"{KEY}.{tab}", tab=TAB)


def read_saved(text: Any) -> dict[str, Any] | None:
    """What `save_after` kept, or `None` where that is nothing of this app's."""
    if not isinstance(text, str) or not text:
        return None
    try:
        saved = read_json(text, "saved")
    except ValueError:
        return None
    return saved if isinstance(saved, dict) else None
