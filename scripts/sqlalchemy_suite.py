#!/usr/bin/env python3
"""SQLAlchemy's own test suite, without dbvitals and with it: the outcome of every test must be the same.

Fetches the source distribution of the SQLAlchemy that is installed, for its tests only: they import the installed
package, with its compiled extensions. Each part of the suite runs in one process for itself, twice: plain, and with
`dbvitals.instrument()` before anything is collected, spans and metrics on.

    python scripts/sqlalchemy_suite.py [--cache DIR] [--db NAME | --dburi URL] [TEST/PATH…] [-- PYTEST ARGUMENTS…]

Ends with 0 if no outcome differs, beside those of ASSERT_NO_LISTENERS, and dbvitals had no fault.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

DEFAULT = (
    "test/engine",
    "test/base",
    "test/dialect/sqlite",  # SQLAlchemy 2.1
    "test/dialect/test_sqlite.py",  # before
    "test/sql/test_insert_exec.py",
    "test/sql/test_query.py",
    "test/sql/test_resultset.py",
    "test/sql/test_returning.py",
    "test/orm/test_eager_relations.py",
    "test/orm/test_query.py",
    "test/orm/test_session.py",
    "test/orm/test_unitofworkv2.py",
)
"""What of these there is runs if nothing is chosen. Not test/aaa_profiling: it asserts numbers of function calls."""

ASSERT_NO_LISTENERS: tuple[tuple[str, str], ...] = ()
"""Tests (a regular expression for their name) that may fail with dbvitals, and what each asserts."""

RECORD, WATCH = "SUITE_RECORD", "SUITE_WATCH"
COLLECT_EVERY = 100  # tests between two collections of metrics


# --- the two runs ----------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """What one process of pytest told."""

    outcomes: dict[str, str]
    texts: dict[str, str]
    summary: dict[str, Any]
    seconds: float


def fetch(version: str, cache: Path) -> Path:
    """The unpacked source distribution, whose `lib` leads to the installed package."""
    tests = cache / f"sqlalchemy-{version}"
    if not (tests / "test").exists():
        # Only SQLAlchemy from source: with ":all:" pip would compile what its build needs, too, Cython for one.
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "sqlalchemy")
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            subprocess.run([*pip, "--dest", folder, f"sqlalchemy=={version}"], check=True)
            (archive,) = Path(folder).glob("*.tar.gz")
            shutil.unpack_archive(archive, folder)
            (unpacked,) = (path for path in Path(folder).iterdir() if path.is_dir())
            unpacked.rename(tests)
    installed = importlib.util.find_spec("sqlalchemy")
    assert installed is not None
    assert installed.origin is not None
    shutil.rmtree(tests / "lib", ignore_errors=True)  # test/conftest.py reads a file in it
    (tests / "lib").mkdir()
    (tests / "lib" / "sqlalchemy").symlink_to(Path(installed.origin).parent)
    return tests


def prepare(url: str) -> None:
    """Create the schemas and extensions that SQLAlchemy's README.unittests asks of a PostgreSQL."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(sqlalchemy.engine.make_url(url).set(drivername="postgresql+psycopg2"))
    with engine.begin() as connection:
        for thing in ("SCHEMA test_schema", "SCHEMA test_schema_2", "EXTENSION hstore", "EXTENSION citext"):
            kind, _, name = thing.partition(" ")
            connection.execute(sqlalchemy.text(f"CREATE {kind} IF NOT EXISTS {name}"))
    engine.dispose()


