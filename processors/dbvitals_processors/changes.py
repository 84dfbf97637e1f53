"""Whether a query has become slower than it used to be: change detection on the medians of windows of its calls.

Each window of calls speaks through the median of the logarithms: neither tails nor units matter, and a factor is a
distance. Against the query's baseline (level and spread of its windows) the windows are added up by a one-sided CUSUM
(Page, "Continuous inspection schemes", Biometrika 41, 1954), in which no window counts for more than three spreads: it
takes four windows in a row, and one bad minute is no regression. An alarm also needs an effect, half as long again and
a millisecond at least, between the medians of before and after the change.

The baseline follows slowly (an hour), which takes the day's ebb and flow with it; what is compared is the level from
when the suspicion arose, so it does not follow the regression itself. A suspicion that shows no effect after twelve
windows is dropped. After hours without calls the effect must be larger: the night may differ from the morning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log, sqrt
from statistics import median

WINDOW = 30.0
"""Seconds that a window lasts at least."""
LEARNING = 4
"""Windows that make the first baseline."""
EFFECT = 1.5
"""How much longer the median call must take, as a factor."""
LEAST_EFFECT = 1_000_000
"""And as a difference in nanoseconds."""
RECOVERED = 1.25
"""The factor below which a regression is over."""
ACCEPTED_AFTER = 24 * 3600.0
"""Seconds after which the new level of a regressed query is its baseline: nobody means to mend it."""

_ALLOWANCE = 1.0  # spreads that a window may lie above the level and prove nothing
_MOST_PROOF = 3.0  # spreads that one window counts for at most
_PROOF = 6.5  # what the windows of a change must add up to
_MOST_SUSPECTS = 12
_LEAST_SPREAD = 0.08  # of a window's level: medians of well-behaved queries move by this much
_FOLLOWING = 3600.0  # seconds in which a baseline follows two thirds of the way
_MOST_STEP = 0.1  # share of the way that one window moves it at most
_GAP = 0.03 / 3600  # how much larger, in logarithms, an effect must be for each second without calls
_MOST_GAP = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Window:
    """What some calls in a row took.

    Attributes:
        start, end: when, in seconds.
        calls: how many.
        level: the logarithm of the median in nanoseconds.
        spread: the standard deviation of the logarithms, from quantiles.
    """

    start: float
    end: float
    calls: int
    level: float
    spread: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a query usually takes.

    Attributes:
        level: the logarithm of the median in nanoseconds.
        spread: how far the levels of single windows are from it, usually.
        at: when its last window ended, in seconds.
    """

    level: float
    spread: float
    at: float


@dataclass(frozen=True, slots=True)
class Track:
    """What is known of one query's course.

    Attributes:
        baseline: ``None`` while it is being learnt; that of before the change while ``since`` is set.
        learnt: windows for the first baseline, or the last ones of a regressed query.
        proof: the CUSUM.
        suspects: the windows since it left zero.
        suspected: the baseline at that time.
        since: when the query regressed; ``None`` where it did not.
    """

    baseline: Baseline | None = None
    learnt: tuple[Window, ...] = ()
    proof: float = 0.0
    suspects: tuple[Window, ...] = ()
    suspected: Baseline | None = None
    since: float | None = None


def step(track: Track, window: Window) -> Track:
    """The track after one more window."""
    if track.baseline is None:
        return _learn(track, window)
    if track.since is not None:
        return _watch(track, track.baseline, track.since, window)
    return _compare(track, track.baseline, window)


def limit(track: Track) -> int | None:
    """Nanoseconds from which a call of a regressed query is slow: those that it would rarely have taken before."""
    if track.since is None or track.baseline is None:
        return None
    return round(EFFECT * exp(track.baseline.level))


def _learn(track: Track, window: Window) -> Track:
    learnt = (*track.learnt, window)
    if len(learnt) < LEARNING:
        return replace(track, learnt=learnt)
    return Track(_baseline(learnt))


def _baseline(windows: tuple[Window, ...]) -> Baseline:
    level = median(window.level for window in windows)
    spread = 1.5 * median(abs(window.level - level) for window in windows)
    return Baseline(level, max(spread, _LEAST_SPREAD), windows[-1].end)


def _compare(track: Track, baseline: Baseline, window: Window) -> Track:
    suspected = track.suspected or baseline
    # The spread holds what chance does to a median of few calls; where there are fewer than usual, chance does more.
    uncertain = max(suspected.spread, 1.25 * window.spread / sqrt(window.calls))
    distance = (window.level - suspected.level) / uncertain
    proof = max(0.0, track.proof + min(distance, _MOST_PROOF) - _ALLOWANCE)
    followed = _follow(baseline, window, uncertain)
    suspects = (*track.suspects, window)[-_MOST_SUSPECTS:]
    if proof == 0.0:
        return Track(followed)
    is_effect = _is_effect(suspected, suspects)
    if is_effect and proof >= _PROOF:
        return Track(suspected, suspects[-LEARNING:], since=suspects[0].start)
    if not is_effect and len(suspects) == _MOST_SUSPECTS:
        moved = median(one.level for one in suspects) - suspected.level >= log(EFFECT)
        return Track(_baseline(suspects) if moved else followed)  # it moved while nobody called, or by microseconds
    return Track(followed, proof=proof, suspects=suspects, suspected=suspected)


def _follow(baseline: Baseline, window: Window, uncertain: float) -> Baseline:
    """The baseline, moved a little towards a window; one far off moves it no further than one not so far off."""
    passed = max(WINDOW, window.end - baseline.at)
    share = min(1 - exp(-passed / _FOLLOWING), _MOST_STEP)
    off = max(-2 * uncertain, min(2 * uncertain, window.level - baseline.level))
    variance = (1 - share) * baseline.spread**2 + share * off**2
    return Baseline(baseline.level + share * off, max(sqrt(variance), _LEAST_SPREAD), window.end)


def _is_effect(before: Baseline, suspects: tuple[Window, ...]) -> bool:
    after = median(window.level for window in suspects)
    gap = min(_MOST_GAP, max(0.0, suspects[0].end - before.at))
    needed = log(EFFECT) + _GAP * gap
    return after - before.level >= needed and exp(after) - exp(before.level) >= LEAST_EFFECT


def _watch(track: Track, before: Baseline, since: float, window: Window) -> Track:
    """See whether a regressed query has recovered, or has been as it is for so long that it counts as usual."""
    lately = (*track.learnt, window)[-LEARNING:]
    if len(lately) == LEARNING:
        level = median(one.level for one in lately)
        if level < before.level + log(RECOVERED):
            return Track(replace(before, at=window.end))
        if window.end - since >= ACCEPTED_AFTER:
            return Track(_baseline(lately))
    return replace(track, learnt=lately)
