from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from sqlalchemy.orm import Session, declarative_base, relationship, selectinload

from dbvitals import testing
from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.telemetry import Telemetry
from dbvitals_processors import trace_rules
from dbvitals_processors.findings import Example, Finding, Findings
from dbvitals_processors.pool_span import PoolSpan
from dbvitals_processors.query_span import Caller, QuerySpan, read
from dbvitals_processors.rules.checkout_wait import checkout_wait
from dbvitals_processors.rules.duplicate import duplicate
from dbvitals_processors.rules.idle_in_transaction import idle_in_transaction
from dbvitals_processors.rules.join_or_selectinload import join_or_selectinload
from dbvitals_processors.rules.n_plus_one import n_plus_one
from dbvitals_processors.rules.rule import Limits
from dbvitals_processors.rules.too_many_rows import too_many_rows
from dbvitals_processors.trace_rules import RULES, TraceRules
from dbvitals_processors.traces import Trace, Work

MS = 1_000_000
PAGES = Caller("list_orders.<locals>.<listcomp>", "/srv/shop/pages.py", 41)
ITEMS = "SELECT a FROM items WHERE order_id = ?"


def query(
    at: float,
    text: str = ITEMS,
    *,
    took: float = 2,
    rows: int | None = 3,
    parameters: object = ...,
    parent: int | None = 1,
    batch: int = 1,
    error: str | None = None,
    relationship: str | None = None,
    caller: Caller | None = None,
) -> QuerySpan:
    """A query ``at`` so many milliseconds; each asks with parameters of its own if they are not given."""
    verb, *_ = text.split()
    words = text.replace(",", " ").split()
    before = {"SELECT": "FROM", "INSERT": "INTO", "UPDATE": "UPDATE", "DELETE": "FROM"}.get(verb)
    table = words[words.index(before) + 1] if before in words else ""
    summary = f"{verb} {table}".strip()
    told = None if parameters is None else str(at if parameters is ... else parameters)
    return QuerySpan(
        "postgresql", "shop", verb, table, summary, text, f"fingerprint of {text}", round(at * MS),
        round((at + took) * MS), rows, batch, error, None, None, None, caller, 7, round(at * 1000) + 2, parent, told,
        relationship,
    )  # fmt: skip


def trace(
    queries: Sequence[QuerySpan],
    *,
    serves: bool = True,
    lasts: float = 1000,
    checkouts: Sequence[PoolSpan] = (),
    holds: Sequence[PoolSpan] = (),
    work: Sequence[Work] = (),
) -> Trace:
    root = Work("GET /orders", 0, round(lasts * MS), 1, None, serves)
    ordered = sorted(queries, key=lambda one: one.start)
    return Trace(7, root, tuple(ordered), tuple(checkouts), tuple(holds), (*work, root))


def loop(times: int, text: str = ITEMS, *, start: float = 10, every: float = 3, **options: Any) -> list[QuerySpan]:
    return [query(start + every * number, text, **options) for number in range(times)]


def found(rule: Callable[..., Any], queries: Sequence[QuerySpan], **options: Any) -> list[Finding]:
    return list(rule(trace(queries, **options), Limits()))


# --- loops ------------------------------------------------------------------------------------------------------------


def test_a_loop_is_found_with_what_one_query_instead_would_save() -> None:
    queries = [*loop(9), query(40, caller=PAGES)]
    (one,) = found(n_plus_one, queries)
    assert (one.rule, one.summary, one.fingerprint) == ("n_plus_one", "SELECT items", f"fingerprint of {ITEMS}")
    assert (one.occurrences, one.queries, one.wasted) == (1, 10, pytest.approx(0.018))
    assert one.caller == PAGES
    assert one.advice == "Fetch items for the loop in list_orders by one WHERE … IN: 1 query, not 10"
    assert one.example == Example(f"{7:032x}", 10, 30, 18 * MS)


def test_one_query_fewer_than_the_threshold_is_no_loop() -> None:
    assert found(n_plus_one, loop(4)) == []
    assert len(found(n_plus_one, loop(5))) == 1


def test_two_kinds_that_take_turns_are_two_loops() -> None:
    customers = loop(6, "SELECT name FROM customers WHERE id = ?", start=12, every=6)
    assert {one.summary for one in found(n_plus_one, [*loop(6, every=6), *customers])} == {
        "SELECT items",
        "SELECT customers",
    }


