"""Looks for missing indexes from within a service: every so often, on a thread and a connection of its own.

It takes what the process has asked of its databases since the last look, and what it asked in the looks of a day before
that. The database's planner is asked as by ``dbvitals advise``; the hints are metrics, and their history is kept where
``DBVITALS_HINTS_FILE`` says. The application's threads have no part in it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.config import PREFIX, Config, ConfigError
from dbvitals_processors.hints.lives_file import LivesFile, place
from dbvitals_processors.hints.publish import Board
from dbvitals_processors.hints.sources import recorded
from dbvitals_processors.hints.sources.quiet import quiet
from dbvitals_processors.sketch import Sketch
from dbvitals_processors.worker import Worker
from dbvitals_processors.workload import QueryTotals, Workload

if TYPE_CHECKING:
    from dbvitals_instrumentation.queries import Counted
    from dbvitals_instrumentation.telemetry import Telemetry
    from dbvitals_processors.hints.lifecycle import Life
    from dbvitals_processors.hints.model import WorkloadQuery
    from dbvitals_processors.hints.sources.parameters import ParameterSamples

ENGINE = "engine"
"""The word for the application's own URL."""
DAY = 24 * 3600.0
"""Seconds that the workload goes back."""
MOST_LOOKS = 48
MOST_QUERIES = 200
"""Of a workload, those that take most time: advice on them is nearly all that there is to gain."""
_BLOCKING = {"aiosqlite": "sqlite", "aiomysql": "mysql+pymysql", "asyncmy": "mysql+pymysql"}
_NAMED = frozenset(("postgresql", "mysql", "mariadb"))  # systems whose namespace begins with the database's name
_log = logging.getLogger("dbvitals")

_Key = tuple[str, str, str, str]  # namespace, fingerprint, system, text
Ask = Callable[[URL], AbstractContextManager[Any]]


class _Look(NamedTuple):
    """What was asked between two looks."""

    seconds: float
    totals: Sequence[QueryTotals]


