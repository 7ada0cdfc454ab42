import random
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from backends.base import Basis, Model, Price, Receipt, Request, Sizes
from backends.errors import BadInput
from backends.fit import IMAGE_SIZES, QUALITIES
from backends.google import request as google
from backends.huggingface import request as hub
from backends.openai import request as openai
from backends.stability import request as stability
from compare.catalogue.catalogue import load
from compare.formatting import format_cost
from compare.pricing import BillableWork, estimate, refused, settle, total, uncharged, unsettled
from compare.records import Cost
from tests.servers import pictures

D = Decimal
REQUEST = Request(prompt="a red cube")
FLARE = load().find("openai/gpt-image-2.6-flare")
GPT_2 = load().find("openai/gpt-image-2")


def model(**price: object) -> Model:
    return Model(
        id="x/y",
        label="Y",
        family="f",
        source="y",
        price=Price(**price),  # type: ignore[arg-type]
    )


def work(model: Model, request: Request = REQUEST, **facts: Any) -> BillableWork:
    return BillableWork(model=model, request=request, **facts)


def asking(**options: str) -> Request:
    return replace(REQUEST, options={"openai": options})


def test_usage_is_settled_to_the_last_digit():
    receipt = Receipt(usage={"text_input": 12, "image_input": 0, "image_output": 196})
    cost = settle(work(FLARE, receipt=receipt, seconds=3.0), 1)
    assert cost.amount == D("0.00594")  # 12 x 5e-6 + 196 x 30e-6
    assert (cost.basis, cost.priced_on) == (Basis.USAGE, date(2026, 11, 22))


def test_usage_without_a_price_for_one_counter_is_unknown_not_cheaper():
    assert settle(work(FLARE, receipt=Receipt(usage={"video": 5}), seconds=1.0), 1).amount is None
    assert settle(work(FLARE, receipt=Receipt(usage={}), seconds=1.0), 1).amount is None
    assert settle(work(FLARE, seconds=1.0), 1).amount is None


@pytest.mark.parametrize(
    "usage", [{"image_output": 0}, {"image_output": -1}, {"text_input": 9, "image_output": -8}]
)
def test_counters_that_make_no_sense_leave_the_price_unknown(usage: dict[str, int]):
    """Else a server that sends them would give the owner's daily budget back."""
    assert settle(work(FLARE, receipt=Receipt(usage=usage), seconds=1.0), 1).amount is None
    assert settle(work(FLARE, receipt=Receipt(charged=D("-1"))), 1).amount is None


@pytest.mark.parametrize(
    "usage",
    [
        {"text_input": 0, "image_output": 0},
        {"image_output": 196},
        {"text_input": 12},
        {"text_input": 12, "image_input": 0},
        {"text_input": 12, "text_output": 9},
    ],
)
def test_a_count_that_is_not_whole_is_no_count(usage: dict[str, int]):
    cost = settle(work(FLARE, receipt=Receipt(usage=usage)), 1)
    assert cost.amount is None and cost.low and cost.high


def test_a_start_picture_without_a_count_leaves_the_price_unknown():
    asked = replace(REQUEST, image=pictures.plain())
    whole = {"text_input": 12, "image_input": 300, "image_output": 196}
    assert settle(work(FLARE, asked, receipt=Receipt(usage=whole)), 1).amount is not None
    missing = {"text_input": 312, "image_output": 196}
    assert settle(work(FLARE, asked, receipt=Receipt(usage=missing)), 1).amount is None


def test_a_missing_picture_that_may_be_billed_leaves_the_price_open():
    usage = {"text_input": 12, "image_output": 196}
    cost = settle(work(FLARE, receipt=Receipt(usage=usage, may_owe_more=True)), 1)
    assert cost.amount is None and cost.high
    told = settle(work(FLARE, receipt=Receipt(charged=D("0.1"), may_owe_more=True)), 1)
    assert told.amount == D("0.1")


