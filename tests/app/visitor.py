"""One visitor of the page, over plain HTTP: what a browser sends, or what an attacker would."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.canaries import found


class Visitor:
    """A browser's session: its cookie, Gradio's session, and the handlers of the page by name.

    `headers` are sent with every request.
    """

    def __init__(self, address: str, **headers: str) -> None:
        hooks = {"response": [_read_without_canaries]}
        self.http = httpx2.Client(base_url=address, headers=headers, timeout=60, event_hooks=hooks)
        self.page = self.http.get("/")
        self.session = secrets.token_hex(6)
        config = self.http.get("/config").json()
        self.handlers = {each["api_name"]: each for each in config["dependencies"]}
        self._components = {each["id"]: each for each in config["components"]}

    def call(self, handler: str, **fields: Any) -> httpx2.Response:
        """Send an event as the page does; `fields` are inputs by label (spaces as "_") or type.

        Inputs that are not named have their first values.
        """
        values = self.inputs(handler)
        unknown = fields.keys() - values.keys() - {"data"}
        assert not unknown, f"{handler} has no inputs {unknown}"
        data = fields.pop("data", None) or list({**values, **fields}.values())
        return self.post(handler, data)

    def post(self, handler: str, data: Any, event: Any = None) -> httpx2.Response:
        """Send an event with any data at all."""
        body = {
            "data": data,
            "event_data": event,
            "fn_index": self.handlers[handler]["id"],
            "session_hash": self.session,
        }
        # In ASCII, so that even half a surrogate pair can be sent.
        headers = {"Content-Type": "application/json"}
        return self.http.post("/gradio_api/run/predict", content=json.dumps(body), headers=headers)

    def upload(self, *files: Path) -> list[str]:
        """Upload files and return the paths that the page would send on."""
        listed = [("files", (file.name, file.read_bytes(), "image/png")) for file in files]
        answer = self.http.post("/gradio_api/upload", files=listed)
        answer.raise_for_status()
        return answer.json()

    def compare(self, prompt: str = "a red star", **fields: Any) -> str:
        """Press Compare and return the id of the run, "" if none was started."""
        answer = self.call("compare", Prompt=prompt, **fields)
        _, _, board = answer.text.partition("data-run=")
        return board[2:].partition("\\")[0] if board else ""

    def type_key(self, setting: str, key: str) -> None:
        """Type a key into its box on the Keys tab."""
        (box,) = [
            id for id, each in self._components.items() if each["props"].get("label") == setting
        ]
        targets = {name: each["targets"] for name, each in self.handlers.items()}
        (handler,) = [name for name, listened in targets.items() if [box, "change"] in listened]
        self.post(handler, [None, key]).raise_for_status()

    def lay_out(self, button: str) -> None:
        """Press a hidden button, by its CSS class, whose click renders a part of the page."""
        (id,) = [
            id
            for id, each in self._components.items()
            if button in (each["props"].get("elem_classes") or [])
        ]
        targets = {name: each["targets"] for name, each in self.handlers.items()}
        (handler,) = [name for name, listened in targets.items() if [id, "click"] in listened]
        answer = self.post(handler, [])
        answer.raise_for_status()
        rendered = answer.json()["render_config"]
        self.handlers |= {each["api_name"]: each for each in rendered["dependencies"]}
        self._components |= {each["id"]: each for each in rendered["components"]}

    def inputs(self, handler: str) -> dict[str, Any]:
        """Return the inputs of a handler by name, with their first values."""
        values: dict[str, Any] = {}
        for id in self.handlers[handler]["inputs"]:
            values[_name(self._components[id], values)] = self._components[id]["props"].get("value")
        return values


def _read_without_canaries(response: httpx2.Response) -> None:
    assert not found(response.read()), f"a key is in the answer of {response.url}"


def _name(component: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """Return the label of a component, or its type, with a number where that is taken."""
    name = str(component["props"].get("label") or component["type"]).replace(" ", "_")
    number = 1
    while (unique := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    return unique
