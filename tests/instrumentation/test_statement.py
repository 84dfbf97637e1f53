"""SQL text becomes text without literals, one fingerprint for each class, and OpenTelemetry's summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dbvitals_instrumentation import sql_text, statement
from dbvitals_instrumentation.statement import MAX_TOKENS, Statement, parse

MYSQL: Literal["string"] = "string"


def examples(*rows: tuple[Any, ...]) -> Callable[..., Any]:
    """Parametrise with (readable id, sql, expected) rows."""
    return pytest.mark.parametrize("sql, expected", [pytest.param(*row[1:], id=row[0]) for row in rows])


INSERTMANYVALUES = (
    "INSERT INTO t (a, b) SELECT p0::INTEGER, p1::VARCHAR FROM (VALUES {}) AS imp_sen(p0, p1, sen_counter) "
    "ORDER BY sen_counter RETURNING t.id"
)


class TestSummary:
    @examples(
        ("table", "SELECT * FROM wuser_table", "SELECT wuser_table"),
        ("case as written", "select * from Users", "select Users"),
        ("no table", "SELECT 1", "SELECT"),
        ("empty", "", ""),
        (
            "insert-select",
            "INSERT INTO shipping_details (a, b) SELECT a, b FROM orders",
            "INSERT shipping_details SELECT orders",
        ),
        ("comma join", "SELECT * FROM songs, artists", "SELECT songs artists"),
        ("comma after ON", "SELECT * FROM a JOIN b ON a.x = f(b.x, 1), c", "SELECT a b c"),
        (
            "derived table",
            "SELECT d FROM (SELECT * FROM orders o JOIN customers c ON o.i = c.i)",
            "SELECT SELECT orders customers",
        ),
        ("joined table in parentheses", "SELECT * FROM (a x JOIN b y USING (i)) LEFT JOIN c USING (i)", "SELECT a b c"),
        ("lateral", "SELECT * FROM t, LATERAL (SELECT 1 FROM q) l", "SELECT t SELECT q"),
        ("aliases", "SELECT * FROM a AS x, b y WHERE x.i = y.i", "SELECT a b"),
        ("schema and quotes", 'SELECT * FROM public.users u, "My S"."T" t', 'SELECT public.users "My S"."T"'),
        ("brackets", "SELECT [x].[a] FROM [dbo].[my t] AS [x]", "SELECT [dbo].[my t]"),
        ("backticks", "SELECT `a` FROM `s`.`t`", "SELECT `s`.`t`"),
        ("sub-query", "SELECT * FROM a WHERE i IN (SELECT i FROM b)", "SELECT a SELECT b"),
        ("exists", "SELECT EXISTS (SELECT 1 FROM b) AS x", "SELECT SELECT b"),
        ("union", "SELECT a FROM t UNION ALL SELECT b FROM u", "SELECT t SELECT u"),
        ("union in parentheses", "(SELECT a FROM t) UNION (SELECT b FROM u)", "SELECT t SELECT u"),
        (
            "common table expression",
            "WITH r AS (SELECT a FROM orders) SELECT x FROM r JOIN users ON 1 = 1",
            "SELECT orders SELECT users",
        ),
        (
            "two, with columns",
            "WITH r(a) AS (SELECT 1 FROM x), s AS MATERIALIZED (SELECT 2 FROM r) DELETE FROM t USING s",
            "SELECT x SELECT DELETE t",
        ),
        (
            "recursive",
            "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r) SELECT n FROM r, t",
            "SELECT SELECT t",
        ),
        ("hiding the table it reads", "WITH t AS (SELECT * FROM t) SELECT * FROM t", "SELECT t SELECT"),
        ("known inside only", "SELECT * FROM (WITH r AS (SELECT 1) SELECT * FROM r) x, r", "SELECT SELECT SELECT r"),
        ("writing", "WITH u AS (UPDATE t SET a = 1 RETURNING i) SELECT * FROM u", "UPDATE t SELECT"),
        ("insert with", "INSERT INTO t WITH r AS (SELECT 1 FROM u) SELECT * FROM r", "INSERT t SELECT u SELECT"),
        ("update", "UPDATE ONLY t SET a = 1, b = 2 FROM u WHERE t.i = u.i", "UPDATE t u"),
        ("update several", "UPDATE a, b SET a.x = b.x", "UPDATE a b"),
        ("update of an alias", "UPDATE o SET a = 1 FROM orders AS o JOIN users u ON 1 = 1", "UPDATE orders users"),
        (
            "update of an alias in brackets",
            "UPDATE [O] SET a = 1 FROM u, [dbo].[orders] [o]",
            "UPDATE u [dbo].[orders]",
        ),
        ("update from another alias", "UPDATE t SET a = 1 FROM u x, v AS y WHERE t.i = x.i", "UPDATE t u v"),
        ("delete", "DELETE FROM t USING u, v WHERE 1 = 1", "DELETE t u v"),
        ("delete of aliases", "DELETE o FROM orders o JOIN users u USING (i)", "DELETE orders users"),
        (
            "merge",
            "MERGE INTO t USING s ON a = b WHEN MATCHED THEN UPDATE SET x = 1 "
            "WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
            "MERGE t s",
        ),
        ("replace", "REPLACE INTO t VALUES (1)", "REPLACE t"),
        ("insert ignore", "INSERT IGNORE INTO t (a) VALUES (1)", "INSERT t"),
        ("insert or replace", "INSERT OR REPLACE INTO t (a) VALUES (1)", "INSERT t"),
        ("upsert", "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a", "INSERT t"),
        ("upsert at MySQL", "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)", "INSERT t"),
        ("insertmanyvalues", INSERTMANYVALUES.format("(%(a__0)s, %(b__0)s, 0)"), "INSERT t"),
        ("truncate", "TRUNCATE TABLE a, b", "TRUNCATE a b"),
        ("truncate without TABLE", "TRUNCATE a", "TRUNCATE a"),
        ("create table", "CREATE TABLE IF NOT EXISTS t (i INT, b VARCHAR(9) REFERENCES u)", "CREATE TABLE t"),
        ("create table as", "CREATE TEMPORARY TABLE t AS SELECT * FROM u", "CREATE TABLE t SELECT u"),
        ("create index", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a, b)", "CREATE INDEX i"),
        (
            "create view",
            "CREATE OR REPLACE VIEW v AS WITH x AS (SELECT 1 FROM y) SELECT * FROM x",
            "CREATE VIEW v SELECT y SELECT",
        ),
        (
            "create trigger",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u; SELECT 1 FROM v; END",
            "CREATE TRIGGER g",
        ),
        ("drop table", "DROP TABLE IF EXISTS a, b CASCADE", "DROP TABLE a b"),
        ("alter table", "ALTER TABLE ONLY s.t ADD COLUMN x INT, ADD y INT", "ALTER TABLE s.t"),
        ("call", "CALL p(1, 2)", "CALL p"),
        ("exec", "EXEC dbo.p @a = 1", "EXEC dbo.p"),
        ("explain", "EXPLAIN SELECT * FROM t", "EXPLAIN SELECT t"),
        ("explain options", "EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM t", "EXPLAIN SELECT t"),
        ("explain analyze", "EXPLAIN ANALYZE VERBOSE DELETE FROM t", "EXPLAIN DELETE t"),
        (
            "explain query plan",
            "EXPLAIN QUERY PLAN WITH r AS (SELECT 1 FROM t) SELECT * FROM r",
            "EXPLAIN SELECT t SELECT",
        ),
        ("transaction", "BEGIN; SELECT 1; COMMIT;", "BEGIN SELECT COMMIT"),
        ("start transaction", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION"),
        ("rollback", "ROLLBACK", "ROLLBACK"),
        ("rollback to savepoint", "ROLLBACK TO SAVEPOINT sa_savepoint_1", "ROLLBACK TO SAVEPOINT"),
        ("savepoint", "SAVEPOINT sa_savepoint_1", "SAVEPOINT"),
        ("release savepoint", "RELEASE SAVEPOINT sa_savepoint_1", "RELEASE SAVEPOINT"),
        ("set", "SET search_path = a, b", "SET"),
        ("show", "SHOW COLUMNS FROM t", "SHOW"),
        ("pragma", 'PRAGMA table_info("t")', "PRAGMA table_info"),
        ("copy", "COPY t (a, b) FROM STDIN", "COPY t"),
        ("copy query", "COPY (SELECT * FROM t) TO STDOUT", "COPY SELECT t"),
        ("vacuum", "VACUUM", "VACUUM"),
        ("vacuum table", "VACUUM (FULL) t", "VACUUM t"),
        ("analyze", "ANALYZE t", "ANALYZE t"),
        ("grant", "GRANT SELECT ON t TO u", "GRANT"),
        ("functions", "SELECT * FROM generate_series(1, 9) g, unnest(ARRAY[1, 2]) u, t", "SELECT t"),
        (
            "FROM in functions",
            "SELECT EXTRACT(YEAR FROM a), SUBSTRING(b FROM 2), TRIM(BOTH 'x' FROM c) FROM t",
            "SELECT t",
        ),
        ("distinct from", "SELECT a FROM t WHERE a IS NOT DISTINCT FROM b", "SELECT t"),
        ("for update", "SELECT a FROM t JOIN u ON 1 = 1 FOR UPDATE OF t, u SKIP LOCKED", "SELECT t u"),
        ("literal as target", "SELECT * FROM 'secret'", "SELECT ?"),
        ("several statements", "INSERT INTO a VALUES (1); UPDATE b SET c = 1", "INSERT a UPDATE b"),
        ("comment first", "/* DELETE */ -- UPDATE\nSELECT 1 FROM t", "SELECT t"),
        ("no operation known", "path/to/file with -- select", ""),
    )
    def test_names_operations_and_targets(self, sql: str, expected: str) -> None:
        assert parse(sql).summary == expected

    def test_is_cut_between_tokens(self) -> None:
        tables = [f"table_number_{i}" for i in range(50)]
        summary = parse("SELECT * FROM " + ", ".join(tables)).summary
        assert 240 < len(summary) <= 255
        assert summary.split() == ["SELECT", *tables][: len(summary.split())]

    @pytest.mark.parametrize(
        "sql, operation, collection",
        [
            ("SELECT * FROM t", "SELECT", "t"),
            ("SELECT * FROM t a JOIN t b ON a.i = b.j", "SELECT", "t"),
            ("SELECT * FROM t, u", "SELECT", None),
            ("INSERT INTO t SELECT * FROM u", None, None),
            ("EXPLAIN SELECT * FROM t", None, "t"),
            ("CREATE TABLE t (i INT)", "CREATE TABLE", "t"),
            ("CREATE INDEX i ON t (a)", "CREATE INDEX", None),
            ("CALL p()", "CALL", None),
            ("SELECT * FROM 'x'", "SELECT", None),
            ("COMMIT", "COMMIT", None),
        ],
    )
    def test_operation_and_collection_only_where_there_is_one(
        self, sql: str, operation: str | None, collection: str | None
    ) -> None:
        assert (parse(sql).operation, parse(sql).collection) == (operation, collection)


class TestText:
    @examples(
        ("numbers", "SELECT 1, 1.5, .5, 1e-9, 0xFF, 1_000, 1.", "SELECT ?, ?, ?, ?, ?, ?, ?"),
        ("signs", "SELECT -1, a -1, a - -1, f(-1), - a WHERE b = +5", "SELECT ?, a - ?, a - ?, f(?), - a WHERE b = ?"),
        ("prefixes", r"SELECT E'a\'b', N'a', B'1', X'1F', U&'a', _utf8'a'", "SELECT ?, ?, ?, ?, ?, ?"),
        ("quotes", "SELECT 'it''s', '', ''''", "SELECT ?, ?, ?"),
        ("dollars", "SELECT $$a'b$$, $t$ $$ $u$ $t$", "SELECT ?, ?"),
        ("Oracle", "SELECT q'[it's]', q'!it's!' FROM dual", "SELECT ?, ? FROM dual"),
        ("booleans", "SELECT TRUE WHERE a IS TRUE AND b IS NOT FALSE AND c = false", None),
        ("null", "SELECT NULL WHERE a IS NULL", "SELECT NULL WHERE a IS NULL"),
        ("placeholders", "SELECT ?, %s, %(name)s, :name, $1, @p1, ?1, :1", "SELECT " + ", ".join("?" * 8)),
        ("casts", "SELECT a::int, :x::int, %s::varchar(9), '1'::int", "SELECT a::int, ?::int, ?::varchar(?), ?::int"),
        (
            "jsonb",
            "SELECT a ? 'k', a ?| array['b'], a?&b, a->>'k', a->1, a @> '{}', a #>> '{b}', a#>b",
            "SELECT a ? ?, a ?| array[?], a ?& b, a ->> ?, a -> ?, a @> ?, a #>> ?, a #> b",
        ),
        ("modulo", "SELECT a % 2, a %% 2", "SELECT a % ?, a %% ?"),
        ("slices", "SELECT a[1], a[1:2], a[i:j]", "SELECT a[?], a[? : ?], a[i : j]"),
        ("system variable", "SELECT @@version, @x := 1", "SELECT @@version, ? := ?"),
        ("white space", " SELECT\n\ta . b,c\r\n FROM t ( x ) ;", "SELECT a.b, c FROM t (x)"),
        ("empty statements", ";;SELECT 1;;SELECT 2;", "SELECT ?; SELECT ?"),
        ("line comment", "SELECT 1 -- it's\n+ 2", "SELECT ? + ?"),
        ("nested comment", "SELECT /* a /* 'b' */ c */ 1", "SELECT ?"),
        ("comments that do not nest", "SELECT /* /* a */ 1 /* b */", "SELECT ?"),
        ("sqlcommenter", "SELECT 1 /*traceparent='00-1-2-01'*/", "SELECT ?"),
        ("hint", "SELECT /*+ INDEX(t i) */ 1", "SELECT ?"),
        ("comment without end", "SELECT 1 /* secret", "SELECT ?"),
        ("star before a comment", "SELECT t.*/* a */FROM t", "SELECT t.* FROM t"),
        ("hash is an operator", "SELECT a # b, a #> b", "SELECT a # b, a #> b"),
        ("hash at the start of a line", "# secret\nSELECT 1\n # secret", "SELECT ?"),
        ("double quotes", 'SELECT "a ""b"" c"', 'SELECT "a ""b"" c"'),
        ("savepoint", "SAVEPOINT sa_savepoint_1", "SAVEPOINT ?"),
        ("rollback to", 'ROLLBACK TO SAVEPOINT "x y"', "ROLLBACK TO SAVEPOINT ?"),
        ("release", "RELEASE SAVEPOINT x", "RELEASE SAVEPOINT ?"),
    )
    def test_shows_no_literals_and_no_comments(self, sql: str, expected: str | None) -> None:
        assert parse(sql).text == (expected or "SELECT ? WHERE a IS TRUE AND b IS NOT FALSE AND c = ?")

    @examples(
        ("double quotes", 'SELECT "se""c\'ret" FROM `t`', "SELECT ? FROM `t`"),
        ("charset", "SELECT _utf8\"secret\", _utf8mb4'secret'", "SELECT ?, ?"),
        ("hash", "SELECT a # secret\nFROM t #secret", "SELECT a FROM t"),
        ("dashes", "SELECT a -- secret\n, 5--1", "SELECT a, ? - ?"),
        ("backslash", r"SELECT 'it\'s', " + r'"say \"x\""', "SELECT ?, ?"),
    )
    def test_speaks_mysql(self, sql: str, expected: str) -> None:
        assert parse(sql, double_quotes=MYSQL).text == expected

    @examples(
        ("escape", r"SELECT 'it\'s secret' FROM t", "SELECT ? FROM t"),
        ("end", r"SELECT 'C:\' FROM t WHERE a = 'secret'", "SELECT ? FROM t WHERE a = ?"),
        ("two ends", r"SELECT 'C:\', 'D:\' FROM t WHERE a = 'secret'", "SELECT ?, ? FROM t WHERE a = ?"),
        ("even", r"SELECT 'C:\\' FROM t WHERE a = 'secret'", "SELECT ? FROM t WHERE a = ?"),
        ("both are SQL", r"SELECT 'a\', secret -- '", "SELECT ?"),
        ("neither is", r"SELECT 'a\' secret 'b\' \ 'c", "SELECT ?"),
    )
    def test_backslashes_are_read_so_that_nothing_of_a_literal_is_left(self, sql: str, expected: str) -> None:
        assert parse(sql).text == expected
        assert "secret" not in parse(sql).text

    def test_half_a_surrogate_pair_can_be_exported(self) -> None:
        parse("SELECT '\ud800', a\ud800").text.encode()


class TestLists:
    @pytest.mark.parametrize(
        "one, many",
        [
            pytest.param("a IN (1)", "a IN (1, -2, 'x', %s)", id="values"),
            pytest.param("a IN (?)", "a in (__[POSTCOMPILE_x])", id="SQLAlchemy's post-compile"),
            pytest.param("a IN ($1::INTEGER)", "a IN ($1::INTEGER, $2::INTEGER)", id="casts"),
            pytest.param("(a, b) IN ((1, 2))", "(a, b) IN ((1, 2), (3, 4), (5, 6))", id="row values"),
            pytest.param("(a, b) IN (VALUES (1, 2))", "(a, b) IN (VALUES (1, 2), (3, 4))", id="row values at SQLite"),
            pytest.param("a = ANY(ARRAY[1])", "a = ANY(ARRAY[1, 2, 3])", id="array"),
            pytest.param("a = ARRAY[[1, 2]]", "a = ARRAY[[1, 2, 3], [1, 2, 3]]", id="array of arrays"),
        ],
    )
    def test_have_one_fingerprint_for_any_length(self, one: str, many: str) -> None:
        assert parse(f"SELECT * FROM t WHERE {one}").fingerprint == parse(f"SELECT * FROM t WHERE {many}").fingerprint

    @pytest.mark.parametrize(
        "template, row",
        [
            pytest.param("INSERT INTO t (a, b) VALUES {}", "(%s, 'x')", id="insert"),
            pytest.param(
                "INSERT INTO t (a, b) VALUES {} ON DUPLICATE KEY UPDATE a = VALUES(a)", "(1, NULL)", id="MySQL"
            ),
            pytest.param("INSERT INTO t VALUES {} RETURNING id", "(f(?), (SELECT max(i) FROM u))", id="expressions"),
            pytest.param(INSERTMANYVALUES, "(%(a__0)s, %(b__0)s, 0)", id="insertmanyvalues"),
            pytest.param("INSERT INTO t VALUES {}", "ROW(1, 2)", id="ROW"),
        ],
    )
    def test_of_rows_are_counted(self, template: str, row: str) -> None:
        one = parse(template.format(row))
        many = parse(template.format(", ".join([row] * 700)))
        assert (one.value_rows, many.value_rows) == (1, 700)
        assert (many.text, many.fingerprint, many.summary) == (one.text, one.fingerprint, one.summary)

    def test_null_makes_no_other_row(self) -> None:
        assert parse("INSERT INTO t VALUES (1, 2), (3, NULL), (DEFAULT, 4)").text == "INSERT INTO t VALUES (?, ?)"

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT f(a, a), a, a FROM t",
            "SELECT * FROM t WHERE a IN (b, c, ?)",
            "SELECT * FROM t WHERE a IN (SELECT b, b FROM t)",
            "INSERT INTO t (a, b) DEFAULT VALUES",
            "INSERT INTO t SELECT a FROM u ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(a)",
        ],
    )
    def test_of_other_things_stay_as_they_are(self, sql: str) -> None:
        assert (parse(sql).text, parse(sql).value_rows) == (sql, 0)

    def test_are_measured_after_collapsing(self) -> None:
        long = f"SELECT * FROM t WHERE a IN ({', '.join(['%s'] * 2 * MAX_TOKENS)}) AND b = 1"
        assert parse(long).text == "SELECT * FROM t WHERE a IN (?) AND b = ?"


def invariants(sql: str, double_quotes: Literal["identifier", "string"]) -> Statement:
    found = parse(sql, double_quotes=double_quotes)
    assert len(found.summary) <= 255
    assert len(found.fingerprint) == 16
    assert found.value_rows >= 0
    assert not set(found.text) & set("'\n\0") or '"' in found.text or "`" in found.text
    assert found.operation is None or found.summary.startswith(found.operation)
    if found.operation is not None:
        assert found.operation.replace(" ", "").isalpha()
        assert found.operation.lower() != "with"
    again = parse(found.text, double_quotes=double_quotes)
    assert (again.text, again.fingerprint) == (found.text, found.fingerprint)
    return found


DIALECTS = st.sampled_from(["identifier", "string"])
MARKER = "Zqxj"
SLOTS = (
    "SELECT a FROM t WHERE b = {} AND c > 1",
    "SELECT {}, b FROM t",
    "INSERT INTO t (a, b) VALUES ({}, 1), (2, {})",
    "UPDATE t SET a = {} WHERE b IN ({}, {})",
    "SELECT * FROM t WHERE a[{}] = f(-{})",
    "CALL p({})",
    "SELECT * FROM {}",
)
NUMBERS = st.one_of(
    st.integers(min_value=0).map(str),
    st.floats(min_value=0, allow_nan=False, allow_infinity=False).map(repr),
    st.integers(min_value=0).map(hex),
    st.integers(min_value=1000).map(lambda number: f"{number:_}"),
)
CONTENT = st.text(alphabet=st.sampled_from('ab1 ;,.-#/*%?$:@"`()[]\n\tSELECT é'), max_size=12)


def quoted(content: str) -> list[str]:
    """A content in every kind of literal; it must hold neither quote nor backslash nor be a delimiter."""
    plain = content.replace("$", "")
    return [
        f"'{content}'",
        f"'it''s {content}'",
        rf"E'\'{content}'",
        f"N'{content}'",
        f"U&'{content}'",
        f"_utf8'{content}'",
        f"$${plain}$$",
        f"$tag${plain} $$ ' $tag$",
        f"'{content}\\\\'",
        f"'C:\\Users\\{content}'",
    ]


LITERALS = st.one_of(NUMBERS, CONTENT.flatmap(lambda content: st.sampled_from(quoted(content))), st.just("TRUE"))
WORDS = """
SELECT INSERT INTO UPDATE DELETE FROM WHERE WITH RECURSIVE AS VALUES IN NOT ARRAY UNION ALL JOIN USING ON SET CREATE
TABLE INDEX EXPLAIN ANALYZE SAVEPOINT ROLLBACK TO MERGE ROW DUPLICATE KEY ONLY DISTINCT IS TRUE NULL DEFAULT TOP
a b.c t _x é e n "q" `k` [z] [ ] ( ) , ; . :: := : ? ?| ?& | || & - + -- # #> #>> #- ## @ @@ @> <@ @p :n $1 $x $$ $t$
% %s %% %(n)s * / /* */ = < > <> ! ~ ^ \\ ' '' " ` { } 1 1.5 .5 1e-9 0x1F 'v' E'v' q'[v]' N' U& _utf8'
"""
TOKENS = st.sampled_from([*WORDS.split(), "\n", "\t", "\0"])
SOUP = st.lists(st.tuples(TOKENS, st.sampled_from(["", " ", "\n"])), max_size=30).map(
    lambda pairs: "".join(token + space for token, space in pairs)
)


PLAIN = ["?", "%s", "%(a__1)s", "$1", ":a", "@p1", "?2", "7", "-1.5", "NULL", "default"]
CASTS = [
    "$1::INTEGER",
    "?::numeric(9, 2)",
    "%s::varchar[]",
    "$2::TIMESTAMP  with time\nzone",
    "CURRENT_DATE",
    "f(?, 1)",
]
ODD = ["'x'", "TRUE", "f(a)", "(SELECT 1)", "?::ſmall", "a IN (?, ?, ?)", "? -- c\n", "/*,*/?", "- 1", "1e5", "%S", ""]
MEMBER = st.one_of(st.just(PLAIN), st.sampled_from(CASTS).map(lambda cast: [cast]), st.just([*PLAIN, *CASTS, *ODD]))
TEMPLATES = (
    "SELECT * FROM t WHERE a IN ({}) AND b = 1",
    "SELECT ARRAY[{}] FROM t",
    "SELECT f({}), {} FROM t, {}",
    "INSERT INTO t (a, b) VALUES {} ON DUPLICATE KEY UPDATE a = VALUES(a)",
    INSERTMANYVALUES,
    "SELECT * FROM t WHERE (a, b) IN (VALUES {}) OR a IN (?, VALUES {}, {})",
    "WITH x AS (VALUES {}) SELECT * FROM x; CALL p({})",
)


@st.composite
def lists(draw: st.DrawFn) -> str:
    """A list long enough to have runs: of values, or of rows, most of them alike."""
    columns = draw(st.lists(MEMBER, min_size=1, max_size=3))
    is_row = draw(st.booleans())
    length = draw(st.integers(1, 14))
    odd = draw(st.sampled_from([*ODD, *PLAIN]))

    def member(number: int) -> str:
        values = ", ".join(column[number * step % len(column)] for step, column in enumerate(columns, 1))
        return f"({values})" if is_row else values

    members = [member(number) for number in range(length)]
    members.insert(draw(st.integers(0, length)), f"({odd})" if is_row else odd)
    return draw(st.sampled_from([", ", ",", " ,\n\t"])).join(members)


class TestRuns:
    @settings(max_examples=200)
    @example(TEMPLATES[0], "?, " * 6 + "%S, ?, ?", MAX_TOKENS, "identifier")
    @example(TEMPLATES[0], "?::small, " * 6 + "?::ſmall, ?", MAX_TOKENS, "identifier")
    @example("INSERT INTO t VALUES {}", "ROW(1) " * 7 + ", (?), (%s), (?)", 34, "identifier")
    @given(st.sampled_from(TEMPLATES), lists(), st.one_of(st.just(MAX_TOKENS), st.integers(8, 40)), DIALECTS)
    def test_are_skipped_as_if_they_had_been_read(self, template: str, members: str, limit: int, dialect: str) -> None:
        sql = template.replace("{}", members)
        with mock.patch.object(sql_text, "MAX_TOKENS", limit), mock.patch.object(statement, "MAX_TOKENS", limit):
            skipped = statement._parse(sql, dialect == MYSQL)
            with mock.patch.object(sql_text, "run_of", return_value=None):
                assert skipped == statement._parse(sql, dialect == MYSQL)

    @pytest.mark.parametrize(
        "template, member",
        [
            pytest.param(INSERTMANYVALUES, "(%(a__{0})s, %(b__{0})s, {0})", id="insertmanyvalues"),
            pytest.param("INSERT INTO t VALUES {}", "(${0}::INTEGER, NULL, now())", id="casts and calls"),
            pytest.param("SELECT * FROM t WHERE a IN ({})", "?", id="IN"),
            pytest.param("SELECT * FROM t WHERE a IN ({})", "%(a_1_{0})s::INTEGER", id="IN with casts"),
            pytest.param("SELECT * FROM t WHERE (a, b) IN ({})", "(?, ?)", id="IN rows"),
        ],
    )
    def test_cost_next_to_nothing(self, template: str, member: str) -> None:
        sql = template.format(", ".join(member.format(number) for number in range(20_000)))
        added: list[str] = []
        add = sql_text.Text.add

        def counted(text: sql_text.Text, kind: str, *token: Any) -> Any:
            added.append(kind)
            return add(text, kind, *token)

        with mock.patch.object(sql_text.Text, "add", counted):
            found = statement._parse(sql, False)
        assert len(added) < 1_000
        assert found.value_rows in (0, 20_000)
        one = parse(template.format(member.format(1)))
        assert (found.text, found.fingerprint) == (one.text, one.fingerprint)


class TestProperties:
    @given(st.sampled_from(SLOTS), LITERALS, LITERALS, DIALECTS)
    def test_a_changed_literal_changes_nothing(
        self, slot: str, one: str, other: str, dialect: Literal["identifier", "string"]
    ) -> None:
        first = parse(slot.replace("{}", one), double_quotes=dialect)
        second = parse(slot.replace("{}", other), double_quotes=dialect)
        assert first == second
        assert first == parse(slot.replace("{}", "%s"), double_quotes=dialect)

    @given(st.sampled_from(SLOTS), CONTENT, CONTENT, DIALECTS)
    def test_nothing_of_a_literal_survives(
        self, slot: str, before: str, after: str, dialect: Literal["identifier", "string"]
    ) -> None:
        kinds = quoted(before + MARKER + after)
        if dialect == MYSQL:
            kinds += [f'"{MARKER}"', f'"it\'s ""{MARKER}"', rf'"\"{MARKER}"', rf"'\'{MARKER}'"]
        for literal in kinds:
            found = parse(slot.replace("{}", literal), double_quotes=dialect)
            assert MARKER not in found.text + found.summary, literal
            if "\\" not in literal:
                found = parse(slot.replace("{}", literal[:-1], 1), double_quotes=dialect)  # without end
                assert MARKER not in found.text + found.summary, literal

    @given(st.sampled_from(SLOTS), st.text(alphabet=st.sampled_from("ab'\"`$;-# (é"), max_size=12), DIALECTS)
    def test_nothing_of_a_comment_survives(
        self, slot: str, content: str, dialect: Literal["identifier", "string"]
    ) -> None:
        sql = slot.replace("{}", "1")
        comments = [f"/*{content}{MARKER}*/", f"/* /* {content} */ {MARKER} */", f"-- {MARKER}{content}\n"]
        comments += [f"# {content}{MARKER}\n", f"#{MARKER}\n"] if dialect == MYSQL else [f"--{content}{MARKER}\n"]
        for comment in comments:
            for commented in (comment + sql, sql.replace(" ", f" {comment} "), f"{sql} {comment}"):
                assert parse(commented, double_quotes=dialect) == parse(sql, double_quotes=dialect)

    @settings(max_examples=300)
    @given(st.text(), DIALECTS)
    def test_any_text_is_read(self, sql: str, dialect: Literal["identifier", "string"]) -> None:
        invariants(sql, dialect)

    @settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
    @given(SOUP, DIALECTS)
    def test_any_tokens_are_read(self, sql: str, dialect: Literal["identifier", "string"]) -> None:
        invariants(sql, dialect)


class TestCost:
    @pytest.mark.parametrize(
        "unit",
        [
            pytest.param(unit, id=name)
            for name, unit in {
                "words": "a ",
                "one word": "a",
                "underscores": "_a",
                "digits": "1",
                "white space": " ",
                "quotes": "'",
                "quotes and backslashes": "'\\''",
                "double quotes": '"a',
                "backticks": "`a",
                "dollar tags": "$a{} ",
                "dollar quotes": "$a{}$ ",
                "comments opened": "/*",
                "comments opened and closed": "/*/**/",
                "comments closed twice": "/**/*/",
                "dashes": "--",
                "minuses": "- ",
                "parentheses": "(",
                "closing": ")",
                "brackets": "[a",
                "IN lists": "IN (a, ",
                "arrays": "ARRAY[1, ",
                "rows": "VALUES (1, ",
                "row after row": "(1, 'a'), ",
                "CTEs": "WITH a{} AS (",
                "placeholders": "%(a",
                "post-compile": "__[POSTCOMPILE_",
                "q quotes": "q'a",
                "semicolons": ";",
                "statements": "SELECT a FROM b;",
                "dots": "a.",
                "operators": "<=>",
            }.items()
        ],
    )
    def test_is_linear(self, unit: str) -> None:
        def cost(number: int) -> float:
            sql = "".join(unit.format(i) for i in range(number)) if "{}" in unit else unit * number
            best = sys.float_info.max
            for _ in range(3):
                begun = time.process_time()
                statement._parse(sql, False)
                best = min(best, time.process_time() - begun)
            return best

        small = 1_000
        assert cost(8 * small) < 8 * 4 * max(cost(small), 0.0005)

    def test_long_lists_of_rows_are_linear(self) -> None:
        sql = "INSERT INTO t VALUES " + ", ".join(["(%s, 'x', NULL)"] * 20_000)
        begun = time.process_time()
        assert parse(sql).value_rows == 20_000
        assert time.process_time() - begun < 10


class TestCache:
    def test_gives_the_same_object(self) -> None:
        assert parse("SELECT cached FROM t") is parse("SELECT cached FROM t")

    def test_keeps_the_two_readings_apart(self) -> None:
        assert parse('SELECT "a"').text != parse('SELECT "a"', double_quotes="string").text

    def test_is_bounded_in_entries_and_characters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(statement, "_CACHE_ENTRIES", 3)
        monkeypatch.setattr(statement, "_CACHE_CHARACTERS", 2_000)
        cache = statement._Cache()
        for number in range(10):
            cache.put(f"SELECT {number}", parse("SELECT 1"))
        assert [cache.get(f"SELECT {number}") is not None for number in (6, 7, 8, 9)] == [False, True, True, True]
        cache.put("SELECT" + " " * 1_000, parse("SELECT 1"))
        assert cache.get("SELECT" + " " * 1_000) is None
