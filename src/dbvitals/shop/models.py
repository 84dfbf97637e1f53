"""The tables of the shop.

There are no foreign keys in the database, only in the ORM, as in many services; and so, as in many services, nobody
thought of indexes on ``shop_orders.customer_id`` and ``shop_order_items.order_id``.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The shop's metadata."""


class Customer(Base):
    """Who buys."""

    __tablename__ = "shop_customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    email: Mapped[str] = mapped_column(String(120), unique=True)


class Product(Base):
    """What there is to buy."""

    __tablename__ = "shop_products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(String(400))
    price: Mapped[int]


class Order(Base):
    """What somebody bought."""

    __tablename__ = "shop_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int]
    placed: Mapped[datetime]
    reference: Mapped[str] = mapped_column(String(40), unique=True)

    customer: Mapped[Customer] = relationship(
        primaryjoin="foreign(Order.customer_id) == Customer.id", lazy="select", viewonly=True
    )
    items: Mapped[list[OrderItem]] = relationship(
        primaryjoin="Order.id == foreign(OrderItem.order_id)", lazy="select", viewonly=True
    )


class OrderItem(Base):
    """How much of what."""

    __tablename__ = "shop_order_items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]
    product_id: Mapped[int]
    quantity: Mapped[int]


class Event(Base):
    """What somebody looked at."""

    __tablename__ = "shop_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    session: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    product_id: Mapped[int]
    at: Mapped[datetime]
