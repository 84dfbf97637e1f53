"""PostgreSQL's system catalogues → :class:`Catalogue`, in a handful of queries."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection

from dbvitals_processors.hints.model import Catalogue, Column, ForeignKey, Index, Key, Table, TableName

_SCHEMAS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\\_temp%'"
_KINDS = {"r": "table", "p": "partitioned", "v": "view", "m": "table", "f": "foreign"}

_TABLES = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.reltuples, c.relpages,
       CASE WHEN c.relkind IN ('r', 'm', 'p') THEN pg_catalog.pg_total_relation_size(c.oid) ELSE 0 END,
       s.n_live_tup, s.n_mod_since_analyze,
       EXISTS (SELECT FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND {_SCHEMAS}
ORDER BY 2, 3"""  # noqa: S608 — no value comes from outside

_COLUMNS = f"""
SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, t.typalign::text, t.typlen,
       co.collname IS NOT NULL AND co.collname NOT IN ('C', 'POSIX')
         AND NOT (co.collname = 'default' AND d.datcollate IN ('C', 'POSIX')),
       s.avg_width, s.n_distinct, s.null_frac, s.correlation,
       s.most_common_vals::text::text[], s.most_common_freqs, s.histogram_bounds::text::text[]
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_catalog.pg_stats s
  ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
  AND s.inherited = (c.relkind = 'p')
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_SCHEMAS}
ORDER BY a.attrelid, a.attnum"""  # noqa: S608

_INDEXES = f"""
SELECT i.indrelid, x.relname, am.amname, i.indisunique, i.indisvalid AND i.indisready, i.indnkeyatts,
       ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnatts) k),
       ARRAY(SELECT a.attname FROM generate_series(0, i.indnatts - 1) k
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] ORDER BY k),
       i.indoption::text, pg_catalog.pg_get_expr(i.indpred, i.indrelid),
       EXISTS (SELECT FROM pg_catalog.pg_constraint con
               WHERE con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')),
       i.indisprimary, pg_catalog.pg_relation_size(i.indexrelid), s.idx_scan, pg_catalog.pg_get_indexdef(i.indexrelid),
       ARRAY(SELECT CASE WHEN o.opcdefault THEN '' ELSE o.opcname::text END
             FROM generate_series(0, i.indnkeyatts - 1) k
             JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[k] ORDER BY k)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am am ON am.oid = x.relam
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_all_indexes s ON s.indexrelid = i.indexrelid
WHERE {_SCHEMAS} ORDER BY x.relname"""  # noqa: S608

_FOREIGN_KEYS = f"""
SELECT con.conrelid, con.conname, n2.nspname, c2.relname,
       ARRAY(SELECT a.attname FROM unnest(con.conkey) WITH ORDINALITY k(num, ord)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.num ORDER BY k.ord),
       ARRAY(SELECT a.attname FROM unnest(con.confkey) WITH ORDINALITY k(num, ord)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.num ORDER BY k.ord)
FROM pg_catalog.pg_constraint con
JOIN pg_catalog.pg_class c ON c.oid = con.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class c2 ON c2.oid = con.confrelid JOIN pg_catalog.pg_namespace n2 ON n2.oid = c2.relnamespace
WHERE con.contype = 'f' AND {_SCHEMAS} ORDER BY con.conname"""  # noqa: S608

_SETTINGS = """
SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ('seq_page_cost', 'random_page_cost', 'cpu_tuple_cost',
  'cpu_index_tuple_cost', 'cpu_operator_cost', 'effective_cache_size', 'server_version_num')"""

_WHERE_WE_ARE = """
SELECT pg_catalog.current_schemas(false)::text[],
       ARRAY(SELECT extname::text FROM pg_catalog.pg_extension),
       ARRAY(SELECT name::text FROM pg_catalog.pg_available_extensions),
       extract(epoch FROM (SELECT stats_reset FROM pg_catalog.pg_stat_database
                           WHERE datname = pg_catalog.current_database())),
       extract(epoch FROM least((SELECT stats_reset FROM pg_catalog.pg_stat_archiver),
                                (SELECT stats_reset FROM pg_catalog.pg_stat_bgwriter))),
       pg_catalog.has_function_privilege('pg_catalog.pg_stat_file(text)', 'EXECUTE')"""
