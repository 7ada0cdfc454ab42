"""The daily budget, if the owner has set one."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from compare.pricing import total
from compare.records import Cost
from compare.store.store import Store


class OverBudget(ValueError):
    """A run might cost more than the rest of today's budget; `str(error)` has the amounts."""


async def check_budget(store: Store, limit: Decimal, costs: Iterable[Cost]) -> None:
    """Raise `OverBudget` unless `costs`, at their highest, fit into the rest of today (UTC).

    Unknown prices count as 0, as they cannot be compared with a limit. Two runs that start at the
    same moment may both fit into the same rest.
    """
    expected = total(costs).high
    if not expected:
        return
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    spent = await store.spent_since(midnight)
    if spent + expected > limit:
        raise OverBudget(
            f"This may cost up to ${expected:.2f}, and ${spent:.2f} of today's ${limit:.2f} are "
            "spent. Choose fewer or cheaper models, or raise LINEUP_DAILY_BUDGET."
        )
