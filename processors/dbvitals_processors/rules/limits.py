"""From where on something in a trace is worth a finding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """From where on something is worth a finding; times in nanoseconds.

    Attributes:
        repeats: queries of one kind, one after another under one span, that are a loop.
        writes: the same for INSERT, UPDATE and DELETE, of which a unit of work has several in good faith.
        breath: a longer pause between two queries is no part of a loop: somebody polls, or waits for work.
        bulk: rows that each query of a loop returns on average; with more it fetches in chunks, as it should.
        page: rows of each query, all the same, from which on a loop with LIMIT leafs through pages.
        rows_served: rows of one query that a request can make sense of.
        rows: the same for anything else: jobs and scripts may read a lot.
        idle: a pause in a transaction in which a span shows what was done instead.
        idle_unseen: the same without such a span; a busy interpreter has shorter ones by itself.
        wait: all waits for connections in one request.
        wait_share: their share of the request, from which on they are its cause.
    """

    repeats: int = 5
    writes: int = 20
    breath: int = 250_000_000
    bulk: int = 100
    page: int = 10
    rows_served: int = 1_000
    rows: int = 100_000
    idle: int = 100_000_000
    idle_unseen: int = 500_000_000
    wait: int = 100_000_000
    wait_share: float = 0.5
