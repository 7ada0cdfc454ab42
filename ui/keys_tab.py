"""The Keys tab: the settings that each service needs, their state, and boxes for visitors' keys.

A key entered here is kept in the visitor's session on the server until the visit ends, and is used
by the runs that the visitor starts (compare/visitor_keys.py). It is never written to disk.
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
from compare.visitor_keys import MAX_KEY, is_secret, visitor_keys, visitor_may_set
from ui.context import Context
from ui.events import QUICK

SESSION_HOURS = 12.0
INTRO = (
    "Keys come from the environment or from <code>.env</code>. One that you type here is used by "
    "your own runs, for this visit only: it is kept in the server's memory and written nowhere."
)
STATE_LINE = Markup('<p class="lu-key lu-is-{}"><i class="lu-dot"></i><span>{}</span></p>')
CHECKING = STATE_LINE.format("asking", "Asking …")
SET_BY_OWNER = "Set by whoever runs this Lineup."


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A row of the tab: a service, one of its models, and the settings that a visitor may enter.

    The model stands for the service where readiness is asked of a model.
    """

    service: Service
    model: Model
    editable: tuple[str, ...]


def session() -> gr.State:
    """Return a state for the visitor's own keys, setting to key; it expires after the visit."""
    return gr.State({}, time_to_live=SESSION_HOURS * 3600)


class KeysTab:
    """Lays the tab out; the state `keys` maps settings to the keys that this visitor entered.

    `messages` has the component of each row that says how its key stands.
    """

    def __init__(self, context: Context, keys: gr.State) -> None:
        self._context = context
        self._keys = keys
        self._rows = rows(context)
        self.messages: list[Component] = []
        gr.HTML(f'<p class="lu-hint">{INTRO}</p>', apply_default_css=False)
        with gr.Column(elem_classes="lu-keys"):
            for row in self._rows:
                self._layout_row(row)

    def _layout_row(self, row: ServiceRow) -> None:
        with gr.Row(elem_classes="lu-key-row"):
            with gr.Column(scale=2, min_width=240):
                gr.HTML(_title(row, self._context.public), apply_default_css=False)
                message = gr.HTML(elem_classes="lu-key-said", apply_default_css=False)
            boxes = {name: _box(name) for name in row.editable}
            check = gr.Button("Check", scale=0, min_width=90, elem_classes="lu-check")
        self.messages.append(message)
        for setting, box in boxes.items():
            box.change(
                partial(self.set_key, row, setting),
                [self._keys, box],
                [self._keys, message],
                trigger_mode="always_last",
                **QUICK,
            )
        check.click(lambda: CHECKING, None, message, **QUICK).then(
            partial(self.check, row), self._keys, message, **QUICK
        )

    async def open(self, keys: Mapping[str, str]) -> list[str]:
        """Return the current state of every row as HTML, for `messages`."""
        return [await self.state(row, keys) for row in self._rows]

    async def set_key(
        self, row: ServiceRow, setting: str, keys: Mapping[str, str], key: str
    ) -> tuple[dict[str, str], str]:
        """Return the visitor's keys with `key` for `setting`, and the new state of the row."""
        keys = {**keys, setting: key}
        return keys, await self.state(row, keys)

    async def state(self, row: ServiceRow, keys: Mapping[str, str]) -> str:
        """Return as HTML where a row's key comes from, or what to do if there is none."""
        try:
            availability = (await self._context.lineup()).availability
        except StoreError as error:
            return STATE_LINE.format("not-available", str(error))
        with visitor_keys(keys):
            ready = availability.ready(row.model)
        if ready.state is Readiness.READY:
            own = any(keys.get(setting, "").strip() for setting in row.editable)
            sentence = "Your own key, for this visit." if own else ready.sentence or SET_BY_OWNER
        else:
            here = ready.state is Readiness.NEEDS_KEY and bool(row.editable)
            sentence = ready.sentence + (" Or type it here." if here else "")
        return STATE_LINE.format(ready.state.value.replace(" ", "-"), sentence)

    async def check(self, row: ServiceRow, keys: Mapping[str, str]) -> str:
        """Return as HTML whether the service accepts the key, asking it only if that is free."""
        label = row.service.label
        try:
            availability = (await self._context.lineup()).availability
            with visitor_keys(keys):
                answer = await availability.check_key(row.model.backend, row.service.server)
        except (BackendError, StoreError) as error:
            return STATE_LINE.format("refused", str(error))
        answer = answer or f"{label} can't be asked for free here: the first picture tells."
        return STATE_LINE.format("ready", answer)


def rows(context: Context) -> list[ServiceRow]:
    """Return a row for every service that needs a setting.

    At a public address, services whose settings only the owner can change are left out.
    """
    found: list[ServiceRow] = []
    for name in BACKENDS:
        backend = backend_class(name)
        for service in backend.services(context.settings.config()):
            editable = tuple(key.setting for key in service.keys if visitor_may_set(key.setting))
            if service.keys and (editable or not context.public):
                model = _model(context, name, service.server)
                found.append(ServiceRow(service, model, editable))
    return found


def _model(context: Context, backend: str, server: str) -> Model:
    """Return a live model of a service, or a made-up one if the catalogue has none."""
    for model in context.catalogue.models:
        same = (model.backend, model.server) == (backend, server)
        if same and model.status.state is State.LIVE:
            return model
    id = f"{backend}@{server}/any" if server else f"{backend}/any"
    return Model(id=id, label=server or backend, family="", source="any")


def _title(row: ServiceRow, public: bool) -> str:
    name = Markup("<b>{}</b>").format(row.service.label)
    opening = Markup('<p class="lu-key-name" data-service="{}">').format(row.model.service)
    where = row.service.keys[0].where
    if row.service.server:
        # The address of a server is not shown to visitors.
        more = "" if public else f"your server at {host_of(where)}"
        return opening + Markup("{} {}</p>").format(name, more)
    text = "get a key" if row.editable else "how to start one"
    link = Markup('<a href="{}" target="_blank" rel="noreferrer">{}</a>').format(where, text)
    return opening + Markup("{} {}</p>").format(name, link)


def _box(setting: str) -> gr.Textbox:
    return gr.Textbox(
        "",
        label=setting,
        type="password" if is_secret(setting) else "text",
        placeholder="for this visit",
        max_lines=1,
        max_length=MAX_KEY,
        scale=3,
        html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
    )
