"""MySQL's planner, asked of a real MariaDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from dbvitals_processors.hints.advise import advise
from dbvitals_processors.hints.candidates import candidates
from dbvitals_processors.hints.dialects import dormant
from dbvitals_processors.hints.explain import mysql_connection, mysql_plan, planner_for
from dbvitals_processors.hints.explain.mysql import MysqlPlanner
from dbvitals_processors.hints.explain.mysql_catalogue import with_histogram
from dbvitals_processors.hints.explain.nested import Prices
from dbvitals_processors.hints.model import (
    Advice,
    AdvisorError,
    Candidate,
    Catalogue,
    Column,
    Key,
    Table,
    TableName,
    Unplannable,
    WorkloadQuery,
)
from dbvitals_processors.hints.reading import Access, Order, Predicate, Term, Value

pytestmark = pytest.mark.mariadb

DATABASE = "heur_mysql"
SCHEMA = (
    "CREATE TABLE users (id INT PRIMARY KEY AUTO_INCREMENT, email VARCHAR(120) NOT NULL, name VARCHAR(80), "
    "bio TEXT, created_at DATETIME NOT NULL)",
    "CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, user_id INT NOT NULL, status VARCHAR(20) NOT NULL, "
    "`key` INT, total DECIMAL(10, 2), note VARCHAR(200), created_at DATETIME NOT NULL)",
    "CREATE TABLE countries (code CHAR(4) PRIMARY KEY, name VARCHAR(80))",
    "INSERT INTO users (email, name, bio, created_at) SELECT concat('User', seq, '@Example.com'), "
    "concat('name ', seq % 700), repeat('b', 50), '2024-01-01' + INTERVAL seq HOUR FROM seq_1_to_8000",
    "INSERT INTO orders (user_id, status, `key`, total, note, created_at) SELECT 1 + seq * 7919 % 301, "
    "if(seq % 100 = 7, 'pending', 'done'), seq, seq % 90, repeat('x', 60), '2024-01-01' + INTERVAL seq * 13 % 400000 "
    "MINUTE FROM seq_1_to_30000",
    "INSERT INTO countries SELECT concat('c', seq), concat('country ', seq) FROM seq_1_to_200",
    "CREATE INDEX sleeping ON users (created_at) IGNORED",
    "ANALYZE TABLE users, orders, countries PERSISTENT FOR ALL",
)


@pytest.fixture(scope="module")
def owner(mariadb_url: str) -> Iterator[Connection]:
    """A connection that may do anything in the shop's database."""
    url = make_url(mariadb_url).set(drivername="mysql+pymysql")
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE}")
        connection.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
        connection.exec_driver_sql(f"USE {DATABASE}")
        plain = connection.execution_options(no_parameters=True)
        for statement in SCHEMA:
            plain.exec_driver_sql(statement)
        yield plain
        connection.exec_driver_sql(f"DROP DATABASE {DATABASE}")


@pytest.fixture(scope="module")
def url(owner: Connection, mariadb_url: str) -> URL:
    return make_url(mariadb_url).set(database=DATABASE)


@pytest.fixture
def planner(url: URL) -> Iterator[MysqlPlanner]:
    with planner_for(url) as found:
        yield found


def query(sql: str, *parameters: Any, calls: float = 1000.0) -> WorkloadQuery:
    return WorkloadQuery(sql[:34], sql, calls, None, parameters)


def index(*columns: str, table: str = "orders") -> Candidate:
    return Candidate(TableName(DATABASE, table), tuple(Key(f"`{column}`", column) for column in columns))


def asked(planner: MysqlPlanner, *queries: WorkloadQuery) -> Advice:
    return advise(planner, list(queries))


def read_rows(connection: Connection, sql: str) -> float:
    """Rows that the server itself says it would read."""
    plan = connection.exec_driver_sql(f"EXPLAIN FORMAT=JSON {sql}").scalar_one()
    return sum(step.rows for step in mysql_plan.steps(mysql_plan.loaded(plan)))


BY_USER = query("SELECT * FROM orders WHERE user_id = %s ORDER BY created_at DESC LIMIT 10", [17], [40], [299])
WORKLOAD = (
    BY_USER,
    query("SELECT id, name FROM users WHERE email = %(email)s", {"email": "User77@Example.com"}),
    query("SELECT id FROM orders WHERE status = %s", ["pending"], ["pending"], ["pending"]),
    query("SELECT * FROM orders WHERE `key` = %s", [9]),
    query("SELECT u.name, o.total FROM orders o, users u WHERE u.id = user_id AND u.email = %s", ["User5@Example.com"]),
    query("UPDATE countries SET name = %s WHERE name = %s", ["a", "country 7"]),
    query("INSERT INTO countries (code, name) VALUES (%s, %s)", ["zz", "new"]),
)  # fmt: skip


