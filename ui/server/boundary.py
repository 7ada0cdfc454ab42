"""The boundary between Gradio and the handlers: what no handler has caught becomes a sentence."""

import logging
from typing import Any

import gradio as gr

from compare.store.errors import StoreError

log = logging.getLogger(__name__)

UNREADABLE = (
    "Lineup could not do that: the page may be older than the app. Load it again; if that does not "
    "help, this is a bug, and the log says where."
)
"""Shown for values that no widget of the page sends, of another type or of another page."""


class Page(gr.Blocks):
    """Gradio's page, with a sentence for every error."""

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run a handler as Gradio does.

        Raises:
            gr.Error: the handler failed, or its inputs could not be converted for it; the page
                shows the sentence. The log names the error without the values that came.
        """
        try:
            return await super().process_api(*args, **kwargs)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log.error("A handler of the page failed: %s", place(error))
            raise gr.Error(sentence(error), print_exception=False) from error

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """Convert what a handler returned; no updates at all change nothing.

        Gradio takes an empty mapping for a value of the outputs.
        """
        stateful = len(block_fn.outputs) == 1 and block_fn.outputs[0].stateful
        if predictions == {} and not stateful:
            predictions = gr.skip()
        return await super().postprocess_data(block_fn, predictions, state)


def sentence(error: BaseException) -> str:
    """Return what the page shows for an error that no handler has caught."""
    return str(error) if isinstance(error, StoreError) else UNREADABLE


def place(error: BaseException) -> str:
    """Return the type of an error and the lines of code that raised it."""
    lines = list[str]()
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {' < '.join(reversed(lines[-6:]))}"
