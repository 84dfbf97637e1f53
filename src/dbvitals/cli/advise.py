"""``dbvitals advise``: indexes worth building, with proof."""

from __future__ import annotations

import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from dbvitals import settings
from dbvitals.report import advice as shown
from dbvitals_instrumentation.config import Config, ConfigError
from dbvitals_processors.hints import lifecycle, lives_file
from dbvitals_processors.hints.advise import Options, advise
from dbvitals_processors.hints.explain import planner_for
from dbvitals_processors.hints.explain.scratch import confirmed
from dbvitals_processors.hints.model import Advice, Catalogue, WorkloadQuery
from dbvitals_processors.hints.sources import logs, pg_stat_statements, prometheus
from dbvitals_processors.hints.sources.files import read_workload

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(i?)[bB]?\s*")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
FORMATS: dict[str, Callable[[Advice], str]] = {
    "table": shown.as_table,
    "sql": shown.as_sql,
    "json": shown.as_json,
    "markdown": shown.as_markdown,
}


def run(options: Namespace) -> int:
    """Advise and print.

    Raises:
        AdvisorError, ConfigError: input that cannot be used.
    """
    url = _url(options.database)
    scratch = _url(options.scratch_database, "--scratch-database") if options.scratch_database else None
    if scratch is not None and scratch.get_backend_name() != "postgresql":
        raise ConfigError("--scratch-database: only PostgreSQL has indexes that are tried so")
    wanted = Options(
        None if options.budget is None else size(options.budget),
        _positive(options.max),
        share(options.min_gain),
        settings.load(Path(options.config) if options.config else None).dismissed,
    )
    try:
        with planner_for(url) as planner:
            queries = _workload(options, url, planner.connection)
            advice = advise(planner, queries, wanted)
            if scratch is not None:
                advice = confirmed(advice, url, scratch)
            print(FORMATS[options.format](_with_history(advice, url, planner.catalogue(), queries)))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dbvitals"):
            raise
        raise ConfigError(f"--database {url.drivername}://…: the driver {error.name} is not installed") from None
    sys.stdout.flush()
    return 0


def _with_history(advice: Advice, url: URL, catalogue: Catalogue, queries: list[WorkloadQuery]) -> Advice:
    """The advice with what became of former hints, where their history is kept; this look is added to it."""
    config = Config.from_environment()
    place = lives_file.place(config.hints_file, config.baseline_file)
    if place is None:
        return advice
    file = lives_file.LivesFile(place)
    namespace = url.database or ""
    lives = lifecycle.advance(file.load(), namespace, advice, catalogue, queries, time.time())
    file.save(lives)
    return replace(advice, applied=lifecycle.applied(lives, namespace))


def _workload(options: Namespace, url: URL, connection: Connection) -> list[WorkloadQuery]:
    if options.workload:
        return read_workload(Path(options.workload), system=url.get_backend_name())
    if options.prometheus:
        return prometheus.read(options.prometheus, namespace=url.database)
    if options.log:
        return logs.read(Path(options.log), database=url.database)
    if url.get_backend_name() != "postgresql":
        raise ConfigError("what is asked of it? Name a --workload, a --log or a --prometheus")
    return pg_stat_statements.read(connection)


def _url(text: str, option: str = "--database") -> URL:
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
        url.get_dialect()
        return url
    except NoSuchModuleError:
        raise ConfigError(f"{option}: SQLAlchemy knows no {text.partition(':')[0]}") from None
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"{option}: this is no SQLAlchemy URL; for example postgresql://user:password@host:5432/database"
        ) from None


def size(text: str) -> int:
    """``500MB``, ``2 GiB`` or plain bytes as bytes; ``MB`` is 1,000,000 as disks have it, ``MiB`` 1,048,576."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"--budget {text}: a size such as 500MB or 2GiB is expected")
    number, letter, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[letter.lower()])


def share(text: str) -> float:
    """``5%`` or ``0.05`` as a share from 0 to 1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"--min-gain {text}: a share such as 5% is expected")
    return value


def _positive(number: int | None) -> int | None:
    if number is not None and number < 1:
        raise ConfigError(f"--max {number}: at least 1 is expected")
    return number
