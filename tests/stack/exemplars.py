"""A service whose requests are quick and without fault, so that nothing but an exemplar keeps their traces.

dbvitals run -- python tests/stack/exemplars.py
"""

from __future__ import annotations

from opentelemetry import trace
from sqlalchemy import create_engine, text

REQUESTS = 300
ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT max(i) FROM n"


def main() -> None:
    tracer = trace.get_tracer("exemplars")
    engine = create_engine("sqlite://")
    for number in range(REQUESTS):
        with tracer.start_as_current_span("request"), engine.connect() as connection:
            connection.execute(text(ROWS.format(rows=10_000 if number % 10 else 100)))
    engine.dispose()


if __name__ == "__main__":
    main()