def test_a_refusal_costs_the_tokens_that_were_counted():
    before = estimate(FLARE, REQUEST)
    assert refused(FLARE, before, {"text_input": 12}).amount == D("0.00006")
    assert refused(FLARE, before, {"video": 12}).amount is None


@pytest.mark.parametrize("text", ["fox", "\U0001f98a" * 30, "\x01" * 50])
def test_no_prompt_has_more_tokens_than_it_is_priced_with(text: str):
    before = estimate(FLARE, replace(REQUEST, prompt=text))
    tokens = len(f"{text}\n\nAvoid: {text}".encode())
    both = estimate(FLARE, replace(REQUEST, prompt=text, negative_prompt=text))
    previews = D("0.01188")
    assert before.high is not None and both.high is not None
    assert both.high >= previews + tokens * D("0.000005")


def test_what_the_service_says_goes_before_everything():
    receipt = Receipt(usage={"text_input": 10**6}, charged=D("0.5"))
    assert settle(work(FLARE, receipt=receipt, seconds=1.0), 1).amount == D("0.5")


def test_a_start_picture_is_read_for_money():
    read = Price(
        basis=Basis.USAGE,
        per_token={"image_input": D("0.00001")},
        estimates={"low": D("0.01"), "low 200x100": D("0.02")},
    )
    sizes = Sizes(native=((100, 100), (200, 100)), only_native=True)
    able = replace(
        model(basis=Basis.FREE),
        price=read,
        sizes=sizes,
        supports=frozenset({"image"}),
        options={"image_tokens": "100-300"},
    )
    without = estimate(able, REQUEST)
    assert (without.low, without.high) == (D("0.01"), D("0.01"))
    # Its shape is not known yet, so neither is the size.
    cost = estimate(able, replace(REQUEST, image=b""))
    assert (cost.low, cost.high) == (D("0.011"), D("0.023"))
    sized = estimate(able, replace(REQUEST, image=b"", width=100, height=100))
    assert (sized.low, sized.high) == (D("0.011"), D("0.013"))
    unable = estimate(replace(able, supports=frozenset()), replace(REQUEST, image=b"x"))
    assert unable.high == D("0.01")


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        ({}, "0.00588", "0.01188"),  # low, the backend's own default; two previews at most
        ({"quality": "high"}, "0.05268", "0.05868"),
        ({"quality": "auto"}, "0.00588", "0.21672"),
    ],
)
def test_estimates_by_quality(asked: dict[str, str], low: str, high: str):
    cost = estimate(FLARE, asking(**asked))
    assert cost.amount is None and cost.low is not None and cost.high is not None
    # The prompt's ten letters are two to thirty tokens.
    assert D(low) <= cost.low <= D(low) + D("0.00003")
    assert D(high) <= cost.high <= D(high) + D("0.00015")


def test_estimate_for_a_listed_size_and_for_one_between():
    wide = estimate(GPT_2, replace(asking(quality="high"), width=1536, height=1024, count=2))
    assert wide.low is not None and abs(wide.low - 2 * D("0.165")) < D("0.0001")
    big = estimate(GPT_2, replace(asking(quality="high"), width=2048, height=2048))
    assert big.low is not None and big.high is not None
    assert D("0.4") < big.low < D("0.5") < D("0.84") < big.high < D("0.86")


@pytest.mark.parametrize(
    ("name", "image_size", "price"),
    [
        ("gemini-3-pro-image", None, "0.1344"),
        ("gemini-3-pro-image", "2K", "0.1344"),
        ("gemini-3-pro-image", "4K", "0.24"),
        ("gemini-3.1-flash-lite-image", "4K", "0.0336"),  # it has 1K only
        ("gemini-nano-banana-2.1", "4K", None),  # not published
    ],
)
@pytest.mark.parametrize("size", [(1024, 1024), (768, 1376)])
def test_estimates_by_resolution_hold_for_every_shape(
    name: str, image_size: str | None, price: str | None, size: tuple[int, int]
):
    chosen = {"google": {"image_size": image_size}} if image_size else {}
    asked = replace(REQUEST, options=chosen, width=size[0], height=size[1])
    cost = estimate(load().find(f"google/{name}"), asked)
    if price is None:
        assert cost.low is None and format_cost(cost) == "unknown"
    else:
        assert cost.low is not None and abs(cost.low - D(price)) < D("0.0001")
        assert cost.high is not None and abs(cost.high - D(price)) < D("0.0001")


