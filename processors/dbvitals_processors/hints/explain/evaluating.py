"""The value of an expression without columns: a literal's by itself, a function's by asking the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp


class Evaluator:
    """Remembers what it asked.

    Args:
        dialect: sqlglot's name for the database's SQL.
        ask: the value of one expression; raises ``ValueError`` where the database will not say.
        own: whether functions of unknown names may be called: on a copy, never on the user's server.
    """

    def __init__(self, dialect: str, ask: Callable[[str], Any], *, own: bool = False) -> None:
        self._own = own
        self._dialect = dialect
        self._ask = ask
        self._known: dict[str, Any] = {}

    def __call__(self, node: exp.Expression) -> Any:
        """The value.

        Raises:
            ValueError: nobody knows it without running the query.
        """
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Literal):
            return str(node.this) if node.is_string else float(node.this)
        if isinstance(node, exp.Boolean):
            return int(bool(node.this))
        if isinstance(node, exp.Null):
            return None
        if node.find(exp.Column, exp.Placeholder, exp.Query, exp.Parameter, exp.SessionParameter):
            raise ValueError("it depends on more than constants")
        if not self._own and node.find(exp.Anonymous, exp.AnonymousAggFunc):
            raise ValueError("it calls a function that nobody knows")
        text = node.sql(self._dialect)
        if text not in self._known:
            self._known[text] = self._ask(text)
        return self._known[text]
