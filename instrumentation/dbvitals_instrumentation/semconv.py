"""Every attribute, metric, unit, span name and bucket boundary that dbvitals emits.

Standard names follow OpenTelemetry's stable database conventions (semantic-conventions, ``docs/db/``); they are
written out here because the generated constants live in a package whose stable and incubating halves move between
releases. Ours begin with ``dbvitals.``. No other module spells a name.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
SCOPE: Final = "dbvitals"

# --- Attributes of OpenTelemetry -------------------------------------------------------------------------------
DB_SYSTEM_NAME: Final = "db.system.name"
DB_NAMESPACE: Final = "db.namespace"
DB_OPERATION_NAME: Final = "db.operation.name"
DB_OPERATION_BATCH_SIZE: Final = "db.operation.batch.size"
DB_COLLECTION_NAME: Final = "db.collection.name"
DB_STORED_PROCEDURE_NAME: Final = "db.stored_procedure.name"
DB_QUERY_TEXT: Final = "db.query.text"
DB_QUERY_SUMMARY: Final = "db.query.summary"
DB_QUERY_PARAMETER: Final = "db.query.parameter"
DB_RESPONSE_RETURNED_ROWS: Final = "db.response.returned_rows"
DB_RESPONSE_STATUS_CODE: Final = "db.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
NETWORK_PEER_ADDRESS: Final = "network.peer.address"
NETWORK_PEER_PORT: Final = "network.peer.port"
ERROR_TYPE: Final = "error.type"
POOL_NAME: Final = "db.client.connection.pool.name"
CONNECTION_STATE: Final = "db.client.connection.state"
CODE_FUNCTION_NAME: Final = "code.function.name"
CODE_FILE_PATH: Final = "code.file.path"
CODE_LINE_NUMBER: Final = "code.line.number"

IDLE: Final = "idle"
USED: Final = "used"

# --- Attributes of the conventions before they were stable: read by the span reader, never emitted ----------------
OLD_DB_SYSTEM: Final = "db.system"
OLD_DB_NAME: Final = "db.name"
OLD_DB_STATEMENT: Final = "db.statement"
OLD_DB_OPERATION: Final = "db.operation"
OLD_DB_SQL_TABLE: Final = "db.sql.table"
OLD_NET_PEER_NAME: Final = "net.peer.name"
OLD_NET_PEER_PORT: Final = "net.peer.port"

# --- Attributes of dbvitals --------------------------------------------------------------------------------------
FINGERPRINT: Final = "dbvitals.query.fingerprint"
PARAMETERS_HASH: Final = "dbvitals.query.parameters_hash"
RELATIONSHIP: Final = "dbvitals.orm.relationship"
POOL_WAIT: Final = "dbvitals.pool.wait"
POOL_NEW_CONNECTION: Final = "dbvitals.pool.new_connection"
POOL_RESIZE_DIRECTION: Final = "dbvitals.pool.resize.direction"
CACHE_NAME: Final = "dbvitals.cache.name"
CACHE_HIT: Final = "dbvitals.cache.hit"
CACHE_TIER: Final = "dbvitals.cache.tier"
CACHE_RESULT: Final = "dbvitals.cache.result"
CACHE_OPERATION: Final = "dbvitals.cache.operation"
SLOW: Final = "dbvitals.slow"
SLOW_REASON: Final = "dbvitals.slow.reason"
SLOW_THRESHOLD: Final = "dbvitals.slow.threshold"
N_PLUS_ONE: Final = "dbvitals.n_plus_one"
INDEX_HINT_IDS: Final = "dbvitals.index_hint.ids"
INDEX_HINT_ID: Final = "dbvitals.index_hint.id"
INDEX_HINT_COLUMNS: Final = "dbvitals.index_hint.columns"
INDEX_HINT_DDL: Final = "dbvitals.index_hint.ddl"
INDEX_HINT_VERIFICATION: Final = "dbvitals.index_hint.verification"
INDEX_HINT_STATE: Final = "dbvitals.index_hint.state"
CIRCUIT_NAME: Final = "dbvitals.circuit.name"
EXEMPLAR: Final = "dbvitals.exemplar"
PROBE_ID: Final = "dbvitals.probe.id"
REASON: Final = "dbvitals.reason"
SITE: Final = "dbvitals.site"

HIT: Final = "hit"
MISS: Final = "miss"
BYPASS: Final = "bypass"
ERROR: Final = "error"

THRESHOLD: Final = "threshold"
OUTLIER: Final = "outlier"
REGRESSION: Final = "regression"
SLOW_QUEUE_FULL: Final = "slow_queue_full"

OTHER: Final = "other"
"""The fingerprint that all queries share which have no series of their own."""

UP: Final = "up"
DOWN: Final = "down"
CIRCUIT_CLOSED: Final = 0
CIRCUIT_HALF_OPEN: Final = 1
CIRCUIT_OPEN: Final = 2

# --- Attributes of resources ---------------------------------------------------------------------------------------
SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
SERVICE_VERSION: Final = "service.version"
DEPLOYMENT_ENVIRONMENT_NAME: Final = "deployment.environment.name"

# --- Span names --------------------------------------------------------------------------------------------------
CHECKOUT_SPAN: Final = "pool checkout"
HOLD_SPAN: Final = "pool hold"
CACHE_GET_SPAN: Final = "cache get"
PROBE_SPAN: Final = "dbvitals probe"

# --- Metrics -----------------------------------------------------------------------------------------------------
OPERATION_DURATION: Final = "db.client.operation.duration"
RETURNED_ROWS: Final = "db.client.response.returned_rows"
CONNECTION_COUNT: Final = "db.client.connection.count"
CONNECTION_MAX: Final = "db.client.connection.max"
CONNECTION_IDLE_MAX: Final = "db.client.connection.idle.max"
CONNECTION_IDLE_MIN: Final = "db.client.connection.idle.min"
CONNECTION_PENDING_REQUESTS: Final = "db.client.connection.pending_requests"
CONNECTION_TIMEOUTS: Final = "db.client.connection.timeouts"
CONNECTION_CREATE_TIME: Final = "db.client.connection.create_time"
CONNECTION_WAIT_TIME: Final = "db.client.connection.wait_time"
CONNECTION_USE_TIME: Final = "db.client.connection.use_time"
CONNECTION_INVALIDATIONS: Final = "dbvitals.connection.invalidations"
QUERY_INFO: Final = "dbvitals.query.info"
QUERY_N_PLUS_ONE: Final = "dbvitals.query.n_plus_one"
QUERY_SLOW: Final = "dbvitals.query.slow"
CACHE_REQUESTS: Final = "dbvitals.cache.requests"
CACHE_OPERATION_DURATION: Final = "dbvitals.cache.operation.duration"
INDEX_HINT_SAVING: Final = "dbvitals.index_hint.saving"
INDEX_HINT_FIRST_SEEN: Final = "dbvitals.index_hint.first_seen"
POOL_RESIZES: Final = "dbvitals.pool.resizes"
CACHE_INVALIDATIONS: Final = "dbvitals.cache.invalidations"
CACHE_EVICTIONS: Final = "dbvitals.cache.evictions"
CIRCUIT_STATE: Final = "dbvitals.circuit.state"
FAULTS: Final = "dbvitals.faults"
DROPPED: Final = "dbvitals.dropped"
PROBE: Final = "dbvitals.probe"

SECONDS: Final = "s"
SECONDS_PER_HOUR: Final = "s/h"
ROWS: Final = "{row}"
QUERIES: Final = "{query}"
CONNECTIONS: Final = "{connection}"
REQUESTS: Final = "{request}"
TIMEOUTS: Final = "{timeout}"
INVALIDATIONS: Final = "{invalidation}"
FAULT_UNIT: Final = "{fault}"
OCCURRENCES: Final = "{occurrence}"
ITEMS: Final = "{item}"
RESIZES: Final = "{resize}"
EVICTIONS: Final = "{eviction}"
STATE: Final = "{state}"
PROBES: Final = "{probe}"

DURATION_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
ROW_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

# --- Limits of the conventions -----------------------------------------------------------------------------------
MAX_SUMMARY: Final = 255
MAX_INFO_TEXT: Final = 1000

# --- Database systems: SQLAlchemy dialect name -> db.system.name and the port that needs no mention ----------------
SYSTEMS: Final[dict[str, str]] = {
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
    "sqlite": "sqlite",
    "mssql": "microsoft.sql_server",
    "oracle": "oracle.db",
    "cockroachdb": "cockroachdb",
    "redshift": "aws.redshift",
    "clickhouse": "clickhouse",
    "clickhousedb": "clickhouse",
    "trino": "trino",
    "snowflake": "snowflake",
    "db2": "ibm.db2",
    "ibm_db_sa": "ibm.db2",
    "hana": "sap.hana",
    "firebird": "firebirdsql",
    "teradatasql": "teradata",
    "spanner+spanner": "gcp.spanner",
    "hive": "hive",
}
OTHER_SQL: Final = "other_sql"
REDIS: Final = "redis"
DEFAULT_PORTS: Final[dict[str, int]] = {
    "postgresql": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "microsoft.sql_server": 1433,
    "oracle.db": 1521,
    "cockroachdb": 26257,
    "redis": 6379,
}
