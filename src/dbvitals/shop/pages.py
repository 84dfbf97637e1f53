"""The shop's requests, each with the mistake that it is there to show."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from dbvitals.shop.cache import PRODUCTS, RECOMMENDATIONS, Cache
from dbvitals.shop.models import Customer, Event, Order, OrderItem, Product
from dbvitals.shop.seed import OPENING

PAGE = 20


class Pages:
    """What the shop answers.

    Args:
        rendezvous: where the payments during an outage of the payment provider wait for each other.
        outage: seconds that the payment provider takes then.
    """

    def __init__(self, engine: Engine, cache: Cache, rendezvous: threading.Barrier, outage: float) -> None:
        self._engine = engine
        self._cache = cache
        self._rendezvous = rendezvous
        self._outage = outage

    def list_orders(self, page: int) -> list[dict[str, Any]]:
        """N+1: for each order of a page, its customer and its items are fetched one by one, without an index."""
        newest = select(Order).order_by(Order.id.desc()).offset(page * PAGE).limit(PAGE)
        listed = []
        with Session(self._engine) as session:
            for order in session.scalars(newest).all():
                name = order.customer.name
                articles = sum(item.quantity for item in order.items)
                listed.append({"order": order.id, "customer": name, "articles": articles})
        return listed

    def orders_of_customer(self, customer: int) -> int:
        """No index on ``customer_id``: every order is read to find a few."""
        with Session(self._engine) as session:
            return len(session.scalars(select(Order).where(Order.customer_id == customer)).all())

    def search(self, word: str) -> list[str]:
        """``LIKE '%word%'``: no index can help, and names and descriptions are long."""
        with Session(self._engine) as session:
            found = Product.name.contains(word) | Product.description.contains(word)
            return list(session.scalars(select(Product.name).where(found).order_by(Product.price).limit(20)))

    def show_product(self, product: int) -> Any:
        """A cache as it should be: few products, asked for often."""

        def load_product() -> dict[str, Any]:
            with Session(self._engine) as session:
                found = session.get_one(Product, product)
                return {"name": found.name, "price": found.price}

        return self._cache.fetch(PRODUCTS, str(product), load_product)

    def recommend(self, visitor: str, number: int) -> Any:
        """A cache that cannot help: its key holds the number of the request."""

        def load_recommendations() -> list[int]:
            with Session(self._engine) as session:
                seen = select(Event.product_id).where(Event.session == visitor).order_by(Event.at.desc()).limit(5)
                return list(session.scalars(seen))

        return self._cache.fetch(RECOMMENDATIONS, f"{visitor}:{number}", load_recommendations)

    def export_events(self) -> dict[str, int]:
        """Far too many rows: all events are fetched to be counted by kind."""
        kinds: dict[str, int] = {}
        with Session(self._engine) as session:
            for event in session.scalars(select(Event)):
                kinds[event.kind] = kinds.get(event.kind, 0) + 1
        return kinds

    def place_order(self, customer: int, reference: str, products: list[int]) -> int:
        """A reference that comes twice, as from a double click, violates a constraint."""
        with Session(self._engine) as session:
            order = Order(customer_id=customer, placed=OPENING + timedelta(days=400), reference=reference)
            session.add(order)
            session.flush()
            session.add_all(OrderItem(order_id=order.id, product_id=product, quantity=1) for product in products)
            session.commit()
            return order.id

    def pay(self, customer: int, *, outage: bool) -> int:
        """A connection is held while the payment provider is asked: in an outage, the pool runs dry."""
        if outage:
            with contextlib.suppress(threading.BrokenBarrierError):  # the others may come too late
                self._rendezvous.wait(timeout=2)
        with Session(self._engine) as session:
            name = session.scalar(select(Customer.name).where(Customer.id == customer))
            time.sleep(self._outage if outage else 0.004)
            total = session.scalar(select(func.count(Order.id)).where(Order.customer_id == customer))
            return total or len(name or "")
