"""The page: its head and its tabs."""

import gc
from typing import Any

import gradio as gr

from ui import keys_tab
from ui.board.renderer import Renderer
from ui.compare_tab.tab import KEYS, RESTORE, CompareTab
from ui.context import Context, map_folder
from ui.events import QUICK
from ui.keys_tab import KeysTab
from ui.models_tab import ModelsTab
from ui.server.routes import routes
from ui.theme import STYLESHEET, theme

TITLE = "Lineup"
MOTTO = "One prompt, every text-to-image model, side by side."

# Gradio keeps some 1,000 objects for each visitor. At Python's usual 700 new ones between two
# collections, 200 visitors who come at once spend a quarter of the time on looking through them.
YOUNG = 10_000


def build(context: Context, renderer: Renderer) -> gr.Blocks:
    """Return the whole page."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(f'<div class="lu-head"><b>{TITLE}</b><span>{MOTTO}</span></div>')
        keys = keys_tab.session()
        with gr.Tabs(elem_classes="lu-tabs"):
            with gr.Tab("Compare", id="compare") as front:
                compare = CompareTab(context, renderer, keys)
            with gr.Tab("Models", id="models") as tab:
                models = ModelsTab(context)
            with gr.Tab("Keys", id="keys") as keyring:
                held = KeysTab(context, keys)
        opened = page.load(compare.open, None, compare.refreshed, **QUICK)
        opened.then(None, js=RESTORE)
        page.load(None, js=KEYS)
        front.select(compare.refresh, keys, compare.refreshed, **QUICK)
        tab.select(models.open, None, models.table, **QUICK)
        keyring.select(held.open, keys, held.said, **QUICK)
    return page


def serve(context: Context, renderer: Renderer, **launch: Any) -> None:
    """Serve the page until interrupted; `launch` goes to Gradio's `launch`.

    Every handler is short (a run goes on by itself and is followed over its own stream), so many
    visitors share the loop; `max_threads` only bounds what Gradio itself does in threads. The
    garbage collector passes over what has been built until now, and looks at the rest.
    """
    page = build(context, renderer)
    gc.freeze()
    gc.set_threshold(YOUNG)
    gc.enable()
    page.launch(
        app_kwargs={"lifespan": context.lifespan, "routes": routes(context, renderer)},
        theme=theme(),
        css_paths=STYLESHEET,
        footer_links=["settings"],
        run_history=False,
        ssr_mode=False,
        max_threads=100,
        max_file_size="50mb",
        allowed_paths=[str(map_folder(context))],
        **launch,
    )
