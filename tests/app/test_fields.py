"""Values of another type than the page sends: a sentence for each, never a traceback."""

from typing import Any

import pytest

from tests.app.visitor import Visitor

STRANGE: tuple[Any, ...] = (
    None,
    -1,
    10**400,
    True,
    "\ud800",
    "\0",
    [7, None],
    {"a": [1]},
    "nothing/there",
)


@pytest.fixture(scope="module")
def inputs(loopback_app: Any) -> dict[str, Any]:
    """The fields of the form, with their first values."""
    return Visitor(loopback_app.address).inputs("estimate")


@pytest.mark.parametrize("value", STRANGE, ids=repr)
def test_any_value_in_any_field_is_answered(
    loopback: str, inputs: dict[str, Any], value: object
) -> None:
    visitor = Visitor(loopback)
    for field in inputs:
        answer = visitor.call("estimate", **{field: value})
        assert answer.status_code in (200, 422, 500), field
        assert "Traceback" not in answer.text
        if answer.status_code == 200:
            continue
        assert answer.json()["error"], f"{field} = {value!r} has no sentence"


@pytest.mark.parametrize("value", [None, 7, "x", [7], [None], {"a": 1}, [["a"]], ["nothing/there"]])
def test_models_that_are_none_are_a_sentence_at_the_form(loopback: str, value: object) -> None:
    visitor = Visitor(loopback)
    for handler in ("estimate", "compare"):
        answer = visitor.call(handler, Prompt="a star", html=value)
        assert answer.status_code == 200, answer.text
        told = "lu-bad" in answer.text or "cannot draw" in answer.text or "can draw" in answer.text
        assert told or (handler == "estimate" and value is None)


def test_a_model_twice_is_refused(loopback: str) -> None:
    models = ["miniature/diffusion"] * 2
    answer = Visitor(loopback).call("compare", Prompt="a star", html=models)
    assert "twice" in answer.text and "data-run" not in answer.text
    many = Visitor(loopback).call("compare", Prompt="a star", html=models * 1000)
    assert "twice" in many.text and len(many.text) < 2_000


@pytest.mark.parametrize("handler", ["restore", "stop"])
def test_a_button_with_nothing_to_do_changes_nothing(address: str, handler: str) -> None:
    visitor = Visitor(address)
    answer = visitor.post(handler, [None] * len(visitor.inputs(handler)), {"run": "nothing"})
    assert answer.status_code == 200
    nothing = {"__type__": "update"}
    # None for a state, which stays on the server; HTML with templates has its update in `props`.
    assert all(
        each in (None, nothing, {**nothing, "props": nothing}) for each in answer.json()["data"]
    )
    assert answer.json()["changed_state_ids"] == []
