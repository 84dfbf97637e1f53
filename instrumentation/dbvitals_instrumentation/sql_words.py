"""The words of SQL that something hangs on; lower case."""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


DEFINES = frozenset({"create", "drop", "alter", "refresh", "reindex"})
DEFINED = _set(
    "table view index sequence schema database function procedure trigger type extension role user domain event rule "
    "policy package aggregate operator collation publication subscription server tablespace language cast synonym "
    "login statistics system privileges owned group"
)
BODIES = frozenset({"function", "procedure", "trigger", "event", "rule", "package", "policy"})
ONE_TARGET = frozenset({"insert", "replace", "merge", "copy", "call", "exec", "execute", "pragma", "upsert"})
MANY_TARGETS = frozenset({"update", "truncate", "vacuum", "analyze", "analyse", "lock", "optimize", "table"})
DYNAMIC = frozenset({"savepoint", "release", "rollback", "save"})
SILENT = frozenset({"grant", "revoke", "deny", "comment", "set", "show", "reset", "use", "listen", "notify", "fetch"})
OPERATIONS = (
    DEFINES
    | ONE_TARGET
    | MANY_TARGETS
    | DYNAMIC
    | SILENT
    | _set(
        "select delete values explain describe desc begin start commit end abort do declare close move prepare "
        "deallocate load import unload checkpoint discard attach detach flush kill handler unlock unlisten cluster "
        "rename purge backup restore security reassign xa shutdown check checksum repair install if"
    )
)
AFTER_WITH = frozenset({"select", "insert", "update", "delete", "merge", "replace", "values", "table"})
SKIPPED = _set(
    "into only table tables lateral low_priority high_priority delayed quick ignore if not exists concurrently or "
    "abort fail rollback replace overwrite full freeze verbose analyze skip_locked local no_write_to_binlog extended "
    "immediate top temp temporary unlogged"
)
CLAUSES = _set(
    "where set group order having limit offset fetch window returning union intersect except minus for values qualify "
    "when connect output"
)
NO_TARGET = CLAUSES | _set(
    "select from join inner left right cross natural on using as with and case delete insert update by outfile "
    "dumpfile default is in like null end then else to begin"
)
READS = frozenset({"select", "update", "delete"})
NO_COLLECTION = frozenset({"call", "exec", "execute", "pragma"})
BEFORE_OPERAND = _set(
    "all and as between by case default distinct div else from having ilike in interval is like limit mod not of "
    "offset on or regexp return returning rlike select set similar then to top values when where xor"
)
"""After these, a minus is a sign."""
