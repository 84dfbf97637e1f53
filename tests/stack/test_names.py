"""Names of the contract, as Prometheus has them."""

from __future__ import annotations

import pytest

from dbvitals.stack.names import Kind, label, metric


@pytest.mark.parametrize(
    "name, unit, kind, translated",
    [
        ("db.client.operation.duration", "s", "histogram", "db_client_operation_duration_seconds"),
        ("db.client.response.returned_rows", "{row}", "histogram", "db_client_response_returned_rows"),
        ("db.client.connection.timeouts", "{timeout}", "counter", "db_client_connection_timeouts_total"),
        ("dbvitals.index_hint.saving", "s/h", "gauge", "dbvitals_index_hint_saving_seconds_per_hour"),
        ("pool.use", "1", "gauge", "pool_use_ratio"),
        ("pool.uses", "1", "counter", "pool_uses_total"),
        ("wait.seconds", "s", "gauge", "wait_seconds"),
        ("uses.total", "", "counter", "uses_total"),
        ("io.total.read", "By", "counter", "io_read_bytes_total"),
        ("rows", "{row}/s", "gauge", "rows_per_second"),
        ("a..b--c", "", "gauge", "a_b_c"),
        ("2xx", "", "counter", "_2xx_total"),
    ],
)
def test_a_metric_has_its_unit_and_kind_in_its_name(name: str, unit: str, kind: Kind, translated: str) -> None:
    assert metric(name, unit, kind) == translated


def test_a_label_has_underscores() -> None:
    assert label("db.client.connection.pool.name") == "db_client_connection_pool_name"
    assert label("2xx") == "key_2xx"
