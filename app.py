"""Start Lineup in the browser: `python app.py`, or as a Hugging Face Space."""

import argparse
import os

LOOPBACK = ("127.0.0.1", "localhost", "::1")


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


def main() -> None:
    """Build the page and serve it until interrupted."""
