"""Fills the shop: always with the same data."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, func, insert, select

from dbvitals.shop.models import Base, Customer, Event, Order, OrderItem, Product

SEED = 20_261_124
BATCH = 1000
OPENING = datetime(2026, 1, 5, 9)

_ADJECTIVES = ("blue", "copper", "folding", "gentle", "heavy", "nordic", "quiet", "small", "travel", "woollen")
_NOUNS = ("blanket", "bottle", "chair", "kettle", "lamp", "notebook", "rucksack", "scarf", "teapot", "umbrella")
_KINDS = ("view", "view", "view", "search", "basket")


@dataclass(frozen=True)
class Size:
    """How many of each there are."""

    customers: int
    products: int
    orders: int
    events: int

    @classmethod
    def scaled(cls, scale: float) -> Size:
        """The demo's own size times ``scale``."""
        return cls(
            customers=max(20, round(500 * scale)),
            products=max(60, round(2_000 * scale)),
            orders=max(60, round(3_000 * scale)),
            events=max(200, round(12_000 * scale)),
        )

    @property
    def rows(self) -> int:
        """All rows, order items included."""
        return self.customers + self.products + self.orders * (1 + ITEMS_PER_ORDER) + self.events


ITEMS_PER_ORDER = 3


def seed(engine: Engine, size: Size, progress: Callable[[int], None]) -> None:
    """Make the tables and fill them; ``progress`` hears how many rows each step added."""
    Base.metadata.create_all(engine)
    chance = random.Random(SEED)
    for model, rows in (
        (Customer, _customers(size)),
        (Product, _products(size, chance)),
        (Order, _orders(size, chance)),
        (OrderItem, _items(size, chance)),
        (Event, _events(size, chance)),
    ):
        with engine.begin() as connection:
            for batch in _batches(rows):
                connection.execute(insert(model), batch)
                progress(len(batch))
    if engine.dialect.name == "postgresql":
        _advance_sequences(engine)
        _analyze(engine)
    engine.dispose()  # the shop opens with a pool of its own


def _advance_sequences(engine: Engine) -> None:
    """PostgreSQL does not notice that rows bring their ids along."""
    with engine.begin() as connection:
        for table in Base.metadata.tables.values():
            sequence = func.pg_get_serial_sequence(table.name, table.c.id.name)
            connection.execute(select(func.setval(sequence, select(func.max(table.c.id)).scalar_subquery())))


def _analyze(engine: Engine) -> None:
    """Gather statistics of the shop's tables, as PostgreSQL itself would within a minute."""
    with engine.begin() as connection:
        for table in Base.metadata.tables:
            connection.exec_driver_sql(f"ANALYZE {table}")


def _customers(size: Size) -> Iterator[dict[str, Any]]:
    for id_ in range(1, size.customers + 1):
        yield {"id": id_, "name": f"Customer {id_}", "email": f"customer{id_}@example.org"}


def _products(size: Size, chance: random.Random) -> Iterator[dict[str, Any]]:
    for id_ in range(1, size.products + 1):
        name = f"{chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)} {id_}"
        description = " ".join(chance.choices(_ADJECTIVES + _NOUNS, k=20))
        yield {"id": id_, "name": name, "description": description, "price": chance.randrange(500, 20_000)}


def _orders(size: Size, chance: random.Random) -> Iterator[dict[str, Any]]:
    for id_ in range(1, size.orders + 1):
        placed = OPENING + timedelta(minutes=7 * id_)
        customer = chance.randint(1, size.customers)
        yield {"id": id_, "customer_id": customer, "placed": placed, "reference": f"R{id_:08}"}


def _items(size: Size, chance: random.Random) -> Iterator[dict[str, Any]]:
    for id_ in range(size.orders * ITEMS_PER_ORDER):
        product, quantity = chance.randint(1, size.products), chance.randint(1, 4)
        yield {"id": id_ + 1, "order_id": id_ // ITEMS_PER_ORDER + 1, "product_id": product, "quantity": quantity}


def _events(size: Size, chance: random.Random) -> Iterator[dict[str, Any]]:
    for id_ in range(1, size.events + 1):
        yield {
            "id": id_,
            "session": f"s{chance.randrange(size.events // 10):06}",
            "kind": chance.choice(_KINDS),
            "product_id": chance.randint(1, size.products),
            "at": OPENING + timedelta(seconds=41 * id_),
        }


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
