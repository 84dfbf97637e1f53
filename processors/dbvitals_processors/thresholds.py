"""How long a query may take before it is slow for itself: one duration for all, others for some.

The default of 0.1 s is a bucket boundary of ``db.client.operation.duration``, so the share of slow queries can be read
from the histogram, too; it is twice the 50 ms from which a query's mean deserves a look, and about what a person
notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from dbvitals_instrumentation.config import Config

_FINGERPRINT = "fp:"
_WILD = "*?["


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold for the queries that a pattern describes.

    Attributes:
        namespace, operation, fingerprint: patterns in the manner of the shell; operations are in upper case.
        nanoseconds: from which such a query is slow.
    """

    namespace: str
    operation: str
    fingerprint: str
    nanoseconds: int

    @property
    def precision(self) -> tuple[int, ...]:
        """What sorts the rules: a fingerprint before a namespace before an operation, then by what is spelled out."""
        patterns = (self.fingerprint, self.namespace, self.operation)
        return (*(pattern != "*" for pattern in patterns), *(_spelled(pattern) for pattern in patterns))

    def describes(self, namespace: str, operation: str, fingerprint: str) -> bool:
        """Whether a query is one of the rule's; ``operation`` in upper case."""
        return (
            fnmatchcase(fingerprint, self.fingerprint)
            and fnmatchcase(namespace, self.namespace)
            and fnmatchcase(operation, self.operation)
        )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All thresholds; ``rules`` are in the order in which they are tried."""

    default: int
    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, config: Config) -> Thresholds:
        """The thresholds that a configuration asks for; it has seen to it that they are positive seconds."""
        rules = [_rule(pattern, float(seconds)) for pattern, seconds in config.slow_thresholds]
        rules.sort(key=lambda rule: rule.precision, reverse=True)  # the sort is stable: of equals, the first stands
        return cls(_nanoseconds(config.slow_threshold), tuple(rules))

    @property
    def least(self) -> int:
        """No query is slow by a threshold that took less than this, in nanoseconds."""
        return min([self.default, *(rule.nanoseconds for rule in self.rules)])

    def threshold(self, namespace: str, operation: str, fingerprint: str) -> int:
        """From how many nanoseconds a query is slow: the most precise rule's word."""
        operation = operation.upper()
        for rule in self.rules:
            if rule.describes(namespace, operation, fingerprint):
                return rule.nanoseconds
        return self.default


def _rule(pattern: str, seconds: float) -> Rule:
    """``fp:FINGERPRINT``, ``NAMESPACE/OPERATION`` or ``OPERATION``; a namespace may hold slashes, an operation none."""
    if pattern.startswith(_FINGERPRINT):
        return Rule("*", "*", pattern.removeprefix(_FINGERPRINT).lower(), _nanoseconds(seconds))
    namespace, slash, operation = pattern.rpartition("/")
    return Rule(namespace if slash else "*", operation.upper() or "*", "*", _nanoseconds(seconds))


def _spelled(pattern: str) -> int:
    """How many characters a pattern spells out, and one more if nothing in it is left open."""
    return sum(character not in _WILD for character in pattern) + (not any(wild in pattern for wild in _WILD))


def _nanoseconds(seconds: float) -> int:
    return max(1, round(seconds * 1e9))