# --- the advice ----------------------------------------------------------------------------------------------------


def test_the_advice_finds_what_is_missing_and_nothing_else(planner: MysqlPlanner) -> None:
    advice = asked(planner, *WORKLOAD)
    found = {(hint.candidate.table.name, *hint.candidate.columns) for hint in advice.hints}
    assert any(one[:3] == ("orders", "user_id", "created_at") for one in found)
    assert ("orders", "key") in found
    assert any(one[:2] == ("users", "email") for one in found)
    assert any(one[:2] == ("orders", "status") for one in found)
    assert not any(one[0] == "countries" for one in found)
    assert {hint.verification for hint in advice.hints} == {"heuristic"}
    assert advice.system == "mariadb"
    assert advice.cost_after < advice.cost_before / 5
    assert not [one for one in advice.refusals if one.query]


def test_the_advice_has_nothing_for_a_common_value(planner: MysqlPlanner) -> None:
    assert not asked(planner, query("SELECT * FROM orders WHERE status = %s", ["done"], ["done"], ["done"])).hints


def test_the_advice_can_be_built_and_is_used_then(planner: MysqlPlanner, owner: Connection, url: URL) -> None:
    hints = asked(planner, *WORKLOAD).hints
    asks = [
        "SELECT * FROM orders WHERE user_id = 17 ORDER BY created_at DESC LIMIT 10",
        "SELECT id, name FROM users WHERE email = 'User77@Example.com'",
        "SELECT id FROM orders WHERE status = 'pending'",
        "SELECT * FROM orders WHERE `key` = 9",
    ]
    before = [read_rows(owner, one) for one in asks]
    for hint in hints:
        owner.exec_driver_sql(hint.ddl)
    try:
        owner.exec_driver_sql("ANALYZE TABLE users, orders PERSISTENT FOR ALL")
        after = [read_rows(owner, one) for one in asks]
        with planner_for(url) as again:
            assert again.estimate(BY_USER).cost < planner.estimate(BY_USER).cost / 5
            assert all(hint.share < 0.02 for hint in asked(again, *WORKLOAD).hints)
    finally:
        for hint in hints:
            owner.exec_driver_sql(f"DROP INDEX `{hint.candidate.name}` ON `{hint.candidate.table.name}`")
    assert all(one < other / 10 for one, other in zip(after, before, strict=True))


def test_the_advice_knows_of_an_index_that_is_ignored(planner: MysqlPlanner) -> None:
    found = dormant(index("created_at", table="users"), planner.catalogue())
    assert found == "it exists, as sleeping, but is ignored: ALTER TABLE `users` ALTER INDEX `sleeping` NOT IGNORED"
    assert dormant(index("name", table="users"), planner.catalogue()) is None


def test_the_advice_leaves_out_what_each_index_has_anyway(planner: MysqlPlanner) -> None:
    asks = query("SELECT id, total FROM orders WHERE total = 5 ORDER BY created_at, id LIMIT 5")
    assert [hint.candidate.columns for hint in asked(planner, asks).hints] == [("total", "created_at")]
    assert planner.estimate(
        query("SELECT * FROM orders WHERE user_id = 5 FOR UPDATE"), frozenset({index("user_id")})
    ).used


def test_the_advice_on_an_index_that_is_ignored_says_how_to_wake_it(planner: MysqlPlanner) -> None:
    (hint,) = asked(planner, query("SELECT * FROM users ORDER BY created_at DESC LIMIT 5")).hints
    assert "NOT IGNORED" in hint.notes[-1]


# --- a candidate ---------------------------------------------------------------------------------------------------


def test_a_candidate_is_used_and_named_in_the_plan(planner: MysqlPlanner) -> None:
    wanted = index("user_id", "created_at")
    before, after = planner.estimate(BY_USER), planner.estimate(BY_USER, frozenset({wanted}))
    assert after.used == {wanted}
    assert "(ALL)" in before.plan
    assert wanted.name in after.plan
    assert after.cost < before.cost / 20


def test_a_candidate_that_covers_is_cheaper(planner: MysqlPlanner) -> None:
    asks = query("SELECT total FROM orders WHERE created_at > '2024-09-20'")
    narrow = planner.estimate(asks, frozenset({index("created_at")}))
    assert planner.estimate(asks, frozenset({index("created_at", "total")})).cost < narrow.cost


def test_a_candidate_may_turn_a_join_round(planner: MysqlPlanner) -> None:
    asks = query("SELECT u.name FROM users u JOIN orders o ON o.user_id = u.id WHERE o.`key` = 5")
    found = planner.estimate(asks, frozenset({index("key")}))
    assert found.used == {index("key")}
    assert found.cost < planner.estimate(asks).cost / 10


