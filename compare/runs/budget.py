"""The most that may be spent in a day, where the owner has set it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from compare.pricing import total
from compare.records import Cost
from compare.store.store import Store


class OverBudget(ValueError):
    """A run might cost more than is left of today's budget; `str(error)` says how much is."""


async def check(store: Store, most: Decimal, costs: Iterable[Cost]) -> None:
    """Raise `OverBudget` unless `costs`, at their highest, fit into the rest of today (UTC).

    A price that is not known counts as nothing: it cannot be held against a limit. Two runs that
    start in the same moment may both fit into the same rest.
    """
    expected = total(costs).high
    if not expected:
        return
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    spent = await store.spent_since(midnight)
    if spent + expected > most:
        raise OverBudget(
            f"This may cost up to ${expected:.2f}, and ${spent:.2f} of today's ${most:.2f} are "
            "spent. Choose fewer or cheaper models, or raise LINEUP_DAILY_BUDGET."
        )
