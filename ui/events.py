"""Options for Gradio event listeners, shared by all tabs: `button.click(handler, **QUICK)`."""

from typing import Any

QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""For short handlers: they skip Gradio's queue, so that a click costs one plain HTTP request."""

PLAIN: dict[str, Any] = {**QUICK, "preprocess": False, "postprocess": False}
"""For handlers that take the whole form.

Their inputs and outputs are plain JSON already. Gradio's own conversion of each value would be a
trip to another thread, fifty for a click.
"""

STATE: dict[str, Any] = {**PLAIN, "queue": True, "concurrency_limit": None}
"""For handlers that change a `gr.State` to whose change others listen.

The page learns only from the queue's answers that a state has changed; after a plain HTTP request
the listeners of `change` are never called.
"""

QUEUED: dict[str, Any] = {**QUICK, "queue": True, "concurrency_limit": None}
"""As `STATE`, with Gradio's conversion of the values."""

SLOW: dict[str, Any] = {**QUEUED, "show_progress": "minimal"}
"""For handlers that may take seconds: they wait in Gradio's queue and show a progress indicator."""
