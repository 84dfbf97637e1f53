"""Database observability for Python: see what is slow, why, and what would mend it."""

from typing import TYPE_CHECKING, Any

from dbvitals.watch import instrument, record_cache, uninstrument
from dbvitals_instrumentation.config import Config, ConfigError

if TYPE_CHECKING:
    from dbvitals_processors.slow_queries import SlowQueryProcessor

__all__ = ["Config", "ConfigError", "SlowQueryProcessor", "instrument", "record_cache", "uninstrument"]


def __getattr__(name: str) -> Any:
    """``SlowQueryProcessor`` is imported when it is asked for: the SDK that it needs takes as long as all the rest."""
    if name == "SlowQueryProcessor":
        from dbvitals_processors.slow_queries import SlowQueryProcessor

        return SlowQueryProcessor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
