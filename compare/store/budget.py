"""A limit on what the jobs since a moment may cost, checked where they are added."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Budget:
    """The owner may pay at most `limit` USD for the jobs created since the moment `since`."""

    limit: Decimal
    since: datetime


class BudgetExceeded(Exception):
    """Jobs were not added: `spent` is what the others cost, `expected` the most that these might.

    Both are in USD.
    """

    def __init__(self, *, spent: Decimal, expected: Decimal) -> None:
        super().__init__("The jobs might cost more than the rest of the budget.")
        self.spent = spent
        self.expected = expected
