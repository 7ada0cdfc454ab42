"""Costs of pictures: a range before the run, an amount after it. Pure.

An unknown amount is None and never 0; 0 means known to be free or not charged. Amounts are
Decimal from the price list to the screen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import assert_never

from backends.base import Basis, Model, Receipt, Request
from backends.fit import (
    IMAGE_SIZES,
    QUALITIES,
    closest_choice,
    closest_size,
    sizes_of_any_shape,
)
from compare.records import Cost

_ZERO = Decimal(0)
_HOUR = Decimal(3600)
_FOLDED = 20
_PRICED_CHOICES = (("quality", "qualities", QUALITIES), ("image_size", "image_sizes", IMAGE_SIZES))
"""The options that prices depend on: name, name of the model's list of values, all values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BillableWork:
    """What the cost of a job depends on, besides the number of its pictures.

    `receipt` is None where the backend sent none; `seconds` is the time of generation, None if
    unknown; `hourly_rate` is the price of this machine's hour in USD, None if not set.
    """

    model: Model
    request: Request
    receipt: Receipt | None = None
    seconds: float | None = None
    hourly_rate: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of several jobs: the sum of the known ones, and the number of unknown ones."""

    low: Decimal
    high: Decimal
    unknown: int
    free: int


def estimate(
    model: Model,
    request: Request,
    *,
    hourly_rate: Decimal | None = None,
    seconds: float | None = None,
) -> Cost:
    """Return the expected range of the cost of `request` on `model`.

    `seconds` is the model's typical time, for work that is paid by the hour.
    """
    cost = _blank(model)
    count = min(request.count, model.most_count)
    price = model.price
    match price.basis:
        case Basis.FREE:
            return replace(cost, amount=_ZERO, low=_ZERO, high=_ZERO)
        case Basis.HARDWARE if hourly_rate is None:
            return replace(cost, amount=_ZERO, low=_ZERO, high=_ZERO, basis=Basis.FREE)
        case Basis.HARDWARE:
            amount = _by_the_hour(hourly_rate, seconds)
            return replace(cost, low=amount, high=amount)
        case Basis.USAGE | Basis.PRICE_LIST | Basis.SUBSCRIPTION:
            if price.per_image is not None:
                low = high = price.per_image
            elif price.per_megapixel is not None:
                low = high = price.per_megapixel * _megapixels(*_size(model, request))
            elif expected := _expected(model, request):
                low, high = expected
            else:
                return cost
            (least, most), (given, given_at_most) = _prompt(model, request), _start(model, request)
            # A call for each picture is billed for the prompt and the start picture each time.
            calls = count if model.options.get("one_picture_per_call") else 1
            previews = _previews(model) if count == 1 else _ZERO
            return replace(
                cost,
                low=low * count + calls * (least + given),
                high=high * count + calls * (most + given_at_most) + previews,
            )
        case _:
            assert_never(price.basis)


def settle(work: BillableWork, pictures: int) -> Cost:
    """Return the cost of `pictures`; exact where the service reports an amount or counters."""
    model, receipt, rate = work.model, work.receipt, work.hourly_rate
    cost = estimate(model, work.request, hourly_rate=rate, seconds=work.seconds)
    price = model.price
    if receipt is not None and receipt.charged is not None and receipt.charged >= 0:
        return replace(cost, amount=receipt.charged)
    if receipt is not None and receipt.may_owe_more:
        return unsettled(model, cost)
    if price.basis is Basis.FREE:
        return cost
    if price.basis is Basis.HARDWARE and rate is None:
        return replace(cost, amount=_ZERO, basis=Basis.FREE)
    if price.basis is Basis.HARDWARE:
        return replace(cost, amount=_by_the_hour(rate, work.seconds))
    if price.per_token:
        return replace(cost, amount=_by_tokens(model, work.request, receipt))
    if price.per_image is not None:
        return replace(cost, amount=price.per_image * pictures)
    if price.per_megapixel is not None:
        each = price.per_megapixel * _megapixels(*_size(model, work.request))
        return replace(cost, amount=each * pictures)
    return cost


def uncharged(model: Model) -> Cost:
    """Return the cost of a job that is not charged."""
    return replace(_blank(model), amount=_ZERO)


def refused(model: Model, before: Cost, usage: Mapping[str, int]) -> Cost:
    """Return the cost of a job without a picture for which the service counted tokens."""
    return replace(unsettled(model, before), amount=_price(model, usage))


def unsettled(model: Model, before: Cost) -> Cost:
    """Return the cost of a job that may or may not have been charged."""
    if model.price.basis is Basis.FREE:
        return uncharged(model)
    if before.basis is Basis.FREE:
        return before
    return replace(before, amount=None)


def total(costs: Iterable[Cost]) -> Estimate:
    """Add up amounts, or ranges where no amount is known; unknown costs are only counted."""
    low = high = _ZERO
    unknown = free = 0
    for cost in costs:
        if cost.amount is not None:
            low, high = low + cost.amount, high + cost.amount
            free += cost.basis is Basis.FREE
        elif cost.low is not None and cost.high is not None:
            low, high = low + cost.low, high + cost.high
        else:
            unknown += 1
    return Estimate(low, high, unknown, free)


def combine(costs: Sequence[Cost]) -> Cost:
    """Return the cost of several jobs as one, unknown if the cost of any of them is."""
    free = all(cost.basis is Basis.FREE for cost in costs)
    whole = Cost(basis=Basis.FREE if free else None)
    if all(cost.amount is not None for cost in costs):
        return replace(whole, amount=sum((cost.amount or _ZERO for cost in costs), _ZERO))
    sums = total(costs)
    return whole if sums.unknown else replace(whole, low=sums.low, high=sums.high)


def _blank(model: Model) -> Cost:
    price = model.price
    return Cost(basis=price.basis, priced_on=price.priced_on, source=price.source)


def _by_the_hour(hourly_rate: Decimal | None, seconds: float | None) -> Decimal | None:
    if hourly_rate is None or seconds is None:
        return None
    return hourly_rate * Decimal(str(round(seconds, 3))) / _HOUR


def _by_tokens(model: Model, request: Request, receipt: Receipt | None) -> Decimal | None:
    """Return the exact price of the counters, None if one of them has no price or makes no sense.

    The prompt and what came back have tokens: where one of them has a price and none was counted,
    the count is not whole. The same holds for a start picture with a price of its own.
    """
    if receipt is None or min(receipt.usage.values(), default=0) < 0:
        return None
    prices = model.price.per_token
    required = {"text_input", "image_output" if "image_output" in prices else "text_output"}
    if request.image is not None and "image" in model.supports:
        required.add("image_input")
    if any(counter in prices and not receipt.usage.get(counter) for counter in required):
        return None
    return _price(model, receipt.usage) or None


def _price(model: Model, usage: Mapping[str, int]) -> Decimal | None:
    """Return the price of tokens, None if some of them have no known price."""
    amount, prices = _ZERO, model.price.per_token
    for counter, number in usage.items():
        if number:
            if counter not in prices:
                return None
            amount += prices[counter] * number
    return amount


def _size(model: Model, request: Request) -> tuple[int, int]:
    width, height = request.width or request.height, request.height or request.width
    if width is None or height is None or min(width, height) < 1:
        return model.sizes.native[0]
    return closest_size(model.sizes, width, height)


def _sizes(model: Model, request: Request) -> Sequence[tuple[int, int]]:
    """Return the possible sizes of the picture; the shape of a start picture is unknown yet."""
    takes = request.image is not None and "image" in model.supports
    open_shape = takes and not (request.width or request.height)
    return sizes_of_any_shape(model.sizes) if open_shape else (_size(model, request),)


def _megapixels(width: int, height: int) -> Decimal:
    return Decimal(width * height) / 1_000_000


def _expected(model: Model, request: Request) -> tuple[Decimal, Decimal] | None:
    """Return the lowest and highest expected price of a picture of the requested quality and size.

    Without a quality (or with "auto") the range spans all of them. For a size that is not in the
    price list, the listed prices are scaled by the number of pixels; the price of a resolution
    such as "2K" holds for every shape.
    """
    asked, any_shape = _quality(model, request), "image_sizes" in model.options
    found: list[Decimal] = []
    for quality, prices in _by_quality(model).items():
        if asked not in (None, quality):
            continue
        if any_shape:
            found += prices.values()
        else:
            for size in _sizes(model, request):
                if size in prices:
                    found.append(prices[size])
                else:
                    pixels = Decimal(size[0] * size[1])
                    found += [each * pixels / (w * h) for (w, h), each in prices.items()]
    return (min(found), max(found)) if found else None


def _quality(model: Model, request: Request) -> str | None:
    """Return the quality or resolution that the request for this model has, by the same rule.

    None if the service chooses it, "" for a value that no request can have.
    """
    chosen = request.options.get(model.backend, {})
    for name, listed, order in _PRICED_CHOICES:
        if listed in model.options:
            wanted = chosen.get(name) or model.options.get(name)
            if wanted in (None, "auto"):
                return None
            return closest_choice(model.options[listed], order, wanted) or ""
    return None


def _by_quality(model: Model) -> dict[str, dict[tuple[int, int], Decimal]]:
    """Return the expected prices by quality, then size; no size means the model's first one."""
    table: dict[str, dict[tuple[int, int], Decimal]] = {}
    for key, each in model.price.estimates.items():
        quality, _, size = key.partition(" ")
        width, _, height = size.partition("x")
        pixels = (int(width), int(height)) if size else model.sizes.native[0]
        table.setdefault(quality, {})[pixels] = each
    return table


