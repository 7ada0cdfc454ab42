"""Amounts are exact, timestamps are UTC: in Python, in the database, and in SQL between them."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import StatementError

from compare.store.column_types import Amount, Timestamp, sum_amounts
from compare.store.sqlite import create

table = Table(
    "t",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("amount", Amount),
    Column("at", Timestamp),
)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = create(tmp_path)
    with engine.begin() as connection:
        table.create(connection)
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.10", "0.10"),
        ("0", "0"),
        ("0.000", "0.000"),
        ("1E+3", "1000"),
        ("1E-28", "0.0000000000000000000000000001"),
        ("0.001044244444444444444444444444", "0.001044244444444444444444444444"),
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
        ("-0.5", "-0.5"),
    ],
)
def test_an_amount_comes_back_digit_for_digit(connection: Connection, amount: str, text: str):
    connection.execute(insert(table), {"amount": Decimal(amount)})
    read = connection.execute(select(table.c.amount)).scalar_one()
    assert read == Decimal(amount) and f"{read:f}" == text


def test_a_sum_is_exact_where_floats_are_not(connection: Connection):
    chance = random.Random(1)
    amounts = [Decimal("1E-28"), Decimal("100000000.1"), Decimal("0.1"), Decimal("0.2")]
    amounts += [Decimal(chance.randrange(10**9)).scaleb(-chance.randrange(31)) for _ in range(500)]
    connection.execute(insert(table), [{"amount": each} for each in (*amounts, None)])
    exact, total = Context(prec=100), Decimal(0)
    for each in amounts:
        total = exact.add(total, each)
    assert connection.execute(select(sum_amounts(table.c.amount))).scalar_one() == total


def test_the_sum_of_nothing_is_unknown(connection: Connection):
    total = select(sum_amounts(table.c.amount))
    assert connection.execute(total).scalar_one() is None
    connection.execute(insert(table), {"amount": None})
    assert connection.execute(total).scalar_one() is None


def test_moments_are_kept_to_the_microsecond_and_sort_and_range_in_sql(connection: Connection):
    east = timezone(timedelta(hours=9, minutes=30))
    moments = [
        NOW,
        (NOW + timedelta(microseconds=1)).astimezone(east),
        (NOW + timedelta(seconds=1)).astimezone(timezone(-timedelta(hours=8))),
        NOW + timedelta(days=1),
    ]
    connection.execute(insert(table), [{"at": each} for each in reversed(moments)])
    read = connection.scalars(select(table.c.at).order_by(table.c.at)).all()
    assert read == moments and all(each.tzinfo is UTC for each in read)
    between = select(func.count()).where(table.c.at > moments[0], table.c.at < moments[3])
    assert connection.execute(between).scalar_one() == 2


def test_a_moment_without_a_time_zone_is_refused(connection: Connection):
    with pytest.raises(StatementError, match="needs a time zone"):
        connection.execute(insert(table), {"at": NOW.replace(tzinfo=None)})


def test_postgresql_gets_its_own_types_and_sum():
    spelled = {
        column.name: column.type.compile(postgresql.dialect())
        for column in (table.c.amount, table.c.at)
    }
    assert spelled == {"amount": "NUMERIC", "at": "TIMESTAMP WITH TIME ZONE"}
    query = select(sum_amounts(table.c.amount))
    assert "decimal_sum(t.amount)" in str(query.compile(dialect=sqlite.dialect()))
    assert "SELECT sum(t.amount)" in str(query.compile(dialect=postgresql.dialect()))