def test_estimate_counts_no_more_pictures_than_the_model_makes():
    dall_e = load().find("openai/dall-e-3")
    assert estimate(dall_e, replace(REQUEST, count=5)).high == D("0.04")


def test_flat_and_megapixel_prices():
    flat = model(basis=Basis.PRICE_LIST, per_image=D("0.02"))
    assert estimate(flat, replace(REQUEST, count=3)).low == D("0.06")
    assert settle(work(flat), 2).amount == D("0.04")
    area = model(basis=Basis.PRICE_LIST, per_megapixel=D("0.01"))
    asked = replace(REQUEST, width=1000, height=1000)
    assert settle(work(area, request=asked), 2).amount == D("0.02")


def test_hardware_is_paid_by_the_hour_and_free_without_a_rate():
    own = model(basis=Basis.HARDWARE)
    assert settle(work(own, seconds=36.0, hourly_rate=D("1.5")), 1).amount == D("0.015")
    assert format_cost(settle(work(own, seconds=36.0), 1)) == "free"
    assert estimate(own, REQUEST, hourly_rate=D("1.5"), seconds=36.0).low == D("0.015")
    assert format_cost(estimate(own, REQUEST)) == "free"
    assert format_cost(unsettled(own, estimate(own, REQUEST))) == "free"
    # A rate is set, but how long it takes is not known yet.
    assert format_cost(estimate(own, REQUEST, hourly_rate=D("1.5"))) == "unknown"


def test_unknown_is_not_free():
    any_openai = load().find("openai/some-new-model")
    assert estimate(any_openai, REQUEST).low is None
    assert format_cost(estimate(any_openai, REQUEST)) == "unknown"
    free = load().find("miniature/diffusion")
    assert estimate(free, REQUEST).amount == 0
    assert format_cost(estimate(free, REQUEST)) == "free"
    assert format_cost(unsettled(free, estimate(free, REQUEST))) == "free"


def test_not_charged():
    cost = uncharged(FLARE)
    assert (cost.amount, cost.basis) == (0, Basis.USAGE)
    assert format_cost(cost) == "not charged"


def test_total():
    costs = [
        Cost(amount=D("0.0123"), low=D(5), high=D(6), basis=Basis.USAGE),
        Cost(low=D("0.006"), high=D("0.013"), basis=Basis.USAGE),
        Cost(basis=Basis.HARDWARE),
        Cost(amount=D(0), low=D(0), high=D(0), basis=Basis.FREE),
    ]
    found = total(costs)
    assert (found.low, found.high) == (D("0.0183"), D("0.0253"))
    assert (found.unknown, found.free) == (1, 1)
    assert total([]).high == 0


@pytest.mark.parametrize("wanted", [None, "", "auto", *QUALITIES, *IMAGE_SIZES])
def test_what_is_priced_is_what_is_sent(wanted: str | None) -> None:
    """The request's own quality costs what the chosen one was said to cost, for every model."""
    for model in load().models:
        if model.backend not in ("openai", "google") or not model.price.estimates:
            continue
        name = "quality" if model.backend == "openai" else "image_size"
        asked = Request(prompt="a fox", options={model.backend: {name: wanted}})
        try:
            if model.backend == "openai":
                sent = openai.build_request(model, asked).parameters.get("quality")
            else:
                sent = google.build_request(model, asked).image_size
        except BadInput:
            continue
        same = Request(prompt="a fox", options={model.backend: {name: sent or "auto"}})
        assert estimate(model, asked) == estimate(model, same), (model.id, wanted, sent)


