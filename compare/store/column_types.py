"""Column types that mean the same on SQLite and PostgreSQL: exact amounts and UTC timestamps.

SQLite has no decimal type: a NUMERIC column keeps 15 significant digits, and SQLAlchemy's
`Numeric` goes through float there. An integer of a small unit does not do either: an amount by
the hour is a quotient of 28 significant digits (`1.37 * 2.345 / 3600`), and 64 bits hold 18. So
`Amount` is decimal text on SQLite, and `sum_amounts` is `decimal_sum`, an aggregate of the name
and the meaning that SQLite's own decimal extension gives it
(https://sqlite.org/floatpoint.html#the_decimal_c_extension); `compare/store/sqlite.py` registers
it. On PostgreSQL both are native: NUMERIC without a limit, and `sum`.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import DateTime, Dialect, Numeric, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator, TypeEngine


class Amount(TypeDecorator[Decimal]):
    """An exact amount in USD; every digit is kept, trailing zeros included.

    Add up with `sum_amounts`. `<`, `>` and ORDER BY compare text on SQLite: do not use them there.
    """

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return TEXT for SQLite and NUMERIC for every other database."""
        kind = Text() if dialect.name == "sqlite" else Numeric(asdecimal=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Return plain notation for SQLite, never an exponent."""
        return f"{value:f}" if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the amount with the digits that were written."""
        return None if value is None else Decimal(value)


class Timestamp(TypeDecorator[datetime]):
    """A moment, timezone-aware in Python and UTC in the database, to the microsecond.

    On SQLite it is text of one width ("2026-11-22 12:00:00.000000"), so that text order is time
    order and SQLite's date functions read it.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC.

        Raises:
            ValueError: the datetime has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"A timestamp needs a time zone: {value.isoformat()}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC; SQLite's text does not carry the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class sum_amounts(GenericFunction[Decimal]):
    """The exact sum of a column of type `Amount`; NULL counts nothing, and none sum to NULL."""

    type = Amount()
    inherit_cache = True


@compiles(sum_amounts)
def _sum(element: sum_amounts, compiler: SQLCompiler, **options: Any) -> str:
    return f"sum({compiler.process(element.clauses, **options)})"


@compiles(sum_amounts, "sqlite")
def _decimal_sum(element: sum_amounts, compiler: SQLCompiler, **options: Any) -> str:
    return f"decimal_sum({compiler.process(element.clauses, **options)})"