"""When a database's counters began. Since PostgreSQL 15 its own time is NULL until somebody resets them; the server's,
which nobody sets back with them, tell when all began: with initdb, or when a crash threw all away.
"""

_MADE = """
SELECT extract(epoch FROM (pg_catalog.pg_stat_file('base/' || oid || '/PG_VERSION')).modification)
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"""
"""When the database was made; for those who may look at its files."""


def read_catalogue(connection: Connection) -> Catalogue:
    """Tables, columns with statistics, indexes and foreign keys of all of a database's own schemas."""

    def rows(sql: str) -> list[Any]:
        return list(connection.execution_options(no_parameters=True).exec_driver_sql(sql))

    columns: dict[int, dict[str, Column]] = defaultdict(dict)
    tables = rows(_TABLES)
    counts = {oid: _rows(reltuples, live) for oid, _, _, _, reltuples, _, _, live, *_ in tables}
    analyzed: set[int] = set()
    for oid, *column in rows(_COLUMNS):
        if oid in counts:
            if column[7] is not None:
                analyzed.add(oid)
            columns[oid][column[0]] = _column(column, counts[oid])
    indexes: dict[int, list[Index]] = defaultdict(list)
    primary: dict[int, tuple[str, ...]] = {}
    for oid, *index in rows(_INDEXES):
        one = _index(index)
        indexes[oid].append(one)
        if index[10]:
            primary[oid] = tuple(key.column or key.sql for key in one.keys)
    foreign: dict[int, list[ForeignKey]] = defaultdict(list)
    for oid, name, schema, table, own, others in rows(_FOREIGN_KEYS):
        foreign[oid].append(ForeignKey(name, tuple(own), TableName(schema, table), tuple(others)))
    found = {}
    for oid, schema, table, kind, _, pages, size, _, modified, extended in tables:
        name = TableName(schema, table)
        found[name] = Table(
            name, columns[oid], counts[oid], pages, size, primary.get(oid, ()), tuple(indexes[oid]),
            tuple(foreign[oid]), oid in analyzed or kind == "v", (modified or 0) / max(1.0, counts[oid]), _KINDS[kind],
            extended,
        )  # fmt: skip
    settings = {name: float(value) for name, value in rows(_SETTINGS)}
    path, extensions, available, since, began, may_look = rows(_WHERE_WE_ARE)[0]
    if since is None:
        since = max((one for one in (began, rows(_MADE)[0][0] if may_look else None) if one is not None), default=None)
    return Catalogue(
        "postgresql", found, tuple(path), frozenset(extensions), frozenset(available),
        int(settings.pop("server_version_num")), settings, float(since) if since is not None else None,
    )  # fmt: skip


def _rows(reltuples: float, live: int | None) -> float:
    return float(reltuples) if reltuples > 0 else float(live or 0)


def _column(row: list[Any], rows: float) -> Column:
    name, kind, not_null, alignment, length, collated, width, distinct, nulls, correlation, common, shares, bounds = row
    fixed = length if length > 0 else None
    number = min(200.0, max(1.0, rows)) if distinct is None else distinct if distinct > 0 else -distinct * rows
    return Column(
        name, kind, not_null, float(width if width is not None else fixed or 16), max(1.0, number), float(nulls or 0),
        float(correlation or 0), tuple(zip(common or (), map(float, shares or ()), strict=False)), tuple(bounds or ()),
        bool(collated), {"c": 1, "s": 2, "i": 4, "d": 8}[alignment],
    )  # fmt: skip


def _index(row: list[Any]) -> Index:
    name, method, unique, valid, keys, texts, columns, options, where, constraint, _, size, scans, ddl, opclasses = row
    flags = [int(one) for one in options.split()]
    found = tuple(
        Key(text, column, bool(flag & 1), bool(flag & 2), opclass)
        for text, column, flag, opclass in zip(texts[:keys], columns[:keys], flags, opclasses, strict=False)
    )
    return Index(
        name, found, tuple(columns[keys:]), where or "", method, unique, constraint, valid, size, scans, ddl
    )  # fmt: skip
