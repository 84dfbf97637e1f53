"""Indexes built for real on a copy, and rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.engine import URL

from dbvitals_processors.hints.advise import advise
from dbvitals_processors.hints.explain import planner_for
from dbvitals_processors.hints.explain.scratch import confirmed
from dbvitals_processors.hints.model import Advice, AdvisorError, WorkloadQuery

pytestmark = pytest.mark.postgresql

_SCHEMA = """
CREATE TABLE documents (id bigint PRIMARY KEY, tags text[] NOT NULL, body text NOT NULL);
INSERT INTO documents
SELECT i, ARRAY['tag' || mod(i, 997), 'tag' || mod(i, 13)], repeat('word ', 20) || i FROM generate_series(1, 20000) i;
ANALYZE documents;
"""
_QUERY = WorkloadQuery("by_tag", "SELECT id FROM documents WHERE tags @> :tags", 600, None, ({"tags": ["tag500"]},))


@pytest.fixture
def databases(postgresql_url: str) -> Iterator[tuple[URL, URL]]:
    """A database and a copy of it."""
    server = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    names = ("scratch_origin", "scratch_copy")
    urls = tuple(make_url(postgresql_url).set(database=name) for name in names)
    with server.connect() as connection:
        for name, url in zip(names, urls, strict=True):
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
            connection.execute(text(f"CREATE DATABASE {name}"))
            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as inside:
                inside.exec_driver_sql(_SCHEMA)
            engine.dispose()
        yield urls[0], urls[1]
        for name in names:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def _advice(url: URL) -> Advice:
    with planner_for(url) as planner:
        return advise(planner, [_QUERY])


def _indexes(url: URL) -> list[str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"))
        names = list(found.scalars())
    engine.dispose()
    return names


def test_an_estimated_index_is_proven_on_the_copy_and_nothing_stays(databases: tuple[URL, URL]) -> None:
    origin, copy = databases
    estimated = _advice(origin)
    assert [hint.verification for hint in estimated.hints] == ["heuristic"]

    proven = confirmed(estimated, origin, copy)

    (hint,) = proven.hints
    assert hint.verification == "explain"
    assert hint.served[0].after < 0.5 * hint.served[0].without
    assert "Bitmap Index Scan" in hint.served[0].plan_after
    assert _indexes(origin) == _indexes(copy) == ["documents_pkey"]


def test_an_index_that_the_copy_does_not_use_is_refused(databases: tuple[URL, URL]) -> None:
    origin, copy = databases
    estimated = _advice(origin)
    engine = create_engine(copy, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM documents WHERE id > 20")
        connection.exec_driver_sql("VACUUM FULL ANALYZE documents")
    engine.dispose()

    proven = confirmed(estimated, origin, copy)

    assert proven.hints == ()
    assert proven.refusals[-1].reason == "built on the scratch database, the planner would not use it"


def test_a_copy_without_the_table_refuses_with_the_reason(databases: tuple[URL, URL]) -> None:
    origin, copy = databases
    estimated = _advice(origin)
    engine = create_engine(copy, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE documents RENAME COLUMN tags TO labels")
    engine.dispose()

    with pytest.raises(AdvisorError, match="scratch database"):
        confirmed(estimated, origin, copy)


def test_the_database_itself_is_never_the_scratch_database(databases: tuple[URL, URL]) -> None:
    origin, _ = databases
    with pytest.raises(AdvisorError, match="name a copy"):
        confirmed(_advice(origin), origin, origin)
