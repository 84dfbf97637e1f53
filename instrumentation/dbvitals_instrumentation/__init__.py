"""Observe: SQLAlchemy queries, connection pools and Redis commands as OpenTelemetry spans and metrics."""
