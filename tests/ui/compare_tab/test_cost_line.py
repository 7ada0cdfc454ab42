"""The line under the form."""

from decimal import Decimal

from backends.base import Basis, Readiness
from compare.records import Cost
from ui.compare_tab import cost_line
from ui.compare_tab.cost_line import Unable
from ui.compare_tab.sections import BadField

FREE = Cost(amount=Decimal(0), basis=Basis.FREE)
PAID = Cost(low=Decimal("0.006"), high=Decimal("0.013"), basis=Basis.USAGE)
UNKNOWN = Cost(basis=Basis.USAGE)


def test_free_models_are_said_to_be_free() -> None:
    assert cost_line.estimate({"a": FREE, "b": FREE}) == "<b>2 models</b> · all free"


def test_the_total_comes_before_the_click_and_unknown_prices_are_named() -> None:
    words = cost_line.estimate({"a": FREE, "b": PAID, "c": UNKNOWN})
    assert "3 models" in words
    assert "$0.006–0.013" in words
    assert "1 free" in words
    assert "1 of unknown price" in words


def test_a_second_step_is_paid_for_with_each_picture() -> None:
    one, two = cost_line.estimate({"a": FREE, "b": FREE}, second=("Edit", FREE)), "all free"
    assert "2 models, each then Edit" in one and two in one
    words = cost_line.estimate({"a": FREE, "b": FREE}, second=("Edit <x>", PAID))
    assert "$0.012–0.026" in words and "2 free" in words and "Edit &lt;x&gt;" in words
    variants = cost_line.estimate({"a": PAID}, {"a": PAID}, second=("Edit", PAID))
    assert "2 variants × 1 model, each then Edit" in variants and "$0.024–0.052" in variants


def test_variants_multiply_the_price_and_the_models_stay_what_they_are() -> None:
    costs = {"a": FREE, "b": PAID, "c": UNKNOWN}
    words = cost_line.estimate(costs, costs, costs)
    assert "3 variants × 3 models" in words
    assert "$0.018–0.039" in words
    assert "1 free" in words and "1 of unknown price" in words
    free = {"a": FREE, "b": FREE}
    assert cost_line.estimate(free, free) == "<b>2 variants × 2 models</b> · all free"


def test_no_model_says_what_to_do() -> None:
    assert "No model is chosen" in cost_line.estimate({})


def test_a_sentence_cannot_become_markup() -> None:
    assert "<script>" not in cost_line.problems({"prompt": "<script>"})


def test_models_that_cannot_draw_are_counted_apart_with_the_way_to_a_key() -> None:
    unable = Unable({Readiness.NEEDS_KEY: 2, Readiness.NEEDS_PACKAGE: 1}, "openai")
    words = cost_line.estimate({"a": FREE}, unable=unable)
    assert "<b>1 model</b>" in words
    assert "3 cannot draw: 2 need a key, 1 is not installed" in words
    assert 'data-service="openai"' in words
    alone = cost_line.estimate({}, unable=Unable({Readiness.UNAVAILABLE: 1}))
    assert "No chosen model can draw: 1 is not available" in alone and "button" not in alone


def test_a_budget_says_what_is_spent_and_to_visitors_what_is_left() -> None:
    spent, limit = Decimal("0.41"), Decimal(2)
    owner = cost_line.today(spent, limit, public=False)
    assert cost_line.estimate({"a": FREE}, today=owner).endswith("today so far $0.41 of $2")
    visitor = cost_line.today(spent, limit, public=True)
    assert visitor == "$1.59 of today's budget is left" and "0.41" not in visitor


def test_a_sentence_names_its_field() -> None:
    assert 'data-field="seed"' in cost_line.problem(BadField("The seed must be a number.", "seed"))