def run(tests: Path, paths: Sequence[str], arguments: Sequence[str], *, watch: bool) -> Run:
    """Run a part of the suite, and listen to its outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        command = [sys.executable, "-s", "-m", "pytest", "-p", Path(__file__).stem, "-p", "no:cacheprovider"]
        command += ["-q", "-q", "--maxfail=1000000", "--tb=short", "--disable-warnings", "-r", "N", *arguments, *paths]
        environment = {name: text for name, text in os.environ.items() if not name.startswith("DBVITALS_")}
        environment.update(
            {
                RECORD: str(record),
                WATCH: "1" if watch else "",
                "PYTHONPATH": str(Path(__file__).parent),
                "PYTHONHASHSEED": "0",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            }
        )
        start = time.monotonic()
        with open(Path(folder) / "output", "w+") as output:
            code = subprocess.run(
                command, cwd=tests, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            ).returncode
            output.seek(0)
            told = output.read()
        seconds = time.monotonic() - start
        lines = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
        if code not in (0, 1) or not lines or "faults" not in lines[-1]:
            sys.exit(f"{told[-4000:]}\nsqlalchemy_suite: pytest ended with {code} in {' '.join(paths)}")
    outcomes: dict[str, str] = {}
    texts: dict[str, str] = {}
    for line in lines[:-1]:
        name, outcome = line["test"], line["outcome"]
        outcomes[name] = outcome if outcomes.get(name, "passed") == "passed" else outcomes[name]
        if line["text"]:
            texts[name] = texts.get(name, "") + line["text"]
    return Run(outcomes, texts, lines[-1], seconds)


def differing(plain: Run, watched: Run) -> list[str]:
    """The tests whose outcome is not the same."""
    everything = {**plain.outcomes, **watched.outcomes}
    return [name for name in everything if plain.outcomes.get(name) != watched.outcomes.get(name)]


def excuse(name: str) -> str | None:
    """Why a test may differ, if it may."""
    return next((reason for pattern, reason in ASSERT_NO_LISTENERS if re.search(pattern, name)), None)


def compare(tests: Path, path: str, arguments: Sequence[str]) -> bool:
    """Run one part of the suite twice and print what came of it; whether all is well."""
    plain = run(tests, [path], arguments, watch=False)
    watched = run(tests, [path], arguments, watch=True)
    well = not watched.summary["faults"] and watched.summary["sqlalchemy"] == plain.summary["sqlalchemy"]
    different = differing(plain, watched)
    counts = ", ".join(f"{number} {outcome}" for outcome, number in Counter(plain.outcomes.values()).most_common())
    summary = watched.summary
    print(f"{path}: {counts}; {len(different)} differ with dbvitals", flush=True)
    print(f"    {plain.seconds:.0f} s plain, {watched.seconds:.0f} s watched; {summary['spans']} spans", end="")
    print(f", instrumented {summary['instrumented']} times; faults: {summary['faults']}; {summary['sqlalchemy']}")
    for name in different:
        reason = excuse(name)
        well = well and reason is not None
        print(f"  - {name}: {plain.outcomes.get(name)} → {watched.outcomes.get(name)} ({reason or 'our fault?'})")
        if reason is None:
            text = watched.texts.get(name) or plain.texts.get(name, "")
            print("\n".join(f"        {line}" for line in text.splitlines()[-40:]))
    for note in summary["notes"]:
        print(f"  ! {note}")
    return well


def main(words: Sequence[str]) -> int:
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="sqlalchemy_suite.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", metavar="TEST/PATH", help=f"parts of the suite; else {' '.join(DEFAULT)}")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keeps the unpacked source distribution")
    parser.add_argument("--db", default="sqlite", metavar="NAME", help="a database of SQLAlchemy's setup.cfg")
    parser.add_argument("--dburi", metavar="URL", help="a database")
    options = parser.parse_args(words[:cut])
    arguments = ["--dburi", options.dburi] if options.dburi else ["--db", options.db]
    arguments += words[cut + 1 :]
    version = importlib.metadata.version("sqlalchemy")
    with tempfile.TemporaryDirectory() as folder:
        cache = (options.cache or Path(folder)).absolute()
        cache.mkdir(parents=True, exist_ok=True)
        tests = fetch(version, cache)
        print(f"SQLAlchemy {version} on Python {sys.version.split()[0]}", flush=True)
        if options.dburi and options.dburi.startswith("postgresql"):
            prepare(options.dburi)
        paths = options.paths or [path for path in DEFAULT if (tests / path).exists()]
        results = [compare(tests, path, arguments) for path in paths]
    return 0 if all(results) else 1


# --- within pytest: this file is its plugin, too ---------------------------------------------------------------------


class _Watched:
    """dbvitals within SQLAlchemy's tests; some of them remove all listeners, ours with them."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

        class Count(SpanProcessor):
            ended = 0

            def on_end(self, span: Any) -> None:
                self.ended += 1

        self.spans = Count()
        self.tests = self.instrumented = 0
        self.tests_of_faults: list[str] = []
        self._test = ""
        self._reader = InMemoryMetricReader()
        self._tracer_provider = TracerProvider()
        self._tracer_provider.add_span_processor(self.spans)
        self._meter_provider = MeterProvider([self._reader])
        self._tell_faults()
        self.instrument()

    def _tell_faults(self) -> None:
        """Note with each fault the test in which it happened, and its traceback."""
        from dbvitals_instrumentation import guard

        count = guard.fault

        def fault(site: str, error: BaseException) -> None:
            self.tests_of_faults.append(f"{self._test}: {site}: {''.join(traceback.format_exception(error))}")
            count(site, error)

        guard.fault = fault

    def instrument(self) -> None:
        """Instrument every engine to come, as an application does."""
        import dbvitals

        self.instrumented += 1
        dbvitals.instrument(tracer_provider=self._tracer_provider, meter_provider=self._meter_provider)

    def before_test(self, name: str) -> None:
        """See that we still listen, and collect now and then."""
        from sqlalchemy.engine.default import DefaultDialect

        from dbvitals import watch

        self._test = name
        self.tests += 1
        if self.tests % COLLECT_EVERY == 0:
            self._reader.get_metrics_data()
        dispatch: Any = DefaultDialect().dispatch
        if not len(dispatch.do_execute):
            watch._watch = None  # there is nothing left to take back
            self.instrument()

    def faults(self) -> dict[str, int]:
        """The faults of dbvitals, after a last collection."""
        from dbvitals_instrumentation import guard

        self._reader.get_metrics_data()
        return guard.faults()


