"""What a query span tells of SQLAlchemy's ORM and of its parameters, beside what it always tells."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry.context import Context
from opentelemetry.trace import set_span_in_context
from sqlalchemy.orm import Session, declarative_base, joinedload, relationship, selectinload

from dbvitals import testing
from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.parameters import MOST_BYTES, MOST_PARAMETERS, ParametersHash, plain_of

Base: Any = declarative_base()


class User(Base):
    __tablename__ = "dbv_user"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String(20))
    orders = relationship("Order", back_populates="user")


class Order(Base):
    __tablename__ = "dbv_order"
    id = sa.Column(sa.Integer, primary_key=True)
    user_id = sa.Column(sa.ForeignKey("dbv_user.id"))
    user = relationship(User, back_populates="orders")


@pytest.fixture
def engine(engine_of: Callable[..., Any]) -> Any:
    engine = engine_of("sqlite", table=False)
    Base.metadata.create_all(engine)
    with Session(engine, future=True) as session:
        session.add_all(User(id=n, name=f"user {n}", orders=[Order(), Order()]) for n in range(1, 4))
        session.commit()
    return engine


def relationships(seen: testing.Seen) -> list[object]:
    return [(span.attributes or {}).get(semconv.RELATIONSHIP) for span in seen.spans()]


def hashes(seen: testing.Seen) -> list[object]:
    return [
        (span.attributes or {}).get(semconv.PARAMETERS_HASH)
        for span in seen.spans()
        if semconv.FINGERPRINT in (span.attributes or {})
    ]


def test_a_lazy_load_names_its_relationship(engine: Any, seen: testing.Seen) -> None:
    with Session(engine, future=True) as session:
        for user in session.execute(sa.select(User)).scalars().all():
            assert len(user.orders) == 2
    assert relationships(seen) == [None, "User.orders", "User.orders", "User.orders"]


def test_so_does_one_that_finds_its_object_by_key(engine: Any, seen: testing.Seen) -> None:
    with Session(engine, future=True) as session:
        assert session.execute(sa.select(Order)).scalars().first().user.name == "user 1"
    assert relationships(seen) == [None, "Order.user"]


def test_queries_of_the_older_style_name_theirs_too(engine: Any, seen: testing.Seen) -> None:
    with Session(engine, future=True) as session:
        assert len(session.query(User).order_by(User.id).first().orders) == 2
    assert relationships(seen) == [None, "User.orders"]


@pytest.mark.parametrize("eager", [selectinload, joinedload])
def test_what_is_loaded_eagerly_is_no_lazy_load(eager: Any, engine: Any, seen: testing.Seen) -> None:
    with Session(engine, future=True) as session:
        for user in session.execute(sa.select(User).options(eager(User.orders))).unique().scalars().all():
            assert len(user.orders) == 2
        session.expire_all()
        session.get(User, 1)
    assert set(relationships(seen)) == {None}


def test_where_the_inside_of_sqlalchemy_has_changed_the_span_is_there_without_it(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.orm.context import QueryContext

    guard.reset()
    with testing.observe() as seen, Session(engine, future=True) as session:
        (user, *_) = session.execute(sa.select(User)).scalars().all()
        monkeypatch.setattr(QueryContext.default_load_options, "_lazy_loaded_from", property(_gone), raising=False)
        session.get(User, 2)
        assert len(user.orders) == 2
        monkeypatch.undo()
    assert len(seen.spans()) == 2
    assert guard.faults().keys() == {"orm.relationship_of"}
    guard.reset()


def _gone(_options: object) -> Any:
    raise AttributeError("_lazy_loaded_from")


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unjudged() -> Iterator[testing.Seen]:
    """Spans of queries of which nobody knows whether they come again: each has its hash."""
    with testing.observe(config=Config(slow=False)) as seen:
        yield seen


def test_within_a_trace_equal_parameters_have_equal_hashes_and_others_have_not(
    engine: Any, unjudged: testing.Seen
) -> None:
    seen = unjudged
    query = sa.text("SELECT name FROM dbv_user WHERE id = :id")
    with seen.tracer_provider.get_tracer("t").start_as_current_span("GET /"), engine.connect() as connection:
        for user in (1, 1, 2):
            connection.execute(query, {"id": user}).all()
        for text in ("SELECT name FROM dbv_user WHERE id = 1", "SELECT name FROM dbv_user WHERE id = 2"):
            connection.execute(sa.text(text)).all()
    one, same, other, literal, other_literal = hashes(seen)
    assert one == same
    assert len({one, other, literal, other_literal}) == 4
    assert isinstance(one, str)
    assert len(one) == 16


def test_another_trace_has_other_hashes(engine: Any, unjudged: testing.Seen) -> None:
    seen = unjudged
    for _ in range(2):
        with seen.tracer_provider.get_tracer("t").start_as_current_span("GET /"), engine.connect() as connection:
            connection.execute(sa.text("SELECT name FROM dbv_user WHERE id = :id"), {"id": 1}).all()
    one, other = hashes(seen)
    assert one is not None
    assert other not in (one, None)


def test_where_queries_are_judged_only_those_that_come_again_have_a_hash(engine: Any, seen: testing.Seen) -> None:
    query = sa.text("SELECT name FROM dbv_user WHERE id = :id")
    tracer = seen.tracer_provider.get_tracer("t")
    with tracer.start_as_current_span("GET /"), engine.connect() as connection:
        for user in (1, 2, 2):
            connection.execute(query, {"id": user}).all()
        with tracer.start_as_current_span("inner"):
            for user in (1, 3):
                connection.execute(query, {"id": user}).all()
    first, other, same, elsewhere, fourth = hashes(seen)
    assert first is None  # of its kind
    assert other == same != fourth
    assert None not in (other, elsewhere, fourth)
    assert elsewhere not in (other, fourth)


def test_there_is_no_hash_outside_a_trace_for_a_batch_or_for_what_returns_no_rows(
    engine: Any, seen: testing.Seen
) -> None:
    insert = sa.text("INSERT INTO dbv_user (name) VALUES (:name)")
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT name FROM dbv_user WHERE id = :id"), {"id": 1}).all()
        connection.execute(insert, {"name": "x"})
    with seen.tracer_provider.get_tracer("t").start_as_current_span("POST /"), engine.begin() as connection:
        connection.execute(insert, {"name": "x"})
        connection.execute(insert, [{"name": "y"}, {"name": "z"}])
    assert hashes(seen) == [None] * 4


def test_it_can_be_switched_off(engine: Any) -> None:
    with testing.observe(config=Config(parameters_hash=False)) as seen:
        with seen.tracer_provider.get_tracer("t").start_as_current_span("GET /"), engine.connect() as connection:
            connection.execute(sa.text("SELECT name FROM dbv_user WHERE id = :id"), {"id": 1}).all()
        assert hashes(seen) == [None]


@pytest.fixture
def within(seen: testing.Seen) -> Context:
    return set_span_in_context(seen.tracer_provider.get_tracer("t").start_span("GET /"))


class Opaque:
    """A value of the application's, whose code is not ours to call."""

    def __repr__(self) -> str:
        raise AssertionError("it was called")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "parameters",
    [
        (1,),
        {"id": 1, "name": "x"},
        None,
        (datetime.date(2026, 1, 5), datetime.datetime(2026, 1, 5), datetime.timedelta(1), datetime.time(9)),
        {"price": decimal.Decimal("9.50"), "key": uuid.UUID(int=7)},
        ([1, 2], b"x", 1.5, None, True),
    ],
)
def test_parameters_of_the_usual_types_are_hashed(parameters: Any, within: Context) -> None:
    one, other = ParametersHash(), ParametersHash()
    plain, same, elsewhere = (plain_of(text, parameters) for text in ("SELECT ?", "SELECT ?", "SELECT  ?"))
    assert plain is not None
    assert same is not None
    assert elsewhere is not None
    assert one.of(within, plain) is not None
    assert one.of(within, plain) == other.of(within, same)
    assert one.of(within, plain) != one.of(within, elsewhere)


