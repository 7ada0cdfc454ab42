"""Untrusted JSON has limits, and what exceeds them is no JSON."""

import json
import tracemalloc

import pytest

from backends.json_values import MAX_VALUES, loads


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b"[" * 2_000,
        b"[" + b"{}," * MAX_VALUES + b"{}]",
        b"[" + b"[]," * MAX_VALUES + b"[]]",
        b"{" + b'"a":1,' * MAX_VALUES + b'"a":1}',
        "[" + "0," * MAX_VALUES + "0]",
        b"1" * 5000,
        b'{"a":',
        b"\xff",
        b"",
    ],
    ids=range(11),
)
def test_json_that_is_too_much_is_a_value_error(body: str | bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r".*"):
            loads(body)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_large_answers_of_honest_services_are_read() -> None:
    picture = {"data": [{"b64_json": "A" * 30_000_000}]}
    nodes = {f"Node{i}": {"required": {"x": [list(range(20))]}} for i in range(5_000)}
    for value in (picture, nodes):
        assert loads(json.dumps(value)) == value
