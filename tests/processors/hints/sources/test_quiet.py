"""What the advisor asks is nobody's telemetry."""

from __future__ import annotations

import sqlalchemy as sa

from dbvitals import testing
from dbvitals_processors.hints.sources.quiet import quiet


def test_questions_of_the_advisor_are_not_observed() -> None:
    engine = sa.create_engine("sqlite://")
    with testing.observe(engine) as seen, engine.connect() as connection:
        with quiet():
            connection.exec_driver_sql("SELECT 1").all()
        connection.exec_driver_sql("SELECT 2 AS seen").all()
    engine.dispose()
    assert len([span for span in seen.spans() if span.name == "SELECT"]) == 1
