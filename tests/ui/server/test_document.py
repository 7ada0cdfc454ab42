"""The head of the document: our styles, icon and link preview, and nothing from outside."""

import re

from ui import page_files
from ui.server.document import with_head

GRADIO = """<head>
  <meta property="og:title" content="Gradio" />
  <meta
    property="og:image"
    content="https://example.invalid/header.jpg"
  />
  <meta name="twitter:creator" content="@Gradio" />
  <script>window.gradio_config = {"root":"https://lineup.example/app"};</script>
</head><body></body>"""


def test_the_link_preview_is_lineups_own_and_absolute() -> None:
    document = with_head(GRADIO)
    assert "invalid" not in document
    assert "@Gradio" not in document
    assert '"og:title" content="Lineup"' in document
    assert f'content="https://lineup.example/app/{page_files.path("preview.png")}"' in document


def test_styles_and_scripts_are_linked_relative_to_the_page() -> None:
    links = re.findall(r'<link rel="(\w+)"[^>]* href="([^"]+)"', with_head(GRADIO))
    assert {kind for kind, _ in links} >= {"icon", "stylesheet", "modulepreload"}
    assert all(not href.startswith(("/", "http")) for _, href in links)
