"""First page: from process start to the first 200, Lineup against a bare one-textbox Gradio app.

Interleaved, each in a fresh process; prints the medians and their ratio.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from backends.paths import PROJECT
from tests.bench.report import Line, show

BARE = (
    "import gradio as gr\n"
    "with gr.Blocks() as page:\n"
    "    gr.Textbox()\n"
    "page.launch(server_port={port}, quiet=True)\n"
)


def first_answer(command: list[str], port: int, home: str) -> float:
    """Return the seconds from starting `command` to its first 200."""
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "LINEUP_HOME": home}
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while time.monotonic() - began < 60:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    if page.status == 200:
                        return time.monotonic() - began
            except OSError:
                time.sleep(0.01)
        raise TimeoutError(f"no answer from {command}")
    finally:
        process.kill()
        process.wait()


def main(rounds: int = 5) -> list[Line]:
    """Measure and return the line for the report."""
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        for turn in range(rounds + 1):  # the first one warms the disk's cache
            bare.append(first_answer([sys.executable, "-c", BARE.format(port=7971)], 7971, home))
            ours.append(first_answer([sys.executable, "app.py", "--port", "7972"], 7972, home))
            if turn == 0:
                bare.clear()
                ours.clear()
    floor, mine = statistics.median(bare), statistics.median(ours)
    return [Line("first page ÷ bare Gradio", mine / floor, 1.15, f"{mine:.2f} s ÷ {floor:.2f} s")]


if __name__ == "__main__":
    show(main())
