"""How well N+1 loops are told from what only looks like them: precision and recall on labelled synthetic traces.

    python bench/trace_stream.py [--traces 2000]

Each trace is a request. Some hold a loop (the label): one query again and again under one span, with other parameters
each time, as lazy loading makes it. The others hold what services do that repeats without being one: chunks, polls,
retries, batches, pages, parallel tasks, a few look-ups. The rules are the real ones. Beside them: "the same query at
least so many times in a trace", which is what most tools do.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from dbvitals_processors.query_span import QuerySpan
from dbvitals_processors.rules.n_plus_one import n_plus_one
from dbvitals_processors.rules.rule import Limits
from dbvitals_processors.traces import Trace, Work

MS = 1_000_000
ROOT = 1
Maker = Callable[[random.Random], Iterator[QuerySpan]]


def query(
    random_: random.Random,
    at: float,
    table: str,
    *,
    took: float = 2,
    rows: int = 1,
    parent: int = ROOT,
    batch: int = 1,
    error: str | None = None,
    parameters: object = None,
) -> QuerySpan:
    """One query that began ``at`` milliseconds."""
    told = str(random_.random()) if parameters is None else str(parameters)
    text = f"SELECT a FROM {table} WHERE id = ?"
    return QuerySpan(
        "postgresql", "shop", "SELECT", table, f"SELECT {table}", text, f"fingerprint of {table}", round(at * MS),
        round((at + took * random_.lognormvariate(0, 0.5)) * MS), rows, batch, error, None, None, None, None, 7,
        random_.getrandbits(60) + 2, parent, told, None,
    )  # fmt: skip


def loop(r: random.Random) -> Iterator[QuerySpan]:
    yield query(r, 1, "orders", rows=40)
    for number in range(r.randint(5, 60)):
        yield query(r, 5 + 3 * number, "items")


def two_loops_by_turns(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(6, 30)):
        yield query(r, 5 + 6 * number, "items")
        yield query(r, 8 + 6 * number, "customers")


def loop_over_some_that_were_loaded(r: random.Random) -> Iterator[QuerySpan]:
    at = 5.0
    for _ in range(r.randint(8, 40)):
        at += 3 if r.random() < 0.7 else 30  # some come from the identity map, with other work between
        yield query(r, at, "items")


def few_look_ups(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(1, 4)):
        yield query(r, 5 + 4 * number, "settings")
    yield query(r, 40, "orders", rows=20)


def chunks(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(6, 30)):
        yield query(r, 5 + 40 * number, "orders", rows=500, took=30)


def polls(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(6, 30)):
        yield query(r, 5 + 500 * number, "jobs", rows=r.randint(0, 1))


def retries(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(5, 9)):
        yield query(r, 5 + 20 * number, "stock", error="40001", parameters=1)
    yield query(r, 400, "stock", parameters=1)


def batches(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(6, 20)):
        yield query(r, 5 + 10 * number, "items", batch=200, rows=0)


def parallel_tasks(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(6, 20)):
        yield query(r, 5 + r.random(), "prices", took=20, parent=100 + number)


def different_queries(r: random.Random) -> Iterator[QuerySpan]:
    for number in range(r.randint(6, 40)):
        yield query(r, 5 + 4 * number, f"table_{number}")


LOOPS: tuple[Maker, ...] = (loop, two_loops_by_turns, loop_over_some_that_were_loaded)
OTHERS: tuple[Maker, ...] = (few_look_ups, chunks, polls, retries, batches, parallel_tasks, different_queries)


def judged(queries: Sequence[QuerySpan]) -> bool:
    """Whether the rule finds a loop."""
    ordered = tuple(sorted(queries, key=lambda one: one.start))
    root = Work("GET /", 0, max(one.end for one in ordered) + MS, ROOT, None, True)
    return bool(list(n_plus_one(Trace(7, root, ordered, (), (), (root,)), Limits())))


def counted(queries: Sequence[QuerySpan], threshold: int) -> bool:
    """Whether some query is there so many times."""
    return max(Counter(one.fingerprint for one in queries).values()) >= threshold


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--traces", type=int, default=2000)
    traces = parser.parse_args().traces
    r = random.Random(1)
    ways: dict[str, Callable[[Sequence[QuerySpan]], bool]] = {
        "dbvitals": judged,
        "same query ≥ 5 times": lambda queries: counted(queries, 5),
        "same query ≥ 10 times": lambda queries: counted(queries, 10),
    }
    right: dict[str, Counter[str]] = {way: Counter() for way in ways}
    wrong: dict[str, Counter[str]] = {way: Counter() for way in ways}
    for number in range(traces):
        is_loop = number % 4 == 0
        maker = r.choice(LOOPS if is_loop else OTHERS)
        queries = list(maker(r))
        for way, finds in ways.items():
            found = finds(queries)
            right[way][f"{is_loop} {found}"] += 1
            if found != is_loop:
                wrong[way][maker.__name__] += 1
    print(f"{traces} traces, a quarter of them with a loop")
    print(f"{'':24}{'precision':>10}{'recall':>10}  mistaken")
    for way in ways:
        counts = right[way]
        hits, misses, false = counts["True True"], counts["True False"], counts["False True"]
        precision = hits / (hits + false) if hits + false else 1.0
        mistakes = ", ".join(f"{name} {count}" for name, count in wrong[way].most_common()) or "none"
        print(f"{way:24}{precision:>10.1%}{hits / (hits + misses):>10.1%}  {mistakes}")


if __name__ == "__main__":
    main()
