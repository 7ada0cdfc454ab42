"""What is heavy is imported when it is first needed, never for the first page."""

import subprocess
import sys

from backends.paths import PROJECT

HEAVY = ("torch", "torchvision", "diffusers", "transformers", "controlnet_aux", "cv2")
# Gradio itself imports huggingface_hub.
CLIENTS = ("openai", "google.genai", "discord", "sqlalchemy", "alembic", "dynamicprompts")
BUILD = """
import sys
from compare.catalogue import catalogue
from compare.settings import Settings
from ui.board.renderer import Renderer
from ui.context import Context
from ui.page import build
context = Context(Settings.read(), catalogue.load())
build(context, Renderer(context.catalogue))
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_the_page_is_built_without_torch_or_any_providers_client() -> None:
    built = subprocess.run(
        [sys.executable, "-c", BUILD, *HEAVY, *CLIENTS],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert built.stdout.strip().splitlines()[-1] == "[]"
