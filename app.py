"""Start Lineup in the browser: `python app.py`, or as a Hugging Face Space."""

import argparse
import gc
import os
import sys

from backends.threads import set_wait_policy

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    on_a_space = "SPACE_ID" in os.environ
    host = "0.0.0.0" if on_a_space else os.environ.get("GRADIO_SERVER_NAME", LOOPBACK[0])
    parser = argparse.ArgumentParser(prog="app.py", description="One prompt, every model.")
    parser.add_argument("--host", default=host)
    parser.add_argument("--port", type=int, default=None, help="default: the first free from 7860")
    parser.add_argument("--share", action="store_true", help="make a public link")
    parser.add_argument("--open", action="store_true", help="open a browser window")
    return parser.parse_args()


def main() -> None:
    """Build the page and serve it until interrupted."""
    asked = arguments()
    set_wait_policy()
    # What is imported and built now stays. Looking for garbage among its million objects would be
    # a quarter of the start; `serve` begins to look once the page stands.
    gc.disable()
    from compare.catalogue.user_models import load_all
    from compare.settings import Settings, SettingsError
    from ui.board.renderer import Renderer
    from ui.context import Context
    from ui.page import serve

    public = asked.share or asked.host not in LOOPBACK
    try:
        settings = Settings.read().for_visitors() if public else Settings.read()
        catalogue = load_all(settings)
    except SettingsError as error:
        sys.exit(str(error))
    context = Context(settings, catalogue, public=public)
    serve(
        context,
        Renderer(context.catalogue),
        server_name=asked.host,
        server_port=asked.port,
        share=asked.share,
        inbrowser=asked.open,
    )


if __name__ == "__main__":
    main()
