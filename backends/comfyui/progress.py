"""What a ComfyUI server has told of one prompt, live or looked up afterwards."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from backends.base import Event, Loading, Progress
from backends.comfyui import errors as words
from backends.comfyui.workflow import Graph, link

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
        self.accepted = False
        self.running = False
        self.done = False
        self.outputs: dict[str, Mapping[str, Any]] = {}
        self.sent: list[bytes] = []
        self.download = 0.0
        self._server = server
        self._clock = clock
        self._node: str | None = None
        self._since = 0.0
        self._heard = 0.0
        self._loading: float | None = None
        self._cached: set[str] = set()
        self._begun: float | None = None
        self._ended: float | None = None
        self._last: Event | None = None

    @property
    def sending(self) -> bool:
        """Whether the pictures that come now are finished ones."""
        return self._node is not None and self._kind(self._node) == WEBSOCKET_OUTPUT_NODE

    @property
    def seconds(self) -> float | None:
        """How long the server took, by its own clock; None where it does not say."""
        if self._begun is None or self._ended is None:
            return None
        return max(0.0, (self._ended - self._begun) / 1000)

    @property
    def load(self) -> float | None:
        """How long its nodes took to load models, in seconds; None where none was heard of.

        The messages of nodes carry no time, and are heard late where much else goes on. So where
        the server's own seconds are known, they are shared out as what was heard was.
        """
        if self._loading is None or self.seconds is None:
            return self._loading
        return self.seconds * self._loading / self._heard if self._heard else 0.0

    def cached(self, results: set[str]) -> bool:
        """Whether the server had `results`, or all that they are made of, from an earlier time."""
        made_of = _behind(self.graph, results)
        return bool(self._cached) and (
            results <= self._cached or (bool(made_of) and made_of <= self._cached)
        )

    def take(self, kind: str, data: Mapping[str, Any]) -> Event | None:
        """Take over what has happened; return what is worth telling.

        Raises:
            BackendError: the prompt has failed.
        """
        if data.get("prompt_id", self.id) != self.id:
            return None
        match kind:
            case "execution_start":
                self._begun = _number(data.get("timestamp"))
                return self._begin()
            case "execution_cached":
                self._cached.update(str(node) for node in data.get("nodes") or ())
            case "executing":
                return self._turn(data.get("node"))
            case "progress":
                return self._step(data.get("value"), data.get("max"))
            case "progress_state":
                return self._steps(data.get("nodes"))
            case "executed":
                self.outputs[str(data.get("node"))] = data.get("output") or {}
            case "execution_success":
                self._ended = _number(data.get("timestamp"))
                self._turn(None)
            case "execution_error":
                self.done = True
                raise words.failed(data, self._server)
            case "execution_interrupted":
                self.done = True
                raise words.interrupted(self._server)
            case _:
                pass
        return None

    def read(self, entry: Mapping[str, Any]) -> None:
        """Take over a finished prompt's entry in the server's history; raises as `take` does."""
        status = entry.get("status") or {}
        for message in status.get("messages") or ():
            kind, data = message
            self.take(str(kind), data)
        self.outputs.update(entry.get("outputs") or {})
        self.done = True
        if status.get("status_str") == "error":
            raise words.failed({}, self._server)

    def _begin(self) -> Event | None:
        if self.running:
            return None
        self.running = True
        return Progress()

    def _turn(self, node: object) -> Event | None:
        now = self._clock()
        if self._node is not None:
            self._heard += now - self._since
            if self._loads(self._node):
                self._loading = (self._loading or 0.0) + now - self._since
        self._node, self._since = (None if node is None else str(node)), now
        if self._node is None:
            self.done = True
            return None
        self.running = True
        kind = self._kind(self._node)
        return Loading(message=kind) if self._loads(self._node) else Progress(message=kind)

    def _step(self, value: object, most: object) -> Event | None:
        match value, most:
            case int() | float(), int() | float() if most > 1:
                return self.news(Progress(step=int(value), steps=int(most)))
            case _:
                return None  # a node without steps

    def _steps(self, nodes: object) -> Event | None:
        for state in cast(Mapping[str, Any], nodes).values() if isinstance(nodes, dict) else ():
            match state:
                case {"state": "running", "value": value, "max": most}:
                    if (news := self._step(value, most)) is not None:
                        return news
                case _:
                    continue
        return None

    def news(self, event: Event) -> Event | None:
        """Return `event` unless it was the last one already."""
        if event == self._last:
            return None
        self._last = event
        return event

    def _kind(self, node: str) -> str:
        return str((self.graph.get(node) or {}).get("class_type") or "")

    def _loads(self, node: str) -> bool:
        return "Loader" in self._kind(node)


def _behind(graph: Graph, nodes: set[str]) -> set[str]:
    """All nodes that `nodes` take something from, near or far."""
    found: set[str] = set()
    ways = list(nodes & graph.keys())
    while ways:
        for source in _sources(graph, ways.pop()):
            if source not in found and source in graph:
                found.add(source)
                ways.append(source)
    return found


def _sources(graph: Graph, node: str) -> Iterator[str]:
    return (source for value in graph[node]["inputs"].values() if (source := link(value)))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
