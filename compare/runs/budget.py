"""The daily budget, if the owner has set one, and the rules for keys that are lent."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

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
    """Return the error for the page. A visitor of a public address can change no setting."""
    advice = "Choose fewer or cheaper models"
    advice += (
        ", or type a key of your own in the Keys tab."
        if public
        else (", or raise LINEUP_DAILY_BUDGET.")
    )
    return OverBudget(
        f"This may cost up to ${error.expected:.2f}, and ${error.spent:.2f} of today's "
        f"${limit:.2f} are spent. {advice}"
    )


def check_lent(jobs: Iterable[tuple[Job, Model]]) -> None:
    """Check jobs of visitors whom the owner lends keys.

    Raises:
        OverBudget: the owner would pay for one whose price has no upper bound.
    """
    for job, model in jobs:
        free = model.price.basis in (Basis.FREE, Basis.HARDWARE)
        if job.payer is Payer.OWNER and not free and job.cost.high is None:
            raise OverBudget(
                f"Nobody knows what {model.label} costs with these settings, and the keys lent "
                "here have a daily budget. Choose another model or other settings, or type a key "
                "of your own in the Keys tab."
            )
