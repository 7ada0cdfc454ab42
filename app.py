"""Start Lineup in the browser: `python app.py`, or as a Hugging Face Space."""

import argparse
import os

from compare import catalogue
from compare.settings import Settings
from ui.board import Renderer
from ui.context import Context
from ui.page import serve

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
    public = asked.share or asked.host not in LOOPBACK
    settings = Settings.read().for_visitors() if public else Settings.read()
    context = Context(settings, catalogue.load(), public=public)
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
