"""What was asked so far, read where it is remembered anyway."""

from __future__ import annotations

import sqlalchemy as sa

from dbvitals import testing, watch
from dbvitals_instrumentation.queries import Counted, QueryWatch


def counted() -> list[Counted]:
    assert watch._watch is not None
    (queries,) = (plug for plug in watch._watch.plugs if isinstance(plug, QueryWatch))
    return queries.counted()


def test_each_statement_has_its_calls_and_its_fingerprint_s_time() -> None:
    engine = sa.create_engine("sqlite://")
    with testing.observe(), engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE orders (id INTEGER, note TEXT)")
        for number in range(3):
            connection.exec_driver_sql("SELECT note FROM orders WHERE id = ?", (number,))
        connection.exec_driver_sql("SELECT note FROM orders WHERE id = 4711")
        bound, literal = (one for one in counted() if one.text.startswith("SELECT"))
    engine.dispose()
    assert (bound.text, bound.calls) == ("SELECT note FROM orders WHERE id = ?", 3)
    assert (literal.text, literal.calls) == ("SELECT note FROM orders WHERE id = ?", 1)  # its value was left out
    assert (bound.namespace, bound.system, bound.fingerprint) == (":memory:", "sqlite", literal.fingerprint)
    assert bound.nanoseconds == literal.nanoseconds > 0


def test_nothing_was_asked_of_nobody() -> None:
    with testing.observe():
        sa.create_engine("sqlite://").dispose()
        assert counted() == []
