"""The Keys tab: what each service needs, whether it is there, and a place to type one's own.

A key that is typed here stays in this visitor's session on the server, for this visit, and goes
with the runs that the visitor starts (compare/visitor_keys.py). Nothing writes it anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import gradio as gr
from gradio.components import Component
from markupsafe import Markup

from backends.base import Model, Readiness, Service, State
from backends.errors import BackendError
from backends.registry import BACKENDS, backend_class
from backends.settings import host_of
from compare.store.errors import StoreError
from compare.visitor_keys import is_secret, visitor_keys, visitor_may_set
from ui.compare_tab import form
from ui.context import Context

HOURS = 12.0
INTRO = (
    "Keys come from the environment or from <code>.env</code>. One that you type here is used by "
    "your own runs, for this visit only: it is kept in the server's memory and written nowhere."
)
LINE = Markup('<p class="lu-key lu-is-{}"><i class="lu-dot"></i><span>{}</span></p>')
ASKING = LINE.format("asking", "Asking …")
OWNERS = "Set by whoever runs this Lineup."


@dataclass(frozen=True, slots=True)
class Row:
    """A service, a model of it, and the settings that a visitor may type for it."""

    service: Service
    model: Model
    typed: tuple[str, ...]


def session() -> gr.State:
    """Return the place for a visitor's own keys: setting to key, for as long as the visit."""
    return gr.State({}, time_to_live=HOURS * 3600)


class KeysTab:
    """Lays the tab out; the state `typed` holds what this visitor has typed, by setting."""

    def __init__(self, context: Context, typed: gr.State) -> None:
        self._context = context
        self._typed = typed
        self._rows: list[Row] = []
        self.said: list[Component] = []
        gr.HTML(f'<p class="lu-hint">{INTRO}</p>', apply_default_css=False)
        with gr.Column(elem_classes="lu-keys"):
            for row in rows(context):
                self._row(row)

    def _row(self, row: Row) -> None:
        with gr.Row(elem_classes="lu-key-row"):
            with gr.Column(scale=2, min_width=240):
                gr.HTML(_title(row, self._context.public), apply_default_css=False)
                said = gr.HTML(elem_classes="lu-key-said", apply_default_css=False)
            boxes = {name: _box(name) for name in row.typed}
            check = gr.Button("Check", scale=0, min_width=90, elem_classes="lu-check")
        self._rows.append(row)
        self.said.append(said)
        for setting, box in boxes.items():
            box.change(
                partial(self.take, row, setting),
                [self._typed, box],
                [self._typed, said],
                trigger_mode="always_last",
                **form.QUICK,
            )
        check.click(lambda: ASKING, None, said, **form.QUICK).then(
            partial(self.check, row), self._typed, said, **form.QUICK
        )

    async def open(self, typed: Mapping[str, str]) -> list[str]:
        """Return how every row stands now."""
        return [await self.state(row, typed) for row in self._rows]

    async def take(
        self, row: Row, setting: str, typed: Mapping[str, str], key: str
    ) -> tuple[dict[str, str], str]:
        """Keep what was typed into a box, and say how its row stands now."""
        kept = {**typed, setting: key}
        return kept, await self.state(row, kept)

    async def state(self, row: Row, typed: Mapping[str, str]) -> str:
        """Say where a row's key comes from, or what to do about it."""
        try:
            availability = (await self._context.lineup()).availability
        except StoreError as error:
            return LINE.format("not-available", str(error))
        with visitor_keys(typed):
            ready = availability.ready(row.model)
        if ready.state is Readiness.READY:
            own = any(typed.get(setting, "").strip() for setting in row.typed)
            words = "Your own key, for this visit." if own else ready.sentence or OWNERS
        else:
            here = ready.state is Readiness.NEEDS_KEY and bool(row.typed)
            words = ready.sentence + (" Or type it here." if here else "")
        return LINE.format(ready.state.value.replace(" ", "-"), words)

    async def check(self, row: Row, typed: Mapping[str, str]) -> str:
        """Ask the service whether it accepts the key, where that costs nothing."""
        label = row.service.label
        try:
            availability = (await self._context.lineup()).availability
            with visitor_keys(typed):
                said = await availability.check_key(row.model.backend, row.service.server)
        except (BackendError, StoreError) as error:
            return LINE.format("refused", str(error))
        said = said or f"{label} can't be asked for free here: the first picture tells."
        return LINE.format("ready", said)


def rows(context: Context) -> list[Row]:
    """Return a row for every service that something must be set for.

    A visitor of a public address is not shown what only its owner can set.
    """
    found: list[Row] = []
    for name in BACKENDS:
        backend = backend_class(name)
        for service in backend.services(context.settings.config()):
            typed = tuple(key.setting for key in service.keys if visitor_may_set(key.setting))
            if service.keys and (typed or not context.public):
                found.append(Row(service, _model(context, name, service.server), typed))
    return found


def _model(context: Context, backend: str, server: str) -> Model:
    """Return a model that stands for a service: one that is still there."""
    for model in context.catalogue.models:
        same = (model.backend, model.server) == (backend, server)
        if same and model.status.state is State.LIVE:
            return model
    id = f"{backend}@{server}/any" if server else f"{backend}/any"
    return Model(id=id, label=server or backend, family="", source="any")


def _title(row: Row, public: bool) -> str:
    name = Markup("<b>{}</b>").format(row.service.label)
    where = row.service.keys[0].where
    if row.service.server:
        # The address of a server is its owner's business.
        more = "" if public else f"your server at {host_of(where)}"
        return Markup('<p class="lu-key-name">{} {}</p>').format(name, more)
    words = "get a key" if row.typed else "how to start one"
    link = Markup('<a href="{}" target="_blank" rel="noreferrer">{}</a>').format(where, words)
    return Markup('<p class="lu-key-name">{} {}</p>').format(name, link)


def _box(setting: str) -> gr.Textbox:
    return gr.Textbox(
        "",
        label=setting,
        type="password" if is_secret(setting) else "text",
        placeholder="for this visit",
        max_lines=1,
        max_length=500,
        scale=3,
        html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
    )
