"""What the rules found, added up by rule, query and caller in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dbvitals_processors.query_span import Caller

MOST_FINDINGS = 500

Key = tuple[str, str, str, "Caller | None"]


@dataclass(frozen=True, slots=True)
class Example:
    """The occurrence that wasted most: numbers and an id, never a value.

    Attributes:
        trace: its id, 32 hex digits, as backends show it.
        queries: how many it had.
        rows: how many rows they returned, where they were counted.
        nanoseconds: what it wasted.
    """

    trace: str
    queries: int
    rows: int
    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a change to the application would save.

    Attributes:
        rule: the rule that found it, for instance ``n_plus_one``.
        advice: what to do, in one line; that of the example.
        namespace, fingerprint, summary: the query; for a wait, the pool's name is the namespace and there is no
            fingerprint.
        caller: where the application asked it, as far as it is known.
        occurrences: how often it was found: loops, duplicates, holds, requests.
        queries: all the queries in them.
        nanoseconds: what they wasted, all in all.
    """

    rule: str
    advice: str
    namespace: str
    fingerprint: str
    summary: str
    caller: Caller | None
    occurrences: int
    queries: int
    nanoseconds: int
    example: Example

    @property
    def wasted(self) -> float:
        """Seconds that it wasted, all in all."""
        return self.nanoseconds * 1e-9

    @property
    def key(self) -> Key:
        """What it is added up by."""
        return (self.rule, self.namespace, self.fingerprint, self.caller)

    def __add__(self, other: Finding) -> Finding:
        """Both together; of the two examples, the one that wasted more."""
        worse = max(self, other, key=_weight)
        return replace(
            worse,
            occurrences=self.occurrences + other.occurrences,
            queries=self.queries + other.queries,
            nanoseconds=self.nanoseconds + other.nanoseconds,
        )

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON's types."""
        example = self.example
        return {
            "rule": self.rule,
            "advice": self.advice,
            "namespace": self.namespace,
            "fingerprint": self.fingerprint,
            "summary": self.summary,
            "caller": None if self.caller is None else list(self.caller),
            "occurrences": self.occurrences,
            "queries": self.queries,
            "nanoseconds": self.nanoseconds,
            "example": [example.trace, example.queries, example.rows, example.nanoseconds],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """What :meth:`to_json` wrote."""
        caller = None if data["caller"] is None else Caller(*data["caller"])
        return cls(**{**data, "caller": caller, "example": Example(*data["example"])})


def _weight(finding: Finding) -> tuple[int, int, int, str, str]:
    """An order in which the worst is last, and which has no ties, so that sums do not depend on who came first."""
    example = finding.example
    return (example.nanoseconds, example.queries, example.rows, example.trace, finding.advice)


class Findings:
    """At most ``limit`` findings: where one more comes, the tenth that wasted least is forgotten.

    Not safe to use from several threads: its owner has one, or a lock.
    """

    def __init__(self, limit: int = MOST_FINDINGS) -> None:
        self._limit = limit
        self._found: dict[Key, Finding] = {}

    def add(self, finding: Finding) -> None:
        """Take one more, or one more occurrence of one that is known."""
        key = finding.key
        known = self._found.get(key)
        if known is None and len(self._found) >= self._limit:
            self._forget()
        self._found[key] = finding if known is None else known + finding

    def merge(self, others: Iterable[Finding]) -> None:
        """Take what has been found elsewhere."""
        for finding in others:
            self.add(finding)

    def findings(self) -> list[Finding]:
        """All of them, the one that wasted most first."""
        return sorted(self._found.values(), key=lambda finding: (-finding.nanoseconds, repr(finding.key)))

    def clear(self) -> None:
        """Forget all."""
        self._found = {}

    def to_json(self) -> list[dict[str, Any]]:
        """Everything, as JSON's types."""
        return [finding.to_json() for finding in self.findings()]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]], limit: int = MOST_FINDINGS) -> Findings:
        """What :meth:`to_json` wrote."""
        findings = cls(limit)
        findings.merge(map(Finding.from_json, data))
        return findings

    def _forget(self) -> None:
        least = sorted(self._found, key=lambda key: self._found[key].nanoseconds)
        for key in least[: max(1, self._limit // 10)]:
            del self._found[key]


def merged(parts: Iterable[Iterable[Finding]]) -> tuple[Finding, ...]:
    """What several processes found, added up; the one that wasted most is first."""
    findings = Findings()
    for part in parts:
        findings.merge(part)
    return tuple(findings.findings())