@pytest.mark.parametrize(
    "parameters", [(Opaque(),), {"x": Opaque()}, (datetime.date(2026, 1, 5), Opaque()),
                   tuple(range(MOST_PARAMETERS + 1)), ("x" * (MOST_BYTES + 1),)],
    ids=["opaque", "named", "beside a date", "many", "long"],
)  # fmt: skip
def test_others_and_large_ones_have_no_hash(parameters: Any) -> None:
    assert plain_of("SELECT ?", parameters) is None


def test_values_that_only_look_alike_differ() -> None:
    told = [plain_of("SELECT ?", (value,)) for value in ("1", 1, 1.0, True, b"1", None)]
    assert len(set(told)) == 6


def test_without_the_key_of_the_process_nobody_can_try_values(run_script: Callable[..., str]) -> None:
    script = """
        from dbvitals_instrumentation.parameters import ParametersHash, plain_of
        from dbvitals_instrumentation.spans import current
        from opentelemetry.trace import SpanContext
        print(ParametersHash().of(current(SpanContext(7, 8, False)), plain_of("SELECT ?", (1,))))
    """
    assert run_script(script, PYTHONHASHSEED="0") != run_script(script, PYTHONHASHSEED="0")


def test_a_context_of_no_span_has_none() -> None:
    assert ParametersHash().of(Context(), b"SELECT ?") is None


# --- long holds -------------------------------------------------------------------------------------------------------


def test_a_long_hold_of_a_connection_is_a_span_where_there_is_a_trace(
    engine: Any, seen: testing.Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbvitals_instrumentation import pool

    monkeypatch.setattr(pool, "LONG_HOLD", 0)
    engine.connect().close()
    assert seen.spans(semconv.HOLD_SPAN) == []  # nobody could say what it was held for
    with seen.tracer_provider.get_tracer("t").start_as_current_span("GET /") as root, engine.connect() as connection:
        connection.execute(sa.text("SELECT 1")).all()
    (hold,) = seen.spans(semconv.HOLD_SPAN)
    (_, checkout) = seen.spans(semconv.CHECKOUT_SPAN)
    assert hold.parent is not None
    assert hold.parent.span_id == root.get_span_context().span_id
    assert hold.start_time == checkout.end_time
    assert dict(hold.attributes or {}) == {
        semconv.POOL_NAME: (checkout.attributes or {})[semconv.POOL_NAME],
        semconv.EXEMPLAR: True,  # the first of its bucket
    }
    monkeypatch.setattr(pool, "LONG_HOLD", 10**15)
    with seen.tracer_provider.get_tracer("t").start_as_current_span("GET /"), engine.connect():
        pass
    assert len(seen.spans(semconv.HOLD_SPAN)) == 1
