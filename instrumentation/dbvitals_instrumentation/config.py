"""The settings of dbvitals: one frozen object, each field also an environment variable ``DBVITALS_<FIELD>``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import inf
from typing import Any, Literal, cast

PREFIX = "DBVITALS_"

QuerySpans = Literal["auto", "official", "off"]
Caller = Literal["sampled", "always", "off"]


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, what it was and what it may be."""


def _setting(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    at_least: int | None = None,
    seconds: bool = False,
    secret: bool = False,
) -> Any:
    """One field.

    Args:
        seconds: its value, or the second of each of its pairs, is a positive number of seconds, or the default.
        secret: it may hold a password.
    """
    told = {"doc": doc, "choices": choices, "at_least": at_least, "seconds": seconds}
    return field(default=default, repr=not secret, metadata=told)


@dataclass(frozen=True, kw_only=True)
class Config:
    """How dbvitals observes; ``Config()`` is the default of every field, ``Config.from_environment()`` reads them.

    Raises:
        ConfigError: a value of the wrong kind or outside its range.
    """

    enabled: bool = _setting(True, "false: `instrument()` does nothing.")
    query_spans: QuerySpans = _setting(
        "auto",
        "`auto`: spans of our own, or the official instrumentation's enriched where it is active on an engine; "
        "`official`: leave the spans to opentelemetry-instrumentation-sqlalchemy and enrich them; "
        "`off`: metrics only.",
        choices=("auto", "official", "off"),
    )
    query_text: bool = _setting(True, "Put `db.query.text` on spans: parameterised text as it is, literals as `?`.")
    query_text_length: int = _setting(8192, "Cut `db.query.text` to this many characters.", at_least=64)
    query_parameters: bool = _setting(
        False, "Put the values of parameters on spans as `db.query.parameter.<key>`. They may be personal data."
    )
    sample_parameters: bool = _setting(
        False,
        "Keep a few samples of parameters for each query in the process, for the index advisor's planner. They are "
        "never exported.",
    )
    query_info: bool = _setting(True, "Export `dbvitals.query.info`: the text behind each fingerprint, once.")
    caller: Caller = _setting(
        "sampled",
        "Name the application's function, file and line on query spans: for the 1st, 2nd, 4th, 8th … call of a "
        "statement, `always`, or `off`.",
        choices=("sampled", "always", "off"),
    )
    suppress_nested: bool = _setting(
        True, "Silence spans of other instrumentations (drivers, HTTP) below a query or Redis span."
    )
    sqlcommenter: bool = _setting(False, "Append an sqlcommenter comment with `traceparent` to each statement.")
    sqlcommenter_tags: tuple[tuple[str, str], ...] = _setting(
        (), "More tags of the sqlcommenter comment, in pairs: `key=value,key=value`."
    )
    pool: bool = _setting(True, "Watch connection pools: the `db.client.connection.*` metrics.")
    pool_spans: bool = _setting(True, "A span `pool checkout` for each connection taken from a pool.")
    redis: bool = _setting(True, "Watch redis-py clients.")
    redis_spans: bool = _setting(True, "A span for each Redis command or pipeline.")
    redis_metrics: bool = _setting(
        True, "Switch on metrics of redis-py's own (7.2 and later): errors, time-outs, client-side caching."
    )
    parameters_hash: bool = _setting(
        True,
        "Put `dbvitals.query.parameters_hash` on query spans within a trace: a keyed hash by which a query that is "
        "asked again with the same parameters is found. The key is random and never leaves the process.",
    )
    n_plus_one_threshold: int = _setting(
        5,
        "How often a query must be repeated under one span to be an N+1. Fewer are often meant: a handful of look-ups "
        "by key is written for the reader, and one query instead would save little.",
        at_least=2,
    )
    slow: bool = _setting(
        True, "Flag slow queries on spans and in metrics: by a threshold, as outliers, and as regressions."
    )
    slow_threshold: float = _setting(0.1, "Seconds from which any query is slow.", seconds=True)
    slow_thresholds: tuple[tuple[str, str], ...] = _setting(
        (),
        "Seconds for some queries, the most precise pattern wins: an operation, `namespace/operation`, or `fp:` and a "
        "fingerprint, with `*`: `SELECT=0.2,shop/*=0.05,fp:3fa9*=1`.",
        seconds=True,
    )
    baseline_file: str = _setting(
        "",
        "Where the usual durations of queries are kept, so that a new release is compared with the last one: a file, "
        "or the URL of a Redis (`redis://…`).",
    )
    advise: float = _setting(
        0.0,
        "Seconds between two looks for missing indexes, for example `3600`, by a thread of its own in the service; 0: "
        "none.",
        seconds=True,
    )
    advise_database: str = _setting(
        "",
        "Whom that thread asks: a SQLAlchemy URL, best of a user who may only read, or `engine`: the application's own "
        "URL. Nothing is written there.",
        secret=True,
    )
    hints_file: str = _setting(
        "",
        "Where the history of index hints is kept, a JSON file: which are open, which were applied, and what these "
        "have saved. If not set, it lies beside the baselines, as `….hints.json`.",
    )
    max_fingerprints: int = _setting(
        200, "How many queries keep metric series of their own; the cheaper rest shares `other`.", at_least=1
    )
    max_statements: int = _setting(2000, "How many distinct statements each engine remembers.", at_least=1)

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name), item.default, item.metadata)
        if self.advise and self.advise_database != "engine" and "://" not in self.advise_database:
            raise ConfigError(  # without its text: it may be a password
                "advise_database=…: with advise, it must be the URL of a database, or engine for the application's own"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read every ``DBVITALS_<FIELD>`` that is set and not empty; the rest keep their defaults.

        Raises:
            ConfigError: a variable whose text cannot be read.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = environ.get(PREFIX + item.name.upper(), "").strip()
            if text:
                values[item.name] = _parse(item.name, text, item.default)
        try:
            return cls(**values)
        except ConfigError as error:  # it names the field; whoever set a variable looks for that
            name, _, rest = str(error).partition("=")
            raise ConfigError(f"{PREFIX}{name.upper()}={rest}") from None


def _parse(name: str, text: str, default: object) -> object:
    parser = cast("Callable[[str, str], object]", _PARSERS.get(type(default), lambda _name, value: value))
    return parser(name, text)


def _boolean(name: str, text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise ConfigError(f"{PREFIX}{name.upper()}={text!r}: must be true or false")


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{PREFIX}{name.upper()}={text!r}: must be a whole number") from None


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{PREFIX}{name.upper()}={text!r}: must be a number") from None


def _pairs(name: str, text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not equals or not key.strip() for key, equals, _ in pairs):
        raise ConfigError(f"{PREFIX}{name.upper()}={text!r}: must be key=value pairs with commas between them")
    return tuple((key.strip(), value.strip()) for key, _, value in pairs)


_PARSERS: dict[type, Callable[[str, str], object]] = {
    bool: _boolean,
    int: _integer,
    float: _number,
    tuple: _pairs,
}


def _check(name: str, value: object, default: object, metadata: Mapping[str, Any]) -> None:
    choices, at_least = metadata["choices"], metadata["at_least"]
    if choices and value not in choices:
        raise ConfigError(f"{name}={value!r}: must be one of {', '.join(choices)}")
    if at_least is not None and (not isinstance(value, int) or isinstance(value, bool) or value < at_least):
        raise ConfigError(f"{name}={value!r}: must be a whole number of at least {at_least}")
    if metadata["seconds"] and value != default:
        for label, number in [(f"{key}=", text) for key, text in value] if isinstance(value, tuple) else [("", value)]:
            if not _is_positive(number):
                raise ConfigError(f"{name}={label}{number!r}: must be a positive number of seconds")
    kind = {"bool": bool}.get(str(Config.__annotations__[name]))
    if kind is not None and not isinstance(value, kind):
        raise ConfigError(f"{name}={value!r}: must be true or false")


def _is_positive(number: Any) -> bool:
    try:
        return not isinstance(number, bool) and 0 < float(number) < inf
    except (TypeError, ValueError):
        return False
