"""What the forms of advice have to say alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dbvitals.report.units import count, percent, seconds, things
from dbvitals_processors.hints.amounts import size
from dbvitals_processors.hints.model import Advice, Applied, Hint, Refusal, Saving

_MEANINGS = {
    "hypothetical": "the database's planner chose the index, as one that does not exist yet",
    "explain": "from the plan and costs of the database's EXPLAIN without the index",
    "heuristic": "from statistics alone; look at the plan once it is built",
}


def headline(advice: Advice) -> str:
    """What came out, in a line without a full stop."""
    of = f"of {things(advice.queries, 'query', 'queries')}"
    if not advice.queries:
        return "No query could be planned, so there is no advice; the reasons are with the refusals"
    if not advice.hints:
        return f"Nothing is missing: {of}, none would be much cheaper by another index"
    taken = size(sum(hint.bytes for hint in advice.hints))
    served = len({one.query.id for hint in advice.hints for one in hint.served})
    return (
        f"{things(len(advice.hints), 'index is', 'indexes are')} missing, {taken} in all: {count(served)} {of} would "
        f"be cheaper, and the cost of all {change(advice.cost_before, advice.cost_after)} an hour"
    )


def change(before: float, after: float) -> str:
    """``18,058 → 99 (−99%)``."""
    less = f" (−{percent(1 - after / before)})" if before * 0.995 > after else ""
    return f"{cost(before)} → {cost(after)}{less}"


def facts(hint: Hint) -> list[str]:
    """What a hint saves and costs."""
    found = [f"saves {percent(hint.share)} of all cost"]
    if hint.saving is not None:
        found.append(f"saves {_interval(hint.saving)}")
    found += [size(hint.bytes), f"built in about {_duration(hint.build_seconds)}"]
    found.append(f"writes pay {cost(hint.upkeep)} an hour" if hint.upkeep else "no write pays for it")
    return [*found, hint.verification, f"id {hint.id}"]


def outcome(one: Applied) -> str:
    """What an index that was advised has saved, beside what it was to save."""
    predicted = "nothing was predicted" if one.predicted is None else f"predicted {_interval(one.predicted)}"
    if one.measured is None:
        return f"its queries were not measured before and after; {predicted} · id {one.id}"
    of = things(one.queries, "query", "queries")
    return f"saves {_time(one.measured)} an hour, measured in {of}; {predicted} · id {one.id}"


def _interval(saving: Saving) -> str:
    return f"{_time(saving.seconds)} an hour ({_time(saving.low)} – {_time(saving.high)})"


def _time(value: float) -> str:
    return seconds(value) if value >= 0 else f"−{seconds(-value)}"


def _duration(value: float) -> str:
    return "a second" if value < 1.5 else f"{value:.0f} s" if value < 90 else seconds(value)


def cost(value: float) -> str:
    """Planner's units, or calls: ``0.4``, ``18,058``, ``888M``."""
    return f"{value:.2g}" if 0 < value < 9.95 and value != round(value) else count(round(value))


def meanings(advice: Advice) -> Iterator[tuple[str, str]]:
    """What the words for how a hint was verified mean, of those that occur; then what cost is."""
    occurring = {hint.verification for hint in advice.hints}
    yield from ((word, meaning) for word, meaning in _MEANINGS.items() if word in occurring)
    if any(hint.saving is not None for hint in advice.hints):
        measured = any(one.query.seconds for hint in advice.hints for one in hint.served)
        learnt = "learnt from the times in this workload" if measured else "guessed from costs, for want of times"
        yield "saves … an hour", f"{learnt}; nine of ten savings lie in the range"
    yield "cost", "in the planner's units, of one execution"


def ordered(refusals: Iterable[Refusal]) -> list[Refusal]:
    """Queries that were refused come first: of these nothing is known."""
    return sorted(refusals, key=lambda one: not one.query)
