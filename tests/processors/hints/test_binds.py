from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvitals_processors.hints.binds import Bound, constants, split


def shown(sql: str, system: str = "postgresql") -> tuple[str, tuple[str | int, ...]]:
    bound = split(sql, system)
    return bound.text("<{}>"), bound.keys


@pytest.mark.parametrize(
    "sql, text, keys",
    [
        ("a = :a AND b = :b AND c = :a", "a = <1> AND b = <2> AND c = <1>", ("a", "b")),
        ("a = %(a)s AND b = %(b c)s", "a = <1> AND b = <2>", ("a", "b c")),
        ("a = %s AND b = %s", "a = <1> AND b = <2>", (0, 1)),
        ("a = ? AND b = ?", "a = <1> AND b = <2>", (0, 1)),
        ("b = $2 AND a = $1 AND b > $2", "b = <1> AND a = <2> AND b > <1>", (1, 0)),
        ("b = ?2 AND a = ?1", "b = <1> AND a = <2>", (1, 0)),
        ("LIMIT :n OFFSET :o", "LIMIT <1> OFFSET <2>", ("n", "o")),
        ("f(:a,:b)", "f(<1>,<2>)", ("a", "b")),
    ],
)
def test_every_style_of_binds_is_found(sql: str, text: str, keys: tuple[str | int, ...]) -> None:
    assert shown(sql) == (text, keys)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ':a' || '%s ? $1'",
        "SELECT 'it''s :a'",
        r"SELECT E'it\'s :a'",
        'SELECT "a:b ? :c"',
        "SELECT 1 -- what :a?",
        "SELECT 1 /* is ? \n :a */",
        "SELECT $$ :a $$, $x$ ? $$ :b $x$",
        "SELECT a::int, b[1:n]",
        "SELECT data ? 'key'",
        "SELECT data ?| array['a'] OR data ?& array['b']",
        "SELECT 'open :a",
        "SELECT /* open :a",
        "SELECT $$ open :a",
        "SELECT a$1, b$c$d",
        "SET @a := 1",
    ],
)
def test_what_is_no_bind_is_left_alone(sql: str) -> None:
    assert shown(sql) == (sql, ())


@pytest.mark.parametrize(
    "sql, text",
    [
        ("data ? :k", "data ? <1>"),
        ("data ? 'k' AND a = ?", "data ? 'k' AND a = <1>"),
        ("data ? ?", "data ? <1>"),
        ("name LIKE ?||'%'", "name LIKE <1>||'%'"),
        (r"a LIKE '\' || :b || ' :c '", r"a LIKE '\' || <1> || ' :c '"),
        ("kind':a' = :b", "kind':a' = <1>"),
        ("a$b$c = :x OR d$b$e = :y", "a$b$c = <1> OR d$b$e = <2>"),
    ],
)
def test_operators_and_strings_beside_binds_are_told_apart(sql: str, text: str) -> None:
    assert shown(sql)[0] == text


def test_doubled_percent_signs_are_one_only_where_the_style_demands_it() -> None:
    assert shown("a LIKE 'x%%' AND b %% 2 = %s")[0] == "a LIKE 'x%' AND b % 2 = <1>"
    assert shown("a LIKE 'x%%' AND b = :b")[0] == "a LIKE 'x%%' AND b = <1>"


def test_strings_of_mysql_have_backslashes_and_a_hash_begins_a_comment() -> None:
    assert shown(r"SELECT 'it\'s :a' # :b", "mysql") == (r"SELECT 'it\'s :a' # :b", ())
    assert shown(r'SELECT "\":a", :b', "mariadb") == (r'SELECT "\":a", <1>', ("b",))
    assert shown("SELECT data #> :path")[1] == ("path",)


def test_values_are_found_by_name_by_position_and_by_number_as_text() -> None:
    assert split(":b = :a").values({"a": 1, "b": 2}) == (2, 1)
    assert split("$2 = $1").values(["x", "y"]) == ("y", "x")
    assert split("$1").values({"1": "x"}) == ("x",)
    assert split(":a, :b").values(["x", "y"]) == ("x", "y")
    assert split(":a").values({"b": 1}) is None
    assert split("?, ?").values([1]) is None


def test_a_text_is_filled_with_literals() -> None:
    assert split("a = :a OR b = :b OR :a").filled(("1", "'x'")) == "a = 1 OR b = 'x' OR 1"


def test_a_bind_with_nearly_always_one_value_is_a_constant() -> None:
    bound = split("a = :a AND b = :b AND c = :c")
    samples = [{"a": "x", "b": n, "c": [n % 2]} for n in range(20)]
    assert constants(bound, [*samples[:19], {"a": "y", "b": 3, "c": []}])[0] == {0: "x"}
    assert constants(bound, [*samples[:17], *[{"a": "y", "b": 3, "c": [1]}] * 3])[0] == {}
    assert constants(bound, [])[0] == {}
    assert constants(bound, [{"a": 1}])[1] == {}


def test_one_and_true_are_not_the_same_value() -> None:
    assert constants(split(":a"), [{"a": 1}] * 10 + [{"a": True}] * 10)[0] == {}


@given(st.text(alphabet="ab :%s()?$1'\"`\\/*-\n#{}[]|&eE", max_size=60))
def test_any_text_comes_back_as_it_was(sql: str) -> None:
    for system in ("postgresql", "mysql"):
        bound = split(sql, system)
        assert len(bound.pieces) == len(bound.places) + 1
        assert set(bound.places) == set(range(len(bound.keys)))
        if "%%" not in sql:
            rest = iter([sql])
            text = next(rest)
            for piece in bound.pieces:
                assert piece in text
                text = text[text.index(piece) + len(piece) :]


@given(st.lists(st.sampled_from(["a = ", ", ", "'x:y'", ' "q?" ', "/* :c */ ", "(", ") ", "::int "])), st.data())
def test_what_is_split_and_put_together_again_is_split_alike(words: list[str], data: st.DataObject) -> None:
    text = "".join(word + data.draw(st.sampled_from(["", ":n1 ", ":n2 "])) for word in words)
    bound = split(text)
    again = split(bound.text(":b{} "))
    assert (len(again.keys), again.places) == (len(bound.keys), bound.places)
    assert isinstance(again, Bound)


@pytest.mark.parametrize("word", ["/*", "%(", "$a$ $b$ ", "'", '"', "`", r"E'\ ", "?", ":", "$"])
def test_no_text_takes_long(word: str) -> None:
    began = time.process_time()
    split(word * (200_000 // len(word)))
    split(word * (200_000 // len(word)), "mysql")
    assert time.process_time() - began < 5
