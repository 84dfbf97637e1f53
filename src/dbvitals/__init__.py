"""Database observability for Python: see what is slow, why, and what would mend it."""

from dbvitals.watch import instrument, record_cache, uninstrument
from dbvitals_instrumentation.config import Config, ConfigError

__all__ = ["Config", "ConfigError", "instrument", "record_cache", "uninstrument"]
