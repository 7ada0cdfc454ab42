"""What a ComfyUI server has told of one prompt, live or looked up afterwards."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from backends.base import Event, Loading, Progress
from backends.comfyui import errors as words
from backends.comfyui.workflow import Graph, linked_node

WEBSOCKET_OUTPUT_NODE = "SaveImageWebsocket"
"""The node that sends finished pictures over the websocket, and keeps none."""


class PromptProgress:
    """The story of one prompt; `id` is what the server calls it once it was `accepted`.

    `outputs` is what its nodes have put out, `sent` the pictures that came over the websocket.
    `download` is how long its pictures took to get here, in seconds.
    """

    def __init__(
        self, id: str, graph: Graph, server: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.id = id
        self.graph = graph
        self.is_accepted = False
        self.is_running = False
        self.is_done = False
        self.outputs: dict[str, Mapping[str, Any]] = {}
        self.received_pictures: list[bytes] = []
        self.download_seconds = 0.0
        self._server = server
        self._clock = clock
        self._current_node: str | None = None
        self._node_started_at = 0.0
        self._node_seconds = 0.0
        self._loader_seconds: float | None = None
        self._cached_nodes: set[str] = set()
        self._started_ms: float | None = None
        self._finished_ms: float | None = None
        self._last_event: Event | None = None

    @property
    def is_sending_pictures(self) -> bool:
        """Whether the pictures that come now are finished ones."""
        return (
            self._current_node is not None
            and self._class_type(self._current_node) == WEBSOCKET_OUTPUT_NODE
        )

    @property
    def execution_seconds(self) -> float | None:
        """How long the server took, by its own clock; None where it does not say."""
        if self._started_ms is None or self._finished_ms is None:
            return None
        return max(0.0, (self._finished_ms - self._started_ms) / 1000)

    @property
    def load_seconds(self) -> float | None:
        """How long its nodes took to load models, in seconds; None where none was heard of.

        The messages of nodes carry no time, and are heard late where much else goes on. So where
        the server's own seconds are known, they are shared out as what was heard was.
        """
        if self._loader_seconds is None or self.execution_seconds is None:
            return self._loader_seconds
        return (
            self.execution_seconds * self._loader_seconds / self._node_seconds
            if self._node_seconds
            else 0.0
        )

    def was_cached(self, results: set[str]) -> bool:
        """Whether the server had `results`, or all that they are made of, from an earlier time."""
        made_of = _upstream_nodes(self.graph, results)
        return bool(self._cached_nodes) and (
            results <= self._cached_nodes or (bool(made_of) and made_of <= self._cached_nodes)
        )

    def handle_message(self, kind: str, data: Mapping[str, Any]) -> Event | None:
        """Take over what has happened; return what is worth telling.

        Raises:
            BackendError: the prompt has failed.
        """
        if data.get("prompt_id", self.id) != self.id:
            return None
        match kind:
            case "execution_start":
                self._started_ms = _number(data.get("timestamp"))
                return self._start()
            case "execution_cached":
                self._cached_nodes.update(str(node) for node in data.get("nodes") or ())
            case "executing":
                return self._enter_node(data.get("node"))
            case "progress":
                return self._step_event(data.get("value"), data.get("max"))
            case "progress_state":
                return self._running_step_event(data.get("nodes"))
            case "executed":
                self.outputs[str(data.get("node"))] = data.get("output") or {}
            case "execution_success":
                self._finished_ms = _number(data.get("timestamp"))
                self._enter_node(None)
            case "execution_error":
                self.is_done = True
                raise words.execution_failed(data, self._server)
            case "execution_interrupted":
                self.is_done = True
                raise words.execution_interrupted(self._server)
            case _:
                pass
        return None

    def handle_history(self, entry: Mapping[str, Any]) -> None:
        """Take over a finished prompt's entry in the server's history; raises as `take` does."""
        status = entry.get("status") or {}
        for message in status.get("messages") or ():
            kind, data = message
            self.handle_message(str(kind), data)
        self.outputs.update(entry.get("outputs") or {})
        self.is_done = True
        if status.get("status_str") == "error":
            raise words.execution_failed({}, self._server)

    def _start(self) -> Event | None:
        if self.is_running:
            return None
        self.is_running = True
        return Progress()

    def _enter_node(self, node: object) -> Event | None:
        now = self._clock()
        if self._current_node is not None:
            self._node_seconds += now - self._node_started_at
            if self._is_loader(self._current_node):
                self._loader_seconds = (self._loader_seconds or 0.0) + now - self._node_started_at
        self._current_node, self._node_started_at = (None if node is None else str(node)), now
        if self._current_node is None:
            self.is_done = True
            return None
        self.is_running = True
        kind = self._class_type(self._current_node)
        return (
            Loading(message=kind) if self._is_loader(self._current_node) else Progress(message=kind)
        )

    def _step_event(self, value: object, most: object) -> Event | None:
        match value, most:
            case int() | float(), int() | float() if most > 1:
                return self.unless_repeated(Progress(step=int(value), steps=int(most)))
            case _:
                return None  # a node without steps

    def _running_step_event(self, nodes: object) -> Event | None:
        for state in cast(Mapping[str, Any], nodes).values() if isinstance(nodes, dict) else ():
            match state:
                case {"state": "running", "value": value, "max": most}:
                    if (news := self._step_event(value, most)) is not None:
                        return news
                case _:
                    continue
        return None

    def unless_repeated(self, event: Event) -> Event | None:
        """Return `event` unless it was the last one already."""
        if event == self._last_event:
            return None
        self._last_event = event
        return event

    def _class_type(self, node: str) -> str:
        return str((self.graph.get(node) or {}).get("class_type") or "")

    def _is_loader(self, node: str) -> bool:
        return "Loader" in self._class_type(node)


def _upstream_nodes(graph: Graph, nodes: set[str]) -> set[str]:
    """All nodes that `nodes` take something from, near or far."""
    found: set[str] = set()
    ways = list(nodes & graph.keys())
    while ways:
        for source in _linked_nodes(graph, ways.pop()):
            if source not in found and source in graph:
                found.add(source)
                ways.append(source)
    return found


def _linked_nodes(graph: Graph, node: str) -> Iterator[str]:
    return (source for value in graph[node]["inputs"].values() if (source := linked_node(value)))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
