"""MySQL's and MariaDB's information_schema → :class:`Catalogue`; columns' values from histograms or sampled rows."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from dbvitals_processors.hints.dialects import ticked
from dbvitals_processors.hints.explain import sampled
from dbvitals_processors.hints.model import Catalogue, Column, ForeignKey, Index, Key, Table, TableName

PAGE = 16_384
SMALL = 1_000
"""A table with fewer rows is not sampled: no index is advised for it."""
Row = Mapping[str, Any]


class Reader:
    """Reads the connection's own database; keeps samples for later questions.

    Attributes:
        samples: by table, its columns and sampled rows.
        averages: by table and index, rows for each value of its first key, of its first two, and so on.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection.execution_options(no_parameters=True)
        self.samples: dict[TableName, tuple[tuple[str, ...], list[Any]]] = {}
        self.averages: dict[tuple[TableName, str], tuple[float, ...]] = {}

    def read(self) -> Catalogue:
        """Tables, views, indexes and foreign keys."""
        version, database = self._rows("SELECT version() AS v, database() AS d")[0].values()
        self._database = database
        found: dict[TableName, Table] = {}
        columns, indexes = self._grouped("COLUMNS", "ORDINAL_POSITION"), self._grouped("STATISTICS", "SEQ_IN_INDEX")
        foreign, stored = self._grouped("KEY_COLUMN_USAGE", "ORDINAL_POSITION"), self._stored()
        for row in self._from("TABLES", "TABLE_NAME"):
            table = self._table(row, columns, indexes, foreign, stored)
            found[table.name] = table
        maria = "mariadb" in version.lower()
        numbers = (*map(int, re.findall(r"\d+", version)[:3]), 0, 0, 0)
        return Catalogue(
            "mariadb" if maria else "mysql", found, (database,),
            version=numbers[0] * 10_000 + numbers[1] * 100 + numbers[2],
        )  # fmt: skip

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        result = self._connection.exec_driver_sql(sql)
        names = [name.upper() for name in result.keys()]  # noqa: SIM118 — a result is no mapping
        return [dict(zip(names, row, strict=True)) for row in result]

    def _from(self, view: str, order: str) -> list[dict[str, Any]]:
        return self._rows(f"SELECT * FROM information_schema.{view} WHERE TABLE_SCHEMA = database() ORDER BY {order}")  # noqa: S608

    def _grouped(self, view: str, order: str) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self._from(view, order):
            found[row["TABLE_NAME"]].append(row)
        return found

    def _table(
        self,
        row: Row,
        columns: Mapping[str, list[Row]],
        indexes: Mapping[str, list[Row]],
        foreign: Mapping[str, list[Row]],
        stored: Mapping[tuple[str, str], Row],
    ) -> Table:
        own = row["TABLE_NAME"]
        name = TableName(self._database, own)
        rows, size = float(row["TABLE_ROWS"] or 0), int(row["DATA_LENGTH"] or 0)
        view = row["TABLE_TYPE"] != "BASE TABLE"
        names = tuple(one["COLUMN_NAME"] for one in columns[own])
        keys = _indexes(indexes.get(own, []))
        primary = next((tuple(key.column or "" for key in one.keys) for one in keys if one.name == "PRIMARY"), ())
        sample = self._sample(own, names, primary) if rows >= SMALL and not view else []
        self.samples[name] = (names, sample)
        self._remember(name, indexes.get(own, []), rows)
        found = {}
        for at, one in enumerate(columns[own]):
            column = sampled.column_of(
                names[at], one["COLUMN_TYPE"].lower(), one["IS_NULLABLE"] == "NO", [row[at] for row in sample], rows
            )
            found[names[at]] = _better(
                column, stored.get((own, names[at]), {}), self._leading(name, keys, column), rows
            )
        return Table(
            name, found, rows, max(1, size // PAGE), size + int(row["INDEX_LENGTH"] or 0), primary, tuple(keys),
            tuple(_foreign_keys(foreign.get(own, []))), True, 0.0, "view" if view else "table",
        )  # fmt: skip

    def _remember(self, name: TableName, statistics: Sequence[Row], rows: float) -> None:
        found: dict[str, list[float]] = defaultdict(list)
        for one in statistics:
            found[one["INDEX_NAME"]].append(max(1.0, rows / max(1.0, float(one["CARDINALITY"] or rows / 10 or 1))))
        self.averages |= {(name, index): tuple(averages) for index, averages in found.items()}

    def _leading(self, name: TableName, keys: Sequence[Index], column: Column) -> float | None:
        """Rows for each value of the column, where an index begins with it."""
        for index in keys:
            if index.keys[0].column == column.name and self.averages.get((name, index.name)):
                return self.averages[name, index.name][0]
        return None

    def _sample(self, table: str, columns: Sequence[str], primary: tuple[str, ...]) -> list[Any]:
        """Rows in blocks along a whole-numbered primary key, else the first ones; none where that takes too long."""
        words = ", ".join(f"CASE WHEN length({c}) > {sampled.LONGEST} THEN left({c}, {sampled.LONGEST}) ELSE {c} END"
                          for c in map(ticked, columns))  # fmt: skip
        most = sampled.BLOCKS * sampled.BLOCK_ROWS
        read = f"SELECT {words} FROM {ticked(table)}"  # noqa: S608
        with suppress(SQLAlchemyError):
            if len(primary) == 1:
                key = ticked(primary[0])
                low, high = self._rows(f"SELECT min({key}) AS l, max({key}) AS h FROM {ticked(table)}")[0].values()  # noqa: S608
                if isinstance(low, int) and isinstance(high, int):
                    points = sampled.points(low, high)
                    each = most if len(points) == 1 else sampled.BLOCK_ROWS
                    blocks = zip(points, [*points[1:], high + 1], strict=True)
                    return [
                        tuple(row.values())
                        for start, end in blocks
                        for row in self._ordered(
                            f"{read} WHERE {key} >= {start} AND {key} < {end} ORDER BY {key} LIMIT {each}"
                        )
                    ]
            return [tuple(row.values()) for row in self._ordered(f"{read} LIMIT {most}")]
        return []

    def _ordered(self, sql: str) -> list[dict[int, Any]]:
        return [dict(enumerate(row)) for row in self._connection.exec_driver_sql(sql)]

    def _stored(self) -> dict[tuple[str, str], Row]:
        """What ANALYZE … PERSISTENT (MariaDB) or UPDATE HISTOGRAM (MySQL) left, where we may read it."""
        for sql in (_MARIADB_STORED, _MYSQL_STORED):
            with suppress(SQLAlchemyError):
                return {(row["TABLE_NAME"], row["COLUMN_NAME"]): row for row in self._rows(sql)}
        return {}


_MARIADB_STORED = """
SELECT table_name, column_name, nulls_ratio, avg_length, avg_frequency FROM mysql.column_stats
WHERE db_name = database()"""
_MYSQL_STORED = """
SELECT table_name, column_name, histogram FROM information_schema.column_statistics
WHERE schema_name = database()"""


def _better(column: Column, stored: Row, average: float | None, rows: float) -> Column:
    """A column with what the server knows of it."""
    if stored.get("AVG_FREQUENCY"):
        nulls = float(stored["NULLS_RATIO"] or 0)
        distinct = max(1.0, rows * (1 - nulls) / float(stored["AVG_FREQUENCY"]))
        column = replace(column, distinct=distinct, null_share=nulls, width=float(stored["AVG_LENGTH"] or column.width))
    elif average is not None:
        column = replace(column, distinct=max(1.0, rows * (1 - column.null_share) / average, float(len(column.common))))
    if stored.get("HISTOGRAM") and not column.common:
        column = with_histogram(column, stored["HISTOGRAM"])
    return column


def with_histogram(column: Column, text: Any) -> Column:
    """A column with the values of a MySQL histogram that names each value."""
    histogram = json.loads(text) if isinstance(text, str | bytes) else text
    if histogram.get("histogram-type") != "singleton":
        return replace(column, null_share=float(histogram.get("null-values", column.null_share)))
    below, common = 0.0, []
    for value, cumulated in histogram["buckets"]:
        common.append((sampled.as_text(_decoded(value)), float(cumulated) - below))
        below = float(cumulated)
    return replace(
        column, common=tuple(common), distinct=float(len(common)), null_share=float(histogram["null-values"])
    )


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("base64:"):
        import base64

        return base64.b64decode(value.rpartition(":")[2]).decode("utf-8", "replace")
    return value


def _indexes(statistics: Sequence[Row]) -> list[Index]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in statistics:
        grouped[row["INDEX_NAME"]].append(row)
    found = []
    for name, rows in sorted(grouped.items()):
        keys = tuple(_key(row) for row in rows)
        dormant = rows[0].get("IS_VISIBLE") == "NO" or rows[0].get("IGNORED") == "YES"
        unique = not int(rows[0]["NON_UNIQUE"])
        method = str(rows[0]["INDEX_TYPE"]).lower()
        found.append(Index(name, keys, (), "", method, unique, unique, not dormant))
    return found


def _key(row: Row) -> Key:
    column = row["COLUMN_NAME"]
    if column is None:
        return Key(f"({row.get('EXPRESSION')})")
    part = f"({row['SUB_PART']})" if row["SUB_PART"] else ""
    return Key(ticked(column) + part, column, row["COLLATION"] == "D")


def _foreign_keys(usage: Sequence[Row]) -> list[ForeignKey]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in usage:
        if row["REFERENCED_TABLE_NAME"]:
            grouped[row["CONSTRAINT_NAME"]].append(row)
    return [
        ForeignKey(
            name,
            tuple(row["COLUMN_NAME"] for row in rows),
            TableName(rows[0]["REFERENCED_TABLE_SCHEMA"], rows[0]["REFERENCED_TABLE_NAME"]),
            tuple(row["REFERENCED_COLUMN_NAME"] for row in rows),
        )
        for name, rows in sorted(grouped.items())
    ]
