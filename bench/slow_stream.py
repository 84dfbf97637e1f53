"""How well slow queries and regressions are told from noise: precision and recall on a labelled synthetic stream.

    python bench/slow_stream.py [--seeds 5]

Each scenario is a day of a service (or a few hours of it) with a fake clock, so the outcome is the same every time.
The detector is the real one. A call is labelled slow if it was made slow: an outlier twenty times its query's median,
or any call of a query that a release has made slower. Beside it: a fixed threshold of 100 ms, and the best one that
could have been chosen afterwards for that very stream (the highest F1), which nobody knows beforehand.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from opentelemetry.context import Context

from dbvitals_instrumentation.config import Config
from dbvitals_processors.accounts import Account
from dbvitals_processors.detector import Detector

TICK = 5.0
"""Seconds between two looks of the worker."""
HOUR = 3600.0
MS = 1e6
FIXED = 100 * MS


@dataclass(frozen=True)
class Query:
    """One query of a stream.

    Attributes:
        median: milliseconds.
        sigma: of the logarithms.
        rate: calls a second.
        factor: by time, how much longer everything takes: warm-up, load, an incident.
        traffic: by time, how many more calls there are.
        slower: the factor of a release, and when.
        outliers: share of calls that take twenty times the median, between two times.
    """

    median: float
    sigma: float
    rate: float
    factor: Callable[[float], float] = lambda _: 1.0
    traffic: Callable[[float], float] = lambda _: 1.0
    slower: float = 1.0
    since: float = math.inf
    outliers: float = 0.0
    tail: float = 0.0  # share of calls from a Pareto tail, which belong to the query


@dataclass
class Outcome:
    """What became of a scenario's calls and queries."""

    flagged: int = 0
    hits: int = 0
    slow: int = 0
    alarms: int = 0
    true_alarms: int = 0
    regressed: int = 0
    delays: list[float] = field(default_factory=list)
    durations: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        for name in ("flagged", "hits", "slow", "alarms", "true_alarms", "regressed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.delays += other.delays
        self.durations += other.durations


def warm_up(t: float) -> float:
    return 1 + 4 * math.exp(-t / 20)


def day(t: float) -> float:
    """Twice as slow at the peak as at night."""
    return 2 ** (0.5 - 0.5 * math.cos(2 * math.pi * t / (24 * HOUR)))


def crowd(t: float) -> float:
    """Ten times as many calls at the peak."""
    return float(10 ** (-0.5 * math.cos(2 * math.pi * t / (24 * HOUR)) - 0.5))


def bursts(t: float) -> float:
    return 8.0 if int(t / 900) % 3 == 1 else 0.3


def incident(t: float) -> float:
    return 4.0 if HOUR <= t < HOUR + 60 else 1.0


def waves(t: float) -> float:
    """Load that comes and goes within minutes and within the hour, up to 1.6 times."""
    return math.exp(0.12 * math.sin(t / 50) + 0.12 * math.sin(t / 290))


def slightly(t: float) -> float:
    return 1.2 if t > HOUR else 1.0


def queries(
    medians: tuple[float, ...] = (0.4, 2, 8, 30),
    sigmas: tuple[float, ...] = (0.15, 0.5, 0.9),
    rate: float = 2.0,
    **rest: Any,
) -> list[Query]:
    return [Query(median, sigma, rate, **rest) for median in medians for sigma in sigmas]


def deployed(times: float, since: float = 1.5 * HOUR, **rest: Any) -> list[Query]:
    """Every other query becomes slower by a release."""
    made = queries((2, 8, 30), **rest)
    return [replace(query, slower=times, since=since) if n % 2 == 0 else query for n, query in enumerate(made)]


SCENARIOS: dict[str, tuple[float, Callable[[], list[Query]]]] = {
    "noise": (3 * HOUR, queries),
    "outliers": (3 * HOUR, lambda: queries((2, 8, 30), (0.15, 0.5), outliers=0.001)),
    "Pareto tails": (3 * HOUR, lambda: queries(tail=0.05)),
    "warm-up": (1 * HOUR, lambda: queries(factor=warm_up)),
    "one bad minute": (2 * HOUR, lambda: queries(factor=incident)),
    "waves of load": (6 * HOUR, lambda: queries(factor=waves)),
    "traffic bursts": (3 * HOUR, lambda: queries(traffic=bursts)),
    "a day's load": (30 * HOUR, lambda: queries(factor=day, traffic=crowd, rate=0.5)),
    "release, 2 times": (3 * HOUR, lambda: deployed(2)),
    "release, 4 times": (3 * HOUR, lambda: deployed(4)),
    "release, 1.2 times": (3 * HOUR, lambda: queries((2, 8, 30), factor=slightly)),
    "release in waves": (3 * HOUR, lambda: deployed(2, factor=waves)),
    "few calls": (24 * HOUR, lambda: queries(rate=1 / 120)),
    "few calls, release": (24 * HOUR, lambda: deployed(3, 12 * HOUR, rate=1 / 60)),
}
RESTART = "release, restart, file"


def duration(query: Query, t: float, rng: random.Random) -> tuple[float, bool]:
    """Nanoseconds of one call, and whether it is labelled slow."""
    regressed = t >= query.since
    took = query.median * MS * query.factor(t) * (query.slower if regressed else 1)
    if rng.random() < query.outliers:
        return took * 20 * rng.lognormvariate(0, 0.1), True
    took *= rng.paretovariate(2) * 2 if rng.random() < query.tail else rng.lognormvariate(0, query.sigma)
    return took, regressed


def poisson(mean: float, rng: random.Random) -> int:
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    number, product, limit = 0, rng.random(), math.exp(-mean)
    while product > limit:
        number, product = number + 1, product * rng.random()
    return number


def run(seconds: float, made: list[Query], seed: int, folder: Path | None = None) -> Outcome:
    """Let the detector watch a stream; with a folder, it restarts where the release is, and remembers by a file."""
    rng, outcome, now = random.Random(seed), Outcome(), 0.0
    found: dict[str, float] = {}
    config = Config(slow_threshold=1000.0, baseline_file=str(folder / "baselines.json") if folder else "")

    def start() -> tuple[Detector, list[Account]]:
        one = Detector(config, clock=lambda: 1e9 + now, on_regression=lambda r: found.setdefault(r.fingerprint, now))
        one.worker.running = True  # by hand: no thread
        return one, [one.account("shop", "SELECT", str(number), "") for number in range(len(made))]

    detector, accounts = start()
    restart = min((query.since for query in made), default=math.inf) if folder else math.inf
    while now < seconds:
        if now >= restart:
            restart = math.inf
            detector.close()
            detector, accounts = start()
        for query, account in zip(made, accounts, strict=True):
            for _ in range(poisson(query.rate * query.traffic(now) * TICK, rng)):
                took, slow = duration(query, now, rng)
                flagged = account.see(round(took), False, Context()) is not None
                outcome.flagged += flagged
                outcome.slow += slow
                outcome.hits += flagged and slow
                outcome.durations.append((took, slow))
        now += TICK
        detector.worker.flush(1)
    detector.close()
    for number, query in enumerate(made):
        at = found.get(str(number))
        outcome.regressed += query.since < math.inf
        if at is not None:
            outcome.alarms += 1
            if at >= query.since:
                outcome.true_alarms += 1
                outcome.delays.append(at - query.since)
    return outcome


def fixed(durations: list[tuple[float, bool]], threshold: float) -> tuple[float, float]:
    flagged = [slow for took, slow in durations if took >= threshold]
    return share(sum(flagged), len(flagged)), share(sum(flagged), sum(slow for _, slow in durations))


def best(durations: list[tuple[float, bool]]) -> tuple[float, float]:
    """Precision and recall of the threshold with the highest F1, chosen afterwards."""
    slow, hits, top, found = sum(label for _, label in durations), 0, -1.0, (math.nan, math.nan)
    for number, (_, label) in enumerate(sorted(durations, reverse=True), 1):
        hits += label
        if label and 2 * hits / (number + slow) > top:
            top, found = 2 * hits / (number + slow), (hits / number, hits / slow)
    return found


def share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def row(name: str, outcome: Outcome) -> str:
    calls = len(outcome.durations)
    ours = (share(outcome.hits, outcome.flagged) if outcome.slow else math.nan, share(outcome.hits, outcome.slow))
    cells = [percent(value) for value in (*ours, *fixed(outcome.durations, FIXED), *best(outcome.durations))]
    if not outcome.slow:
        cells[2] = "–"
    false_rate = f"{1e6 * (outcome.flagged - outcome.hits) / calls:.0f}"
    alarms = f"{outcome.true_alarms}/{outcome.regressed} + {outcome.alarms - outcome.true_alarms}"
    delay = f"{sorted(outcome.delays)[len(outcome.delays) // 2] / 60:.1f}" if outcome.delays else "–"
    return f"{name:26}{calls:>10,}{false_rate:>7}" + "".join(f"{cell:>9}" for cell in cells) + f"{alarms:>13}{delay:>7}"


def outcomes(seeds: int) -> Iterator[tuple[str, Outcome]]:
    """Each scenario's, over so many seeds."""
    for name, (seconds, make) in SCENARIOS.items():
        outcome = Outcome()
        for seed in range(seeds):
            outcome.add(run(seconds, make(), seed))
        yield name, outcome
    outcome = Outcome()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            outcome.add(run(3 * HOUR, deployed(2, factor=warm_up), seed, Path(folder)))
    yield RESTART, outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':43}{'dbvitals':^18}{'100 ms':^18}{'best fixed':^18}{'regressed':>13}{'after':>7}")
    print(
        f"{'scenario':26}{'calls':>10}{'false':>7}"
        + f"{'prec.':>9}{'recall':>9}" * 3
        + f"{'found+false':>13}{'min':>7}"
    )
    total = Outcome()
    for name, outcome in outcomes(options.seeds):
        total.add(outcome)
        print(row(name, outcome), flush=True)
    print(row("all", total))
    print("false: calls of a million that were flagged and are not labelled slow")


if __name__ == "__main__":
    main()