def test_a_candidate_for_each_branch_of_an_or_is_used(planner: MysqlPlanner) -> None:
    asks = query("SELECT * FROM orders WHERE `key` = 5 OR user_id = 7")
    both = frozenset({index("key"), index("user_id")})
    assert planner.estimate(asks, frozenset({index("key")})).used == frozenset()
    assert planner.estimate(asks, both).used == both


def test_a_candidate_has_about_the_size_that_the_server_gives_it(planner: MysqlPlanner, owner: Connection) -> None:
    wanted = index("user_id", "created_at")
    owner.exec_driver_sql(wanted.ddl(system="mariadb"))
    try:
        owner.exec_driver_sql("ANALYZE TABLE orders")
        pages = owner.exec_driver_sql(
            f"SELECT stat_value FROM mysql.innodb_index_stats WHERE database_name = '{DATABASE}' "
            f"AND stat_name = 'size' AND index_name = '{wanted.name}'"
        ).scalar_one()
    finally:
        owner.exec_driver_sql(f"DROP INDEX `{wanted.name}` ON orders")
    assert 0.5 < planner.size(wanted) / (pages * 16_384) < 1.3  # a tree keeps empty pages in reserve


MYSQL = Catalogue("mysql", {}, ("shop",), version=80_036)


def ticket(**facts: Any) -> Access:
    columns = {
        one.name: one
        for one in (
            Column("state", "varchar(9)"),
            Column("made", "datetime"),
            Column("body", "text"),
            Column("n", "int"),
        )
    }
    return Access(Table(TableName("shop", "order"), columns, 50_000), "t", **facts)


def ddls(access: Access, system: str, version: int) -> list[str]:
    catalogue = Catalogue(system, {access.table.name: access.table}, ("shop",), version=version)
    return [one.ddl(system=system) for one in candidates(access, catalogue)]


def term(name: str) -> Term:
    return Term(name, name, frozenset({name}))


def test_a_candidate_is_what_the_server_can_build() -> None:
    lowered = Predicate(Term("lower(state)", None, frozenset({"state"})), "eq", Value("bind"))
    assert "CREATE INDEX `order_lower_state_idx` ON `shop`.`order` ((lower(state)))" in ddls(
        ticket(predicates=(lowered,)), "mysql", 80_036
    )
    assert not ddls(ticket(predicates=(lowered,)), "mariadb", 101_119)
    both = ticket(order=(Order(term("made"), True), Order(term("n"))), limited=True)
    assert any("`made`, `n` DESC" in ddl for ddl in ddls(both, "mariadb", 101_119))
    assert not any("DESC" in ddl for ddl in ddls(both, "mariadb", 100_600))
    state = Predicate(term("state"), "eq", Value("constant", "'open'"), "state = 'open'")
    found = ddls(ticket(predicates=(state,), needed=frozenset({"state", "n"})), "mysql", 80_036)
    assert any("(`state`, `n`)" in ddl for ddl in found)
    assert not any("WHERE" in ddl or "INCLUDE" in ddl for ddl in found)
    long = ticket(predicates=(Predicate(term("body"), "eq", Value("bind")),))
    assert ddls(long, "mysql", 80_036) == ["CREATE INDEX `order_body_idx` ON `shop`.`order` (`body`(100))"]


# --- the database --------------------------------------------------------------------------------------------------


def test_the_database_is_never_written_to(planner: MysqlPlanner) -> None:
    with pytest.raises(DBAPIError, match="READ ONLY"):
        planner.connection.exec_driver_sql("DELETE FROM users")
    assert planner.estimate(WORKLOAD[5]).plan


def test_the_database_is_known_with_its_statistics(planner: MysqlPlanner) -> None:
    catalogue = planner.catalogue()
    orders = catalogue.tables[TableName(DATABASE, "orders")]
    assert catalogue.version >= 100_600
    assert orders.rows == pytest.approx(30_000, rel=0.2)
    assert orders.primary_key == ("id",)
    assert orders.columns["user_id"].distinct == pytest.approx(301, rel=0.05)
    assert dict(orders.columns["status"].common)["done"] == pytest.approx(0.99, abs=0.02)
    users = catalogue.tables[TableName(DATABASE, "users")]
    assert [(one.name, one.valid) for one in users.indexes] == [("PRIMARY", True), ("sleeping", False)]


