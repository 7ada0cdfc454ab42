"""The page: its head, its tabs and the events between them; and the server that serves it."""

import gc
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from ui import keys_tab, page_files
from ui.board.renderer import Renderer
from ui.compare_tab.memory import SETTLED
from ui.compare_tab.tab import RESTORE, CompareTab
from ui.compare_tab.variants_row import RECOUNT_UNABLE
from ui.context import Context, map_folder
from ui.events import QUICK
from ui.keys_tab import KeysTab
from ui.models_tab import ModelsTab
from ui.server.boundary import Page
from ui.server.document import Document
from ui.server.guard import LOCAL, Address, Guard
from ui.server.routes import routes
from ui.theme import theme
from ui.uploads import MAX_FILE

TITLE = page_files.TITLE
HEAD = f'<h1 title="One prompt, every text-to-image model, side by side.">{TITLE}</h1>'

GC_THRESHOLD = 10_000
"""The number of new objects that starts a garbage collection of the youngest generation.

Gradio keeps about 1,000 objects for each visitor. With Python's default of 700, a quarter of the
time that 200 simultaneous visitors take is spent in collections.
"""

UPLOADS_KEPT = (3600, 24 * 3600)
"""How often uploads are cleaned up, and the age at which one is deleted, in seconds.

A picture that a run uses is in the data folder by then.
"""
COMPRESSION = 5
"""The level of gzip: the document of 220 KB takes 3 ms and becomes 30 KB; level 9 saves 1 KB."""
SESSIONS = 2_000
"""Visits whose form is kept in memory; Gradio drops the oldest beyond it."""


def build(context: Context, renderer: Renderer) -> gr.Blocks:
    """Return the whole page."""
    with Page(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=UPLOADS_KEPT
    ) as page:
        gr.HTML(HEAD, elem_classes="lu-head", apply_default_css=False)
        keys = keys_tab.session()
        with gr.Tabs(elem_classes="lu-tabs"):
            with gr.Tab("Compare", id="compare") as compare_item:
                compare = CompareTab(context, renderer, keys)
            with gr.Tab("Models", id="models") as models_item:
                models = ModelsTab(context)
            with gr.Tab("Keys", id="keys") as keys_item:
                keys_panel = KeysTab(context, keys)
        opened = page.load(compare.open, None, compare.refreshed, **QUICK)
        compare.memory.recall_on(page)
        opened.then(None, js=SETTLED).then(None, js=RESTORE)
        refreshed = compare_item.select(compare.refresh, keys, compare.refreshed, **QUICK)
        # A key that was typed meanwhile changes who can draw.
        refreshed.then(None, js=RECOUNT_UNABLE)
        models_item.select(models.open, None, models.table, **QUICK)
        keys_item.select(keys_panel.open, keys, keys_panel.messages, **QUICK)
    return page


def serve(context: Context, renderer: Renderer, *, address: Address = LOCAL, **launch: Any) -> None:
    """Serve the page at `address` until interrupted; `launch` goes to Gradio's `launch`.

    Every handler is short (a run continues by itself and is followed over its own event stream), so
    many visitors share the event loop; `max_threads` only limits Gradio's own work in threads. All
    objects built until now are excluded from garbage collection, which is then enabled.
    """
    page = build(context, renderer)
    # Served from where they are: copies in Gradio's folder would have no limit in size.
    gr.set_static_paths(map_folder(context))
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    gc.enable()
    page.launch(
        app_kwargs={
            "lifespan": context.lifespan,
            "routes": routes(context, renderer),
            "middleware": [
                Middleware(Guard, address=address, uploads=context.uploads),
                Middleware(GZipMiddleware, minimum_size=1000, compresslevel=COMPRESSION),
                Middleware(Document),
            ],
        },
        theme=theme(),
        favicon_path=page_files.ICON,
        footer_links=["settings"],
        # What Gradio would switch on by itself or by its own environment variables.
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        max_threads=100,
        max_file_size=MAX_FILE,
        state_session_capacity=SESSIONS,
        **launch,
    )