_record: IO[str] | None = None
_watched: _Watched | None = None


def _write(**line: Any) -> None:
    if _record is not None:
        _record.write(json.dumps(line) + "\n")
        _record.flush()


def pytest_configure(config: Any) -> None:
    global _record, _watched
    _record = open(os.environ[RECORD], "w")  # noqa: SIM115
    if os.environ[WATCH]:
        _watched = _Watched()


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        _write(test=report.nodeid, outcome="not collected", text=report.longreprtext)


def pytest_runtest_setup(item: Any) -> None:
    if _watched is not None:
        _watched.before_test(item.nodeid)


def pytest_runtest_logreport(report: Any) -> None:
    outcome = report.outcome if report.when == "call" or not report.failed else f"{report.when} failed"
    if hasattr(report, "wasxfail"):
        outcome = "xpassed" if report.passed else "xfailed"
    _write(test=report.nodeid, outcome=outcome, text=report.longreprtext if report.failed else "")


def pytest_unconfigure(config: Any) -> None:
    import sqlalchemy

    compiled = [
        name
        for name, module in sys.modules.items()
        if name.startswith("sqlalchemy.") and str(getattr(module, "__file__", "")).endswith((".so", ".pyd"))
    ]
    folders = {str(Path(module.__file__ or "").parent) for name, module in sys.modules.items() if name == "sqlalchemy"}
    assert len(folders) == 1
    where = f"{Path(sqlalchemy.__file__).parent} with {len(compiled)} compiled modules"
    if _watched is None:
        _write(faults={}, spans=0, instrumented=0, sqlalchemy=where)
        return
    faults, notes = _watched.faults(), _watched.tests_of_faults
    _write(
        faults=faults,
        notes=notes,
        spans=_watched.spans.ended,
        instrumented=_watched.instrumented,
        sqlalchemy=where,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
