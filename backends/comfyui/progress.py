"""State of one prompt on a ComfyUI server, from its live messages or its entry in the history."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

from backends.base import Event, Loading, Progress
from backends.comfyui.errors import execution_failed, execution_interrupted
from backends.comfyui.workflow import WEBSOCKET_OUTPUT_NODE, Graph, linked_node
from backends.errors import ServiceFault
from backends.http.client import MAX_ANSWER_BYTES
from backends.images.validation import check_count
from backends.json_values import items, mapping, number


class PromptProgress:
    """The progress of one prompt; `id` is the server's once the prompt `is_accepted`.

    `results` are the nodes whose pictures are results, all if there are none. `is_abandoned`
    says that the server cannot be reached and may go on with it. `outputs` are the outputs of its
    nodes by node id, `received_pictures` the finished pictures that came over the websocket,
    `download_seconds` the time that fetching its pictures took.
    """

    def __init__(
        self,
        id: str,
        graph: Graph,
        server: str,
        results: Collection[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id
        self.graph = graph
        self.is_accepted = False
        self.is_running = False
        self.is_done = False
        self.is_abandoned = False
        self.outputs: dict[str, Mapping[str, Any]] = {}
        self.received_pictures: list[bytes] = []
        self.download_seconds = 0.0
        self._server = server
        self._results = results
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
        """True while images on the websocket are finished pictures, not previews."""
        node = self._current_node
        is_result = not self._results or node in self._results
        return node is not None and is_result and self._class_type(node) == WEBSOCKET_OUTPUT_NODE

    @property
    def execution_seconds(self) -> float | None:
        """The seconds of execution by the server's clock; None where it gives no timestamps."""
        if self._started_ms is None or self._finished_ms is None:
            return None
        return max(0.0, (self._finished_ms - self._started_ms) / 1000)

    @property
    def load_seconds(self) -> float | None:
        """The seconds that loader nodes took to load models; None if no loader node was reported.

        The messages of nodes carry no time, and arrive late while the event loop is busy. So where
        the server's own seconds are known, they are divided in proportion to the times measured
        here.
        """
        if self._loader_seconds is None or self.execution_seconds is None:
            return self._loader_seconds
        if not self._node_seconds:
            return 0.0
        return self.execution_seconds * self._loader_seconds / self._node_seconds

    def was_cached(self, results: set[str]) -> bool:
        """Return True if the server had `results`, or all that they depend on, in its cache."""
        inputs = _upstream_nodes(self.graph, results)
        return bool(self._cached_nodes) and (
            results <= self._cached_nodes or (bool(inputs) and inputs <= self._cached_nodes)
        )

    def handle_message(self, kind: str, data: Mapping[str, Any]) -> Event | None:
        """Update the state from a message; return an event if there is something to show.

        Raises:
            BackendError: the prompt has failed.
        """
        if data.get("prompt_id", self.id) != self.id:
            return None
        match kind:
            case "execution_start":
                self._started_ms = number(data.get("timestamp"))
                return self._start()
            case "execution_cached":
                self._cached_nodes.update(map(str, items(data.get("nodes"))[: len(self.graph)]))
            case "executing":
                return self._enter_node(data.get("node"))
            case "progress":
                return self._step_event(data.get("value"), data.get("max"))
            case "progress_state":
                return self._running_step_event(data.get("nodes"))
            case "executed":
                self._add_output(str(data.get("node")), data.get("output"))
            case "execution_success":
                self._finished_ms = number(data.get("timestamp"))
                self._enter_node(None)
            case "execution_error":
                self.is_done = True
                raise execution_failed(data, self._server)
            case "execution_interrupted":
                self.is_done = True
                raise execution_interrupted(self._server)
            case _:
                pass
        return None

    def handle_history(self, entry: Mapping[str, Any]) -> None:
        """Update the state from a finished prompt's history; raises as `handle_message` does."""
        status = mapping(entry.get("status"))
        for message in items(status.get("messages")):
            match message:
                case [str(kind), dict() as data]:
                    self.handle_message(kind, cast(dict[str, Any], data))
                case _:
                    continue
        for node, output in mapping(entry.get("outputs")).items():
            self._add_output(node, output)
        self.is_done = True
        if status.get("status_str") == "error":
            raise execution_failed({}, self._server)

    def add_picture(self, data: bytes) -> None:
        """Keep a finished picture that came over the websocket.

        Raises:
            ServiceFault: there are too many, or together they are too large.
        """
        self.received_pictures.append(data)
        check_count(len(self.received_pictures))
        if sum(map(len, self.received_pictures)) > MAX_ANSWER_BYTES:
            raise ServiceFault(
                f"{self._server} sent pictures of more than {MAX_ANSWER_BYTES / 1e6:.0f} MB. "
                "Ask for fewer or smaller ones."
            )

    def _add_output(self, node: str, output: object) -> None:
        """Keep the pictures that a node of the graph has saved."""
        if node in self.graph:
            self.outputs[node] = {"images": items(mapping(output).get("images"))}

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
        is_loader, kind = self._is_loader(self._current_node), self._class_type(self._current_node)
        return Loading(message=kind) if is_loader else Progress(message=kind)

    def _step_event(self, value: object, maximum: object) -> Event | None:
        step, steps = number(value), number(maximum)
        if step is None or steps is None or steps <= 1:
            return None  # the node has no steps
        return self.unless_repeated(Progress(step=int(step), steps=int(steps)))

    def _running_step_event(self, nodes: object) -> Event | None:
        for state in mapping(nodes).values():
            match state:
                case {"state": "running", "value": value, "max": maximum}:
                    if (event := self._step_event(value, maximum)) is not None:
                        return event
                case _:
                    continue
        return None

    def unless_repeated(self, event: Event) -> Event | None:
        """Return `event`, None if it equals the last one."""
        if event == self._last_event:
            return None
        self._last_event = event
        return event

    def _class_type(self, node: str) -> str:
        return str((self.graph.get(node) or {}).get("class_type") or "")

    def _is_loader(self, node: str) -> bool:
        return "Loader" in self._class_type(node)


def _upstream_nodes(graph: Graph, nodes: set[str]) -> set[str]:
    """Return all nodes that `nodes` depend on, directly or indirectly."""
    found: set[str] = set()
    pending = list(nodes & graph.keys())
    while pending:
        for source in _linked_nodes(graph, pending.pop()):
            if source not in found and source in graph:
                found.add(source)
                pending.append(source)
    return found


def _linked_nodes(graph: Graph, node: str) -> Iterator[str]:
    return (source for value in graph[node]["inputs"].values() if (source := linked_node(value)))
