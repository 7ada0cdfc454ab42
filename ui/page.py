"""The page: its head and its tabs."""

from typing import Any

import gradio as gr

from ui.board import Renderer
from ui.compare_tab import KEYS, CompareTab
from ui.context import Context
from ui.control import map_folder
from ui.routes import routes
from ui.theme import STYLESHEET, theme

TITLE = "Lineup"
MOTTO = "One prompt, every text-to-image model, side by side."


def build(context: Context, renderer: Renderer) -> gr.Blocks:
    """Return the whole page."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(f'<div class="lu-head"><b>{TITLE}</b><span>{MOTTO}</span></div>')
        tab = CompareTab(context, renderer)
        page.load(
            tab.open,
            None,
            tab.restorable,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        page.load(None, js=KEYS)
    return page


def serve(context: Context, renderer: Renderer, **launch: Any) -> None:
    """Serve the page until interrupted; `launch` goes to Gradio's `launch`.

    Every handler is short (a run goes on by itself and is followed over its own stream), so many
    visitors share the loop; `max_threads` only bounds what Gradio itself does in threads.
    """
    build(context, renderer).launch(
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