def _prompt(model: Model, request: Request) -> tuple[Decimal, Decimal]:
    """Return the lowest and highest price of the prompt's tokens.

    A token is about four letters of English. Tokenizers of bytes have never more tokens than
    bytes; `_FOLDED` are those around the prompt and before a negative one.
    """
    each = model.price.per_token.get("text_input", _ZERO)
    text = request.prompt + request.negative_prompt
    most = len(text.encode(errors="replace")) + _FOLDED
    return each * (len(text) // 5), each * most


def _start(model: Model, request: Request) -> tuple[Decimal, Decimal]:
    """Return the lowest and highest price of the start picture's tokens.

    The catalogue gives the range of their number (`image_tokens`).
    """
    if request.image is None or "image" not in model.supports:
        return _ZERO, _ZERO
    price = model.price.per_token
    each = price.get("image_input", price.get("text_input", _ZERO))
    least, _, most = str(model.options.get("image_tokens") or "0").partition("-")
    return each * int(least), each * int(most or least)


def _previews(model: Model) -> Decimal:
    """Return the highest price of partial pictures, for models that charge for them."""
    pictures, tokens = (model.options.get(name) or 0 for name in ("partials", "partial_tokens"))
    each = model.price.per_token.get("image_output", _ZERO)
    return each * int(pictures) * int(tokens)