class Advisor:
    """The thread, and what it remembers from look to look; a plug.

    Args:
        config: its ``advise`` is the number of seconds between two looks.
        telemetry: where the hints are metrics.
        counted: gives what has been asked so far; :meth:`dbvitals_instrumentation.queries.QueryWatch.counted`.
        urls: gives those of the application's engines.
        samples: of parameters, where the application allows that.
        clock: Unix time in seconds.
        ask: opens a planner; :func:`dbvitals_processors.hints.explain.planner_for` if not given.

    Raises:
        ConfigError: ``advise_database`` is no URL, nor ``engine``.
    """

    def __init__(
        self,
        config: Config,
        telemetry: Telemetry,
        counted: Callable[[], Iterable[Counted]],
        urls: Callable[[], Iterable[URL]],
        samples: ParameterSamples | None = None,
        *,
        clock: Callable[[], float] = time.time,
        ask: Ask | None = None,
    ) -> None:
        self._given = None if config.advise_database == ENGINE else _url(config.advise_database)
        self._telemetry = telemetry
        self._counted = counted
        self._urls = urls
        self._samples = samples
        self._clock = clock
        self._ask = ask
        kept = place(config.hints_file, config.baseline_file)
        self._file = LivesFile(kept) if kept is not None else None
        self._lives: tuple[Life, ...] = ()
        self._former: tuple[dict[_Key, int], dict[str, int]] = ({}, {})
        self._since = clock()
        self._looks: deque[_Look] = deque(maxlen=MOST_LOOKS)
        self._asked: dict[str, float] = {}  # when each database was last asked
        self._said: set[str] = set()
        self._closing = False
        self.board = Board()
        self.worker = Worker(self.work, "advisor", interval=config.advise, in_child=self._begin_anew)

    def install(self) -> None:
        """Begin."""
        self._telemetry.add_source(semconv.INDEX_HINT_SAVING, self.board.saving)
        self._telemetry.add_source(semconv.INDEX_HINT_FIRST_SEEN, self.board.first_seen)
        self.worker.start()

    def uninstall(self) -> None:
        """End; a look that goes on comes to nothing, and nobody waits for it."""
        self._closing = True
        self.worker.stop(0.0)
        self.board.clear()

    def forget_unwatched(self) -> None:
        """Nothing was passed over."""

    def work(self) -> None:
        """Take a look at each database."""
        if self._closing:
            return
        now = self._clock()
        look = _Look(max(0.0, now - self._since), self._asked_since())
        self._since = now
        self._looks.append(look)
        while len(self._looks) > 1 and sum(one.seconds for one in self._looks) > DAY:
            self._looks.popleft()
        lives = self._file.load() if self._file is not None else self._lives
        for url in self._databases():
            try:
                with quiet():
                    lives = self._look_at(url, look, lives, now)
            except Exception as error:
                self._pass_over(url, error)
        if not self._closing:
            self._keep(lives)

    def _asked_since(self) -> list[QueryTotals]:
        """What was asked since this was last called: the time of a fingerprint is divided among its texts by calls."""
        calls: dict[_Key, int] = {}
        nanoseconds: dict[str, int] = {}
        for one in self._counted():
            key = (one.namespace, one.fingerprint, one.system, one.text)
            calls[key] = calls.get(key, 0) + one.calls
            nanoseconds[one.fingerprint] = one.nanoseconds
        former, self._former = self._former, (calls, nanoseconds)
        new = {key: _grown(number, former[0].get(key, 0)) for key, number in calls.items()}
        of_all: dict[str, int] = {}
        for key, number in new.items():
            of_all[key[1]] = of_all.get(key[1], 0) + number
        found = []
        for (namespace, fingerprint, system, text), number in new.items():
            if number:
                took = _grown(nanoseconds[fingerprint], former[1].get(fingerprint, 0)) * number // of_all[fingerprint]
                found.append(QueryTotals(namespace, fingerprint, system, "", text, number, took, 0, {}, {}, Sketch()))
        return found

    def _keep(self, lives: tuple[Life, ...]) -> None:
        self._lives = lives
        if self._file is not None:
            self._file.save(lives)
        self.board.publish([life for life in lives if self._is_ours(life)])

    def _is_ours(self, life: Life) -> bool:
        """Whether it is of a database that we ask, and was advised in our last look: others may use the same file."""
        asked = self._asked.get(life.namespace)
        return asked is not None and (life.state == "applied" or life.seen == asked)

    def _look_at(self, url: URL, look: _Look, lives: tuple[Life, ...], now: float) -> tuple[Life, ...]:
        from dbvitals_processors.hints import lifecycle  # here: it takes a while, and some processes ask nothing
        from dbvitals_processors.hints.advise import advise
        from dbvitals_processors.hints.explain import planner_for

        namespace = url.database if url.get_backend_name() in _NAMED else None
        queries = self._queries(self._looks, namespace)
        if not queries:
            return lives
        with (self._ask or planner_for)(url) as planner:
            advice, catalogue = advise(planner, queries), planner.catalogue()
        recent = self._queries([look], namespace)
        self._asked[url.database or ""] = now
        after = lifecycle.advance(lives, url.database or "", advice, catalogue, queries, now, recent=recent)
        if {one.id for one in lives if one.state == "applied"} < {one.id for one in after if one.state == "applied"}:
            self._looks.clear()  # what queries took before says nothing any more of what they take
        return after

    def _queries(self, looks: Iterable[_Look], namespace: str | None) -> list[WorkloadQuery]:
        together, seconds = Workload(), 0.0
        for look in looks:
            seconds += look.seconds
            for totals in look.totals:
                together.take(totals)
        found = recorded.from_totals(together.totals(), seconds, namespace)[:MOST_QUERIES]
        return self._samples.complete(found) if self._samples is not None else found

    def _databases(self) -> list[URL]:
        if self._given is not None:
            return [self._given]
        found = {url.render_as_string(hide_password=False): url for url in map(_blocking, list(self._urls()))}
        return [found[text] for text in sorted(found)]

    def _pass_over(self, url: URL, error: Exception) -> None:
        """A database that cannot be asked is a line in the log, once; anything else is a fault of ours."""
        from dbvitals_processors.hints.model import AdvisorError

        if not isinstance(error, AdvisorError | ModuleNotFoundError):
            guard.fault("advisor.look", error)
        elif str(error) not in self._said and len(self._said) < MOST_LOOKS:
            self._said.add(str(error))
            _log.warning("dbvitals: no index hints for %s: %s", url.render_as_string(), error)

    def _begin_anew(self) -> None:
        """In a forked child: what was asked, and the hints, are the parent's to tell of."""
        self._asked_since()
        self._looks.clear()
        self._lives = ()
        self._asked.clear()
        self._since = self._clock()
        self.board.clear()


def _grown(now: int, before: int) -> int:
    """By how much a count has grown; one that is less was forgotten, and came again."""
    return now - before if now >= before else now


def _url(text: str) -> URL:
    try:
        return make_url(text.replace("postgres://", "postgresql://", 1))
    except ArgumentError:
        raise ConfigError(
            f"{PREFIX}ADVISE_DATABASE: must be a SQLAlchemy URL, or {ENGINE} for the application's own"
        ) from None


def _blocking(url: URL) -> URL:
    """A URL with a driver that is no coroutine's."""
    driver = url.drivername.partition("+")[2]
    return url.set(drivername=_BLOCKING[driver]) if driver in _BLOCKING else url
