"""The daily budget, if the owner has set one, and the rules for keys that are lent."""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from backends.base import Basis, Model
from compare.records import Job, Payer
from compare.store.budget import Budget, BudgetExceeded


class OverBudget(ValueError):
    """A run might cost more than the rest of today's budget; `str(error)` has the amounts."""


def today(limit: Decimal | None) -> Budget | None:
    """Return the budget of today (UTC), None without a limit.

    Where keys are not lent, unknown prices count as 0, as they cannot be compared with a limit.
    """
    if limit is None:
        return None
    return Budget(limit, datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))


def over_budget(error: BudgetExceeded, limit: Decimal, *, public: bool) -> OverBudget:
    """Return the error for the page.

    A visitor of a public address can change no setting, and learns what is left of the budget but
    not what others have spent.
    """
    left = _dollars(max(limit - error.spent, Decimal(0)), ROUND_FLOOR)
    cost = f"This may cost up to {_dollars(error.expected, ROUND_CEILING)}"
    if public:
        return OverBudget(
            f"{cost}, and {left} of today's budget is left. Choose fewer or cheaper models, or "
            "type a key of your own in the Keys tab. The next day begins at midnight, UTC."
        )
    spent = _dollars(error.spent, ROUND_CEILING)
    return OverBudget(
        f"{cost}, and {spent} of today's {_dollars(limit, ROUND_FLOOR)} are spent: {left} is left. "
        "Choose fewer or cheaper models, or raise LINEUP_DAILY_BUDGET."
    )


def check_lent(
    jobs: Iterable[tuple[Job, Model]], chosen: Callable[[Job], Collection[str]] = lambda _: ()
) -> None:
    """Check jobs of visitors whom the owner lends keys.

    `chosen` returns the labels of a job's options that say which account pays.

    Raises:
        OverBudget: the owner would pay for one whose price has no upper bound, or from an account
            that the visitor has chosen.
    """
    for job, model in jobs:
        free = model.price.basis in (Basis.FREE, Basis.HARDWARE)
        if job.payer is not Payer.OWNER or free:
            continue
        for label in chosen(job):
            raise OverBudget(
                f"“{label}” is for keys of your own: leave it empty, or type a key in the Keys tab."
            )
        if job.cost.high is None:
            raise OverBudget(
                f"Nobody knows what {model.label} costs with these settings, and the keys lent "
                "here have a daily budget. Choose another model or other settings, or type a key "
                "of your own in the Keys tab."
            )


def _dollars(amount: Decimal, rounding: str) -> str:
    """Return an amount as text: in cents from a dollar on, else to a hundredth of a cent."""
    precise = amount.quantize(Decimal("0.01" if amount >= 1 else "0.0001"), rounding)
    text = f"{precise:f}"
    return f"${text[:-2] if text.endswith('00') and amount < 1 else text}"
