"""Prometheus' HTTP API, as the tests ask it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any


class Refused(AssertionError):
    """Prometheus could not evaluate a query; the message is its own."""


@dataclass(frozen=True)
class Prometheus:
    """One server, by its address."""

    url: str

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The instant vector of an expression."""
        when = {} if at is None else {"time": str(at)}
        return list(self._ask("query", query=expression, **when)["result"])

    def value(self, expression: str) -> float | None:
        """The first number of an instant vector, ``None`` where it is empty."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The matrix of an expression."""
        window = {"start": str(start), "end": str(end), "step": str(step)}
        return list(self._ask("query_range", query=expression, **window)["result"])

    def exemplars(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """The exemplars of an expression's series."""
        return list(self._ask("query_exemplars", query=expression, start=str(start), end=str(end)))

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """Every active target."""
        return list(self._ask("targets", state="active")["activeTargets"])

    def _ask(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Refused(f"{json.load(error).get('error')}: {parameters.get('query')}") from None
