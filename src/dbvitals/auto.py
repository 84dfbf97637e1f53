"""What `opentelemetry-instrument` and `dbvitals run` call: OpenTelemetry's entry points for auto-instrumentation.

Their order is distro, configurator, ``pre_instrument``, instrumentors, ``post_instrument``. dbvitals brings no distro
and no configurator of its own, since the first one found wins and that may be a vendor's.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined, unused-ignore]

from dbvitals import farewell, identity, watch
from dbvitals_instrumentation import guard
from dbvitals_instrumentation.config import Config, ConfigError

REPORT_FOLDER = "DBVITALS_REPORT_FOLDER"
"""Where `dbvitals run` collects what its processes saw; set by it, not by users."""

_log = logging.getLogger("dbvitals")
_recorded: metrics.MeterProvider | None = None  # not the global one where that takes no more readers


def pre_instrument() -> None:
    """Give the process an SDK where no configurator did, and a recorder where `dbvitals run` wants a report."""
    config = _config()
    if config is None or not config.enabled:
        return
    try:
        if type(trace.get_tracer_provider()) is trace.ProxyTracerProvider:
            _configure_sdk()
        identity.adopt(trace.get_tracer_provider(), metrics.get_meter_provider())
        farewell.before_end(_flush)
        atexit.register(farewell.forget, _flush)  # from there on the SDK shuts down by itself
        folder = os.environ.get(REPORT_FOLDER)
        if folder:
            from dbvitals.recorder import Recorder

            global _recorded
            _recorded = Recorder(Path(folder), config=config).attach(
                trace.get_tracer_provider(), metrics.get_meter_provider()
            )
    except Exception as error:
        guard.fault("auto.pre_instrument", error)


class DbvitalsInstrumentor(BaseInstrumentor):  # type: ignore[misc, unused-ignore]
    """dbvitals as an OpenTelemetry instrumentor, in the manner of the others."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: each plug looks for its library by itself."""
        return ()

    def _instrument(self, **options: Any) -> None:
        config = _config()
        if config is not None:
            watch.instrument(
                tracer_provider=options.get("tracer_provider"),
                meter_provider=options.get("meter_provider") or _recorded,
                config=config,
            )

    def _uninstrument(self, **_options: Any) -> None:
        watch.uninstrument()


def post_instrument() -> None:
    """Take out the official SQLAlchemy instrumentation, which is installed beside dbvitals, unless it is asked for."""
    config = _config()
    if config is None or not config.enabled or config.query_spans != "auto":
        return
    module = sys.modules.get("opentelemetry.instrumentation.sqlalchemy")
    if module is None:  # importing it imports SQLAlchemy
        return
    try:
        official = module.SQLAlchemyInstrumentor()
        if official.is_instrumented_by_opentelemetry:
            official.uninstrument()
    except Exception as error:
        guard.fault("auto.post_instrument", error)


def _flush() -> None:
    """Export what the SDK still holds."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        if hasattr(provider, "force_flush"):
            provider.force_flush(timeout_millis=1_000)


def _config() -> Config | None:
    """The configuration, or one line in the log: an application must not fail to start for it."""
    try:
        return Config.from_environment()
    except ConfigError as error:
        _log.error("dbvitals is off: %s", error)
        return None


def sdk_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """What the SDK is told unless the environment says otherwise.

    OTLP, as OpenTelemetry's distro has it; over HTTP where the endpoint's port is 4318, the specification's port for
    that, since the SDK would speak gRPC to it and lose everything.
    """
    defaults = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"}
    if environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/").endswith(":4318"):
        defaults["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    return defaults


def _configure_sdk() -> None:
    """The SDK as the environment asks for, as OpenTelemetry's own distro would do it: OTLP unless told otherwise."""
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator

    for name, value in sdk_defaults(os.environ).items():
        os.environ.setdefault(name, value)
    configurator: Any = _OTelSDKConfigurator
    configurator().configure()
