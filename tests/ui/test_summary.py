"""The line under the form."""

from decimal import Decimal

from backends.base import Basis
from compare.records import Cost
from ui import summary

FREE = Cost(amount=Decimal(0), basis=Basis.FREE)
PAID = Cost(low=Decimal("0.006"), high=Decimal("0.013"), basis=Basis.USAGE)
UNKNOWN = Cost(basis=Basis.USAGE)


def test_free_models_are_said_to_be_free() -> None:
    assert summary.estimate({"a": FREE, "b": FREE}) == "<b>2 models</b> · all free"


def test_the_total_comes_before_the_click_and_unknown_prices_are_named() -> None:
    words = summary.estimate({"a": FREE, "b": PAID, "c": UNKNOWN})
    assert "3 models" in words
    assert "$0.006–0.013" in words
    assert "1 free" in words
    assert "1 of unknown price" in words


def test_no_model_says_what_to_do() -> None:
    assert "No model is chosen" in summary.estimate({})


def test_a_sentence_cannot_become_markup() -> None:
    assert "<script>" not in summary.problems({"prompt": "<script>"})
