"""The Models tab: the whole catalogue as one table that can be searched and sorted."""

from collections.abc import Sequence
from functools import cache

import gradio as gr
from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from compare.catalogue.listing import Line, lines
from compare.store.errors import StoreError
from ui.context import Context
from ui.page_files import FOLDER, script

COLUMNS = (
    ("Model", "Its name, and the id that the command line takes"),
    ("Family", "How it draws"),
    ("Runs at", "Who runs it"),
    ("A picture", "What one costs at the model's own settings"),
    ("Seconds", "What a picture usually takes, measured here"),
    ("Takes", "Inputs beside the prompt that not every model takes"),
    ("Trained on", "Data and compute, as far as they are published"),
    ("Licence", "What one may do with it"),
    ("Status", "Live, going or gone"),
    ("Read", "Documentation, paper, code"),
)


class ModelsTab:
    """Lays the tab out; the table is rendered anew whenever the tab is opened."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.table = gr.HTML("", js_on_load=script("models.js"), apply_default_css=False)

    async def open(self) -> str:
        """Return the table's HTML with the current prices, times and readiness."""
        try:
            lineup = await self._context.visited()
        except StoreError as error:
            return render([], wrong=str(error))
        return render(lines(lineup.catalogue, lineup.availability))


def render(listed: Sequence[Line], *, wrong: str = "") -> str:
    """Return the table as HTML.

    `wrong` is the sentence to show above it if the catalogue could not be listed.
    """
    return _template().render(lines=listed, columns=COLUMNS, wrong=wrong)


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=select_autoescape())
    return environment.get_template("models.html")
