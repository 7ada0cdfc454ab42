"""Start Lineup in the browser: `python app.py`, or as a Hugging Face Space."""

import argparse
import gc
import os
import signal
import sys
from typing import NoReturn

from backends.threads import set_wait_policy

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SPACE_FRAMES = "'self' https://huggingface.co https://*.huggingface.co"
"""Which pages may show a Space in a frame."""


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; on a Space, listen on all interfaces by default."""
    on_a_space = "SPACE_ID" in os.environ
    host = "0.0.0.0" if on_a_space else os.environ.get("GRADIO_SERVER_NAME", LOOPBACK[0])
    parser = argparse.ArgumentParser(prog="app.py", description="One prompt, every model.")
    parser.add_argument("--host", default=host)
    parser.add_argument("--port", type=int, default=None, help="default: the first free from 7860")
    parser.add_argument("--share", action="store_true", help="make a public link")
    parser.add_argument("--open", action="store_true", help="open a browser window")
    return parser.parse_args()


def end(number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does: jobs are stopped, on servers too. Later signals are ignored."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Build the page and serve it until interrupted."""
    options = parse_arguments()
    set_wait_policy()
    # The million objects imported and built now live as long as the process. Garbage collection
    # among them would be a quarter of the start; `serve` enables it once the page is built.
    gc.disable()
    from compare.catalogue.user_models import load_all
    from compare.redaction import redact_logs
    from compare.settings import Settings, SettingsError
    from ui.board.renderer import Renderer
    from ui.context import Context
    from ui.page import serve
    from ui.server.guard import Address

    try:
        settings = Settings.read()
        public = options.share or options.host not in LOOPBACK or bool(settings.hosts)
        if public:
            settings = settings.for_visitors()
        catalogue = load_all(settings)
    except SettingsError as error:
        sys.exit(str(error))
    redact_logs(settings.hide)
    context = Context(settings, catalogue, public=public)
    address = Address(
        hosts=frozenset({*LOOPBACK, *settings.hosts}) if settings.hosts or not public else None,
        frames=SPACE_FRAMES if "SPACE_ID" in os.environ else "'self'",
    )
    signal.signal(signal.SIGTERM, end)
    serve(
        context,
        Renderer(context.catalogue),
        address=address,
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        inbrowser=options.open,
    )


if __name__ == "__main__":
    main()