def test_the_database_may_be_asked_by_a_user_who_sees_only_it(owner: Connection, url: URL) -> None:
    owner.exec_driver_sql("CREATE OR REPLACE USER heur_reader IDENTIFIED BY 'secret'")
    owner.exec_driver_sql(f"GRANT SELECT ON {DATABASE}.* TO heur_reader")
    try:
        with planner_for(url.set(username="heur_reader", password="secret")) as planner:
            assert planner.estimate(BY_USER, frozenset({index("user_id")})).used
    finally:
        owner.exec_driver_sql("DROP USER heur_reader")


# --- no plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders WHERE note = 'secret' AND status IN ('secret', 'b') ORDER BY total",
        "SELECT * FROM orders WHERE user_id IN (SELECT id FROM users WHERE name = 'secret') OR id = 5",
        "DELETE FROM orders WHERE note LIKE 'secret%'",
        "SELECT status, count(*) FROM orders WHERE note > 'secret' GROUP BY status UNION SELECT 'secret', 5",
        "SELECT 'secret'",
    ],
)
def test_no_plan_holds_a_value(planner: MysqlPlanner, sql: str) -> None:
    estimate = planner.estimate(query(sql), frozenset({index("note"), index("status")}))
    assert estimate.plan
    assert "secret" not in estimate.plan


def test_no_plan_is_made_for_what_the_database_refuses(planner: MysqlPlanner) -> None:
    with pytest.raises(Unplannable, match="doesn't exist"):
        planner.estimate(query("SELECT * FROM nowhere"))


def test_a_value_with_quotes_and_backslashes_is_still_a_value(planner: MysqlPlanner) -> None:
    assert planner.estimate(query("SELECT * FROM users WHERE name = %s", ["it's \\' 5 % of"])).plan


# --- plans of others -----------------------------------------------------------------------------------------------

MYSQL_PLAN = {
    "query_block": {
        "select_id": 1,
        "cost_info": {"query_cost": "305.25"},
        "ordering_operation": {
            "using_filesort": True,
            "nested_loop": [
                {"table": {"table_name": "o", "access_type": "ALL", "rows_examined_per_scan": 3000,
                           "filtered": "10.00", "attached_condition": "(`o`.`note` = 'secret')"}},
                {"table": {"table_name": "u", "access_type": "eq_ref", "key": "PRIMARY", "rows_examined_per_scan": 1,
                           "filtered": "100.00", "using_index": True}},
            ],
        },
    }
}  # fmt: skip


def test_mysql_tells_its_cost_and_newer_mariadb_as_well() -> None:
    prices = Prices(statement=0.0)
    assert mysql_plan.cost(MYSQL_PLAN, prices) == pytest.approx(305.25)
    assert mysql_plan.cost({"query_block": {"select_id": 1, "cost": 27.0}}, prices) == pytest.approx(10_000)
    assert mysql_plan.as_text(MYSQL_PLAN) == "o (ALL)  (rows 3,000)\nu by PRIMARY (index only)  (rows 1)\nsorted"


def test_a_histogram_of_mysql_names_the_common_values() -> None:
    text = json.dumps(
        {
            "histogram-type": "singleton",
            "null-values": 0.1,
            "buckets": [["base64:type254:ZG9uZQ==", 0.85], ["base64:type254:cGVuZGluZw==", 0.9]],
        }
    )
    found = with_histogram(Column("status", "varchar(20)"), text)
    assert [(value, round(share, 2)) for value, share in found.common] == [("done", 0.85), ("pending", 0.05)]
    assert (found.null_share, found.distinct) == (0.1, 2.0)


# --- trouble -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"password": "wrong"}, "Access denied.*check user and password"),
        ({"database": "heur_nowhere"}, "heur_nowhere.*check the database's name"),
        ({"port": 1}, "is the server running there"),
        ({"database": ""}, "name a database"),
        ({"query": {"no_such_option": "1"}}, "the driver says.*no_such_option"),
    ],
)
def test_trouble_is_told_in_a_line_without_the_password(url: URL, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(AdvisorError, match=told) as caught, planner_for(url.set(**changes)):
        pass
    assert "\n" not in str(caught.value)
    assert str(changes.get("password")) not in str(caught.value)


def test_trouble_with_drivers_says_what_to_install(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_connection, "_DRIVERS", (("no_such_module", "none"),))
    with pytest.raises(AdvisorError, match="pip install pymysql"), planner_for(url):
        pass


@pytest.mark.parametrize("driver", ["mysql", "mysql+asyncmy", "mysql+aiomysql", "mariadb", "mariadb+pymysql"])
def test_any_driver_of_the_url_is_mapped_to_one_that_blocks(url: URL, driver: str) -> None:
    with planner_for(url.set(drivername=driver)) as planner:
        assert planner.estimate(BY_USER).cost > 0