WRITE = "UPDATE stock SET n = ? WHERE id = ?"
NOT_A_LOOP: dict[str, list[QuerySpan]] = {
    "each under a span of its own": [query(10 + 3 * n, parent=n + 1) for n in range(9)],
    "a script without a trace": [query(10 + 3 * n, parent=None) for n in range(9)],
    "batches": loop(9, batch=100),
    "what is tried again": loop(9, error="40001"),
    "tasks that ask at once": [query(10 + n / 10, took=30) for n in range(9)],
    "waves of tasks that ask at once": [query(10 + 40 * (n // 5) + n % 5 / 10, took=30) for n in range(30)],
    "the same parameters each time": loop(9, parameters="same"),
    "pages with OFFSET": [*loop(8, "SELECT a FROM t ORDER BY id LIMIT ? OFFSET ?", rows=50), query(90, rows=7)],
    "pages by key": loop(8, "SELECT a FROM t WHERE id > ? ORDER BY id LIMIT ?", rows=50),
    "chunks of many rows": loop(8, "SELECT a FROM t WHERE id IN (?)", rows=500),
    "polling": loop(9, "SELECT a FROM jobs WHERE state = ?", every=1000, rows=0),
    "locks": loop(9, "SELECT a FROM jobs WHERE id = ? FOR NO KEY UPDATE SKIP LOCKED"),
    "catalogues, as migrations ask them": loop(9, "SELECT relname FROM pg_catalog.pg_class WHERE relname = ?"),
    "the catalogue of SQLite": loop(9, "SELECT name FROM sqlite_master WHERE name = ?"),
    "no table": loop(9, "SELECT nextval(?)"),
    "savepoints": loop(9, "SAVEPOINT sa"),
    "PRAGMA": loop(9, "PRAGMA table_info(t)"),
    "DDL": loop(9, "CREATE TABLE t (a INTEGER)"),
    "the few writes of a unit of work": loop(12, WRITE, parameters=None),
}


@pytest.mark.parametrize("queries", NOT_A_LOOP.values(), ids=NOT_A_LOOP)
def test_what_only_looks_like_a_loop_is_left_alone(queries: list[QuerySpan]) -> None:
    assert found(n_plus_one, queries) == []
    assert found(join_or_selectinload, queries) == []


def test_writes_one_by_one_are_advised_to_go_together() -> None:
    (one,) = found(n_plus_one, loop(40, WRITE, parameters=None, caller=PAGES))
    assert one.advice == "Send UPDATE stock in list_orders once with a list of parameters, not 40 times"


def test_queries_whose_parameters_are_not_known_may_be_a_loop() -> None:
    assert len(found(n_plus_one, loop(6, parameters=None))) == 1


def test_latest_few_of_each_are_no_pages() -> None:
    assert len(found(n_plus_one, loop(9, "SELECT a FROM t WHERE x = ? ORDER BY id LIMIT ? OFFSET ?", rows=5))) == 1


# --- join or selectinload ---------------------------------------------------------------------------------------------


def test_a_lazy_load_in_a_loop_names_the_relationship_however_slow_the_loop_is() -> None:
    (one,) = found(join_or_selectinload, loop(20, relationship="Order.items", every=700))
    assert one.advice == "Add selectinload(Order.items) to the query for Order: 1 query, not 20"


def test_a_look_up_for_each_row_of_a_query_names_both_tables() -> None:
    orders = query(1, "SELECT id FROM orders LIMIT ?", rows=20)
    (one,) = found(join_or_selectinload, [orders, *loop(20)])
    assert one.advice == "Join items to the query for orders: 1 query, not 21"


@pytest.mark.parametrize("rows", [0, 19, 2000, None])
def test_a_query_with_other_rows_than_the_loop_has_rounds_is_not_what_it_goes_through(rows: int | None) -> None:
    orders = query(1, "SELECT id FROM orders LIMIT ?", rows=rows)
    assert found(join_or_selectinload, [orders, *loop(20)]) == []
    assert len(found(n_plus_one, [orders, *loop(20)])) == 1


# --- duplicates -------------------------------------------------------------------------------------------------------

SETTINGS = "SELECT a FROM settings WHERE user_id = ?"


def same(at: float, **options: Any) -> QuerySpan:
    return query(at, SETTINGS, parameters="same", **options)


def test_a_query_with_the_same_parameters_is_found_wherever_in_the_trace_it_is() -> None:
    (one,) = found(duplicate, [same(1, parent=2), same(300, parent=3, took=4), same(500)])
    assert (one.queries, one.wasted) == (3, pytest.approx(0.006))
    assert one.advice == "Ask settings once and keep the answer: 3 times with the same parameters"


@pytest.mark.parametrize(
    "queries",
    [
        [same(1), query(5, SETTINGS, parameters="other")],
        [same(1), query(5, "UPDATE settings SET a = ?"), same(9)],
        [same(1), query(5, "CALL something()"), replace(same(9), parameters_hash=None)],
        [same(1), replace(query(5, "DELETE"), summary="DELETE"), same(9)],
        [same(1, error="40001"), same(9)],
        [same(number * 1000) for number in range(5)],
        [*loop(6, SETTINGS), same(100), same(110)],
        [query(at, f"{SETTINGS} FOR UPDATE", parameters="same") for at in (1, 9)],
    ],
    ids=["other parameters", "a write between", "unknown", "a write to who knows what", "tried again", "polling",
         "a loop of it", "locks"],
)  # fmt: skip
def test_what_is_asked_again_for_a_reason_is_no_duplicate(queries: list[QuerySpan]) -> None:
    assert found(duplicate, queries) == []


def test_a_write_to_another_table_changes_nothing() -> None:
    assert len(found(duplicate, [same(1), query(5, WRITE), same(9)])) == 1


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_request_that_fetches_thousands_of_rows_is_found() -> None:
    (one,) = found(too_many_rows, [query(1, "SELECT a FROM events", rows=12_000, took=120)])
    assert one.wasted == pytest.approx(0.11)
    assert one.advice == "Filter, LIMIT or aggregate events in the database: it sent 12,000 rows"
    (one,) = found(too_many_rows, [query(1, rows=5_000)])
    assert one.advice == "Page items with LIMIT, or aggregate in the database: it sent 5,000 rows"


def test_a_job_may_fetch_more_than_a_request() -> None:
    assert found(too_many_rows, [query(1, rows=12_000)], serves=False) == []
    assert len(found(too_many_rows, [query(1, rows=120_000)], serves=False)) == 1
    assert found(too_many_rows, [query(1, rows=1_000), query(5, rows=None)]) == []


# --- pools ------------------------------------------------------------------------------------------------------------


def pool_span(start: float, end: float, *, held: bool = False, new: bool = False, failed: bool = False) -> PoolSpan:
    return PoolSpan("shop", held, round(start * MS), round(end * MS), new, failed, 99, 1)


def test_a_connection_that_idles_while_other_work_is_done_is_found_with_the_work() -> None:
    queries = [query(10, "SELECT a FROM customers WHERE id = ?"), query(260, took=5)]
    pay = Work("POST", 15 * MS, 255 * MS, 50, 1, False)
    (one,) = found(idle_in_transaction, queries, holds=[pool_span(5, 270, held=True)], work=[pay])
    assert one.summary == "SELECT customers"
    assert one.wasted == pytest.approx(0.248)
    assert one.advice == "Commit after customers, before POST: 94% of the hold was idle"


def test_work_that_nobody_sees_must_last_longer() -> None:
    assert found(idle_in_transaction, [query(10)], holds=[pool_span(5, 400, held=True)]) == []
    (one,) = found(idle_in_transaction, [query(10)], holds=[pool_span(5, 800, held=True)])
    assert one.advice == "Commit after items, before other work: 99% of the hold was idle"


def test_a_span_whose_name_may_hold_a_value_is_not_named() -> None:
    charge = Work("charge customer 4711", 15 * MS, 255 * MS, 50, 1, False)
    (one,) = found(idle_in_transaction, [query(10)], holds=[pool_span(5, 270, held=True)], work=[charge])
    assert "4711" not in one.advice


def test_a_hold_in_which_queries_run_all_the_time_or_none_at_all_is_not_idle() -> None:
    hold = pool_span(5, 2000, held=True)
    assert found(idle_in_transaction, loop(19, every=100, took=99), holds=[hold]) == []
    assert found(idle_in_transaction, [query(10, took=1900), query(20, took=5)], holds=[hold]) == []
    assert found(idle_in_transaction, [], holds=[hold]) == []


def test_a_request_that_waits_for_connections_most_of_its_time_is_found() -> None:
    waits = [pool_span(0, 300), pool_span(250, 700, failed=True)]  # in parallel for a while
    (one,) = found(checkout_wait, [query(800)], checkouts=waits)
    assert (one.namespace, one.summary, one.fingerprint, one.caller) == ("shop", "pool shop", "", None)
    assert (one.queries, one.wasted) == (2, pytest.approx(0.7))
    assert one.advice == "Enlarge pool shop, or return connections sooner: 70% of a request was waiting"
    (one,) = found(checkout_wait, [], checkouts=[pool_span(0, 900, new=True)])
    assert one.advice == "Keep more connections of pool shop open (pool_size): 90% of a request was waiting"


def test_waits_that_are_short_or_a_small_part_are_not_the_cause() -> None:
    assert found(checkout_wait, [], checkouts=[pool_span(0, 90)], lasts=100) == []
    assert found(checkout_wait, [], checkouts=[pool_span(0, 400)]) == []
    assert list(checkout_wait(Trace(7, None, (), (pool_span(0, 900),)), Limits())) == []


# --- findings ---------------------------------------------------------------------------------------------------------

findings = st.builds(
    lambda rule, fingerprint, caller, wasted: Finding(
        rule, f"do {wasted}", "shop", fingerprint, "SELECT t", caller, 1, 5, wasted, Example("0" * 32, 5, 9, wasted)
    ),
    st.sampled_from(["n_plus_one", "duplicate"]),
    st.sampled_from("abc"),
    st.sampled_from([None, PAGES]),
    st.integers(0, 10**9),
)


def filled(some: Sequence[Finding], limit: int = 500) -> Findings:
    one = Findings(limit)
    one.merge(some)
    return one


@given(st.lists(st.lists(findings, max_size=10), max_size=4))
def test_findings_of_several_processes_are_those_of_one(parts: list[list[Finding]]) -> None:
    merged = Findings()
    for part in reversed(parts):
        merged.merge(Findings.from_json(json.loads(json.dumps(filled(part).to_json()))).findings())
    assert merged.to_json() == filled([one for part in parts for one in part]).to_json()


@given(st.lists(findings, min_size=3, max_size=3))
def test_their_order_does_not_matter(some: list[Finding]) -> None:
    assert len({json.dumps(filled(order).to_json()) for order in permutations(some)}) == 1


def test_of_too_many_those_that_waste_least_are_forgotten() -> None:
    some = [Finding("duplicate", "", "", f"f{n:03}", "", None, 1, 2, n, Example("", 2, 0, n)) for n in range(1000)]
    kept = filled(some, 100).findings()
    assert len(kept) <= 100
    assert [one.nanoseconds for one in kept[:50]] == list(range(999, 949, -1))


# --- the whole --------------------------------------------------------------------------------------------------------

Base: Any = declarative_base()


class User(Base):
    __tablename__ = "dbv_user"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String(20))
    orders = relationship("Order")


class Order(Base):
    __tablename__ = "dbv_order"
    id = sa.Column(sa.Integer, primary_key=True)
    user_id = sa.Column(sa.ForeignKey("dbv_user.id"))


@pytest.fixture
def engine() -> Any:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    Base.metadata.create_all(engine)
    with Session(engine, future=True) as session:
        session.add_all(User(id=n, name=f"user {n}", orders=[Order(), Order()]) for n in range(1, 9))
        session.commit()
    return engine


def request(seen: testing.Seen, answer: Callable[[], Any]) -> None:
    with seen.tracer_provider.get_tracer("shop").start_as_current_span("GET /users", kind=SpanKind.SERVER):
        answer()


def judge(seen: testing.Seen, rules: TraceRules) -> dict[str, Finding]:
    for span in seen._exporter.get_finished_spans():
        rules.see(span, read(span))
    seen.clear()
    return {finding.rule: finding for finding in rules.findings()}


def lazily(engine: Any) -> None:
    with Session(engine, future=True) as session:
        for user in session.execute(sa.select(User)).scalars().all():
            assert len(user.orders) == 2


def test_lazy_loads_of_sqlalchemy_are_found_and_named_and_counted(engine: Any) -> None:
    with testing.observe() as seen:
        rules = TraceRules(telemetry=Telemetry(meter_provider=seen.meter_provider))
        for _ in range(2):
            request(seen, lambda: lazily(engine))
            told = judge(seen, rules)
        assert set(told) == {"n_plus_one", "join_or_selectinload"}
        assert told["n_plus_one"].advice == "Load User.orders eagerly for the loop in lazily: 1 query, not 8"
        assert told["join_or_selectinload"].advice == (
            "Add selectinload(User.orders) to the query for User: 1 query, not 8"
        )
        assert (told["n_plus_one"].occurrences, told["n_plus_one"].queries) == (2, 16)
        (point,) = seen.points(semconv.QUERY_N_PLUS_ONE)
    assert point.value == 2
    assert dict(point.attributes) == {
        semconv.DB_NAMESPACE: ":memory:",
        semconv.DB_QUERY_SUMMARY: "SELECT dbv_order",
        semconv.FINGERPRINT: told["n_plus_one"].fingerprint,
        semconv.CODE_FUNCTION_NAME: "lazily",
    }
    engine.dispose()


def test_the_mended_loop_is_quiet(engine: Any) -> None:
    def eagerly() -> None:
        with Session(engine, future=True) as session:
            for user in session.execute(sa.select(User).options(selectinload(User.orders))).scalars().all():
                assert len(user.orders) == 2

    with testing.observe() as seen:
        request(seen, eagerly)
        assert judge(seen, TraceRules(2)) == {}
    engine.dispose()


def test_a_script_that_fills_tables_row_by_row_is_quiet(engine: Any) -> None:
    with testing.observe() as seen, engine.begin() as connection:
        for number in range(50):
            connection.execute(sa.text("INSERT INTO dbv_order (user_id) VALUES (:user)"), {"user": number})
        assert judge(seen, TraceRules()) == {}
    engine.dispose()


def test_the_same_question_twice_is_found_without_its_answer_or_its_parameters(engine: Any) -> None:
    def ask() -> None:
        with engine.connect() as connection:
            for _ in range(2):
                connection.execute(sa.text("SELECT id FROM dbv_user WHERE name = :name"), {"name": "geheim"}).all()

    with testing.observe(config=Config(slow=False)) as seen:  # then each has its hash
        rules = TraceRules()
        request(seen, ask)
        assert set(judge(seen, rules)) == {"duplicate"}
    assert "geheim" not in json.dumps([finding.to_json() for finding in rules.findings()])
    engine.dispose()


def test_where_no_query_of_a_loop_has_a_caller_the_last_one_that_had_stands_in() -> None:
    rules = TraceRules()
    rules._remember(query(1), PAGES)
    rules._judge(trace(loop(9)))
    assert {finding.caller for finding in rules.findings()} == {PAGES}


def test_callers_and_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_rules, "MOST_CALLERS", 3)
    monkeypatch.setattr(trace_rules, "MOST_SERIES", 3)
    with testing.observe() as seen:
        rules = TraceRules(telemetry=Telemetry(meter_provider=seen.meter_provider))
        for number in range(9):
            text = f"SELECT a FROM t{number} WHERE id = ?"
            rules._remember(query(1, text), PAGES)
            rules._judge(trace(loop(9, text)))
        points = seen.points(semconv.QUERY_N_PLUS_ONE)
    assert len(rules._callers) == 3
    assert len(points) == 4
    assert {point.value for point in points if point.attributes[semconv.FINGERPRINT] == semconv.OTHER} == {6}


def test_a_trace_that_is_not_over_is_judged_at_the_end_and_a_cleared_one_never() -> None:
    with testing.observe() as seen:
        engine = sa.create_engine("sqlite://")
        with seen.tracer_provider.get_tracer("shop").start_as_current_span("worker"), engine.connect() as connection:
            for number in range(9):
                connection.execute(sa.text("SELECT a FROM (SELECT 1 AS a) t WHERE a = :a"), {"a": number}).all()
            rules, cleared = TraceRules(), TraceRules()
            spans = seen._exporter.get_finished_spans()
        engine.dispose()
    for span in spans:
        rules.see(span, read(span))
        cleared.see(span, read(span))
    assert rules.findings() == []
    rules.expire()
    cleared.clear()
    for one in (rules, cleared):
        one.finish()
    assert cleared.findings() == []


def test_a_fault_in_one_rule_leaves_the_others_alone_and_is_counted() -> None:
    def broken(_trace: Trace, _limits: Limits) -> list[Finding]:
        raise ValueError("geheim")

    guard.reset()
    rules = TraceRules(rules=(broken, *RULES))
    rules._judge(trace(loop(9)))
    assert {finding.rule for finding in rules.findings()} == {"n_plus_one"}
    assert guard.faults() == {"trace_rules.broken": 1}
    guard.reset()


def test_a_fault_in_collecting_is_counted_and_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    guard.reset()
    rules = TraceRules()
    broken: ReadableSpan = object()  # type: ignore[assignment]
    rules.see(broken, None)
    monkeypatch.setattr(rules._traces, "finish", lambda: 1 / 0)
    rules.finish()
    assert guard.faults() == {"trace_rules.see": 1, "trace_rules.judge": 1}
    guard.reset()