JUNK = (None, "", "auto", "low", "max", "ultra", " high", "HIGH", "2K", 0, 7, 1.5, True, ["high"])


def test_every_request_that_is_built_carries_what_was_priced() -> None:
    """Every paid model, with sizes, counts and qualities of which many fit no model."""
    draw = random.Random(18)
    paid = [m for m in load().models if m.price.basis in (Basis.USAGE, Basis.PRICE_LIST)]
    for model in paid * 40:
        quality: Any = draw.choice(JUNK)
        sides = [draw.choice([None, 16, 512, 1000, 1024, 1536, 2048, 8192]) for _ in range(2)]
        asked = Request(
            prompt="a fox",
            width=sides[0],
            height=sides[1],
            count=draw.choice([1, 2, 9, 20]),
            options={model.backend: {"quality": quality, "image_size": quality}},
        )
        if (sent := as_sent(model, asked)) is not None:
            assert estimate(model, asked) == estimate(model, sent), (model.id, asked, sent)


@pytest.mark.parametrize("size", [(64, 64), (300, 100), (100, 320), (2000, 20), (20, 2000)])
def test_a_start_picture_of_any_shape_costs_no_more_than_was_priced(size: tuple[int, int]) -> None:
    """A long picture has more pixels than the model's own size, as its short side is widened."""
    image = pictures.plain(*size)
    for model in load().models:
        if model.backend == "openai" and "image" in model.supports and model.price.estimates:
            sent = openai.build_request(model, replace(REQUEST, image=image)).parameters["size"]
            width, height = map(int, sent.split("x"))
            drawn = estimate(model, replace(REQUEST, image=b"", width=width, height=height))
            for shape_of in (image, b""):  # a second step's picture is not known yet
                before = estimate(model, replace(REQUEST, image=shape_of))
                assert before.high is not None and drawn.high is not None
                assert drawn.high <= before.high, (model.id, sent)


def test_a_call_for_each_picture_is_priced_with_the_prompt_each_time() -> None:
    """Google bills prompt and start picture with every call."""
    model = load().find("google/gemini-3-pro-image")
    asked = Request(prompt="\x01" * 40_000, image=b"", count=4)
    calls = len(google.build_request(model, replace(asked, image=pictures.plain())).seeds)
    usage = {
        "text_input": calls * 40_000,
        "image_input": calls * 1120,
        "image_output": calls * 1120,
    }
    price = {**model.price.per_token, "image_input": model.price.per_token["text_input"]}
    charged = sum(price[counter] * number for counter, number in usage.items())
    high = estimate(model, asked).high
    assert calls == 4 and high is not None and charged <= high


def test_counters_without_those_of_the_pictures_leave_the_price_unknown() -> None:
    receipt = Receipt(usage={"text_input": 9})
    assert settle(work(FLARE, receipt=receipt), 1).amount is None


def as_sent(model: Model, asked: Request) -> Request | None:
    """Return what the request built for a service asks for, None if it is refused or free."""
    build = {"openai": openai, "google": google, "stability": stability, "huggingface": hub}
    if model.backend not in build:
        return None
    try:
        built: Any = build[model.backend].build_request(model, asked)
    except BadInput:
        return None
    if model.backend == "openai":
        width, height = map(int, built.parameters["size"].split("x"))
        chosen = {"quality": built.parameters.get("quality", "auto")}
        # Previews are only asked for with one picture.
        assert (built.partials > 0) <= (built.parameters.get("n", 1) == 1)
        count = built.parameters.get("n", 1)
    else:
        width, height = asked.width, asked.height
        chosen = {"image_size": getattr(built, "image_size", None) or "auto"}
        count = len(built.seeds)
    if model.backend == "huggingface":
        width, height = built.parameters["width"], built.parameters["height"]
    return replace(asked, width=width, height=height, count=count, options={model.backend: chosen})
