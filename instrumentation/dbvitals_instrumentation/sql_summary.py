"""The summary of a statement, as OpenTelemetry has it: operations and their targets, read off the tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dbvitals_instrumentation import semconv
from dbvitals_instrumentation import sql_words as words


@dataclass(slots=True)
class _Scope:
    """What is between one pair of parentheses, as far as operations and targets go."""

    start: bool = False  # a statement may begin
    names: int = 0  # how many CTE names were known outside
    op: str = ""
    under: str = ""  # the operation whose query this one is: INSERT ... SELECT
    kind: str = ""  # of what CREATE creates; "?" before it is known
    expect: str = ""  # the next name is a "source" (unless it is a function) or a "sink"
    listing: bool = False  # a comma is followed by another one
    joined: bool = False  # USING belongs to a JOIN
    cte: str = ""  # how far a WITH clause has come: name, head, as, body, after
    recursive: bool = False
    mark: int = 0  # where in the summary the targets of an UPDATE or DELETE begin
    lazy: str = ""  # an operation that shows only if it has a target


class Summary:
    """Reads operations and their targets off the tokens."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Literal["operation", "collection", "other"]]] = []
        self._scopes = [_Scope(start=True)]
        self._path: list[str] = []
        self._names: list[str] = []
        self._known: dict[str, int] = {}
        self._pending = ""  # a CTE whose body is being read
        self._aliasing = False  # after a source of an UPDATE
        self._silent = ""  # nothing more to tell until "statement" or "text" ends

    def __str__(self) -> str:
        summary = ""
        for entry, _ in self.entries:
            longer = f"{summary} {entry}" if summary else entry
            if len(longer) > semconv.MAX_SUMMARY:
                break
            summary = longer
        return summary

    @property
    def operation(self) -> str | None:
        operations = [entry for entry, kind in self.entries if kind == "operation"]
        return operations[0] if len(operations) == 1 else None

    @property
    def collection(self) -> str | None:
        targets = {target for target in self.entries if target[1] != "operation"}
        if len(targets) != 1:
            return None
        name, kind = targets.pop()
        return name if kind == "collection" and "?" not in name else None

    @property
    def is_idle(self) -> bool:
        """Whether values, calls, commas and parentheses around them would change nothing here."""
        scope = self._scopes[-1]
        busy = scope.cte or scope.expect or scope.listing or scope.start or scope.kind == "?"
        return not (busy or self._path or scope.op in words.DYNAMIC)

    def feed(self, kind: str, raw: str, key: str, before: str) -> bool:
        """Take in a token after the one ``before``; true where it is a name that changes with each call."""
        if self._path:
            if kind == "dot" or (self._path[-1] == "." and kind in ("word", "name", "value")):
                self._path.append("?" if kind == "value" else raw)
                return False
            self._settle(raw == "(")
        if self._aliasing and key != "as":
            self._alias(kind, raw)
        scope = self._scopes[-1]
        if kind == "word":
            return before != "." and self._word(scope, raw, key, before)
        if kind == "name":
            return self._name(scope, raw)
        if kind == "value":
            if scope.op in words.DYNAMIC:
                scope.start = False
            elif scope.expect and before != "top":
                if scope.op == "select" and scope.expect == "sink":
                    scope.expect = ""  # a variable
                else:
                    self._path = ["?"]
        elif kind == "open" or kind == "bracket":
            self._open(scope, raw, before)
        elif kind == "close":
            self._close()
        elif kind == "comma":
            if scope.cte:
                scope.cte = "name"
            elif scope.listing:
                scope.expect, scope.joined = "source", False
        elif kind == "semicolon":
            self.finish()
        elif raw not in ("{", "}", "="):
            scope.start = scope.start and scope.op == "explain"
            scope.expect = ""
        return False

    def _alias(self, kind: str, raw: str) -> None:
        """UPDATE o SET ... FROM orders o, in T-SQL: its target is orders."""
        self._aliasing = False
        scope = self._scopes[-1]
        if kind in ("word", "name") and _folded(raw) == _folded(self.entries[scope.mark][0]):
            del self.entries[scope.mark]
            scope.mark = 0

    def finish(self) -> None:
        """End the statement."""
        if self._path:
            self._settle(False)
        if self._silent != "text":
            self._silent = ""
            self._scopes = [_Scope(start=True)]
            self._names.clear()
            self._known.clear()

    def _settle(self, call: bool) -> None:
        scope = self._scopes[-1]
        path, self._path = self._path, []
        expect, scope.expect = scope.expect, ""
        if path[-1] == ".":
            path.pop()
        name = "".join(path)
        if (call and expect == "source") or (len(path) == 1 and self._known.get(_folded(name))):
            return
        if scope.lazy:
            self.entries.append((scope.lazy, "operation"))
            scope.lazy = ""
        is_collection = scope.op not in words.NO_COLLECTION and scope.kind in ("", "table", "view")
        self.entries.append((name, "collection" if is_collection else "other"))
        self._aliasing = scope.op == "update" and 0 < scope.mark < len(self.entries) - 1

    def _open(self, scope: _Scope, raw: str, before: str) -> None:
        inner = _Scope(names=len(self._names))
        if scope.cte == "as":
            inner.start, scope.cte = True, "body"
        elif scope.cte == "name":
            scope.cte = ""
        elif scope.expect and before not in ("top", "vacuum", "analyze") and raw == "(":
            if scope.op == "copy":
                inner.start = True
            else:
                inner.expect, inner.listing = "source", True
            scope.expect = ""
        elif scope.start and not scope.op and not scope.cte:
            inner.start = True
            scope.start = False
        self._scopes.append(inner)

    def _close(self) -> None:
        if len(self._scopes) == 1:
            return
        scope = self._scopes.pop()
        while len(self._names) > scope.names:
            self._known[self._names.pop()] -= 1
        outer = self._scopes[-1]
        if outer.cte == "body":
            outer.cte = "after"
            self._learn(self._pending)

    def _learn(self, name: str) -> None:
        if name:
            self._names.append(name)
            self._known[name] = self._known.get(name, 0) + 1

    def _name(self, scope: _Scope, raw: str) -> bool:
        if scope.cte == "name":
            self._begin_cte(scope, raw)
        elif scope.expect:
            self._path = [raw]
        elif scope.op in words.DYNAMIC and scope.start:
            scope.start = False
            return True
        elif scope.op != "explain":
            scope.start = False
        return False

    def _begin_cte(self, scope: _Scope, raw: str) -> None:
        scope.cte = "head"
        self._pending = _folded(raw)
        if scope.recursive:
            self._learn(self._pending)

    def _word(self, scope: _Scope, raw: str, key: str, before: str) -> bool:
        if scope.cte and self._in_with(scope, raw, key):
            return False
        if scope.op in words.DYNAMIC and scope.start:
            return self._dynamic(scope, raw, key)
        if scope.kind == "?":
            if key in words.DEFINED:
                self._define(scope, raw, key)
            return False
        if scope.expect:
            if key in words.SKIPPED:
                return False
            if key not in words.NO_TARGET:
                self._path = [raw]
                return False
            scope.expect = ""
        if self._silent:
            return False
        if scope.start and key in words.OPERATIONS and not self._is_part(scope, key):
            self._begin(scope, raw, key)
        elif key == "with":
            if scope.start or before == "(" or before == "as" or scope.op in ("insert", "replace"):
                scope.cte, scope.recursive = "name", False
        else:
            scope.start = scope.start and scope.op in ("explain", "describe", "desc")
            self._clause(scope, raw, key, before)
        return False

    def _is_part(self, scope: _Scope, key: str) -> bool:
        """Whether a word that could be an operation is none: an option of EXPLAIN, the rows of a CTE."""
        return (scope.op == "explain" and key in ("analyze", "analyse")) or (key == "values" and len(self._scopes) > 1)

    def _in_with(self, scope: _Scope, raw: str, key: str) -> bool:
        """Whether a word belongs to a WITH clause."""
        if scope.cte == "name":
            if key == "recursive":
                scope.recursive = True
            else:
                self._begin_cte(scope, raw)
        elif scope.cte == "head":
            scope.cte = "as" if key == "as" else ""
        elif scope.cte == "after" and key in words.AFTER_WITH:
            scope.cte, scope.start = "", True
            return False
        return True

    def _dynamic(self, scope: _Scope, raw: str, key: str) -> bool:
        if key in ("to", "savepoint") or (scope.op == "save" and key in ("transaction", "tran")):
            self.entries[-1] = (f"{self.entries[-1][0]} {raw}", "operation")
            return False
        if key in ("work", "transaction", "tran"):
            return False
        scope.start = False
        return key not in ("and", "prepared")

    def _define(self, scope: _Scope, raw: str, key: str) -> None:
        self.entries[-1] = (f"{self.entries[-1][0]} {raw}", "operation")
        scope.kind, scope.expect, scope.listing = key, "sink", scope.op == "drop"
        if key in words.BODIES and scope.op == "create":
            self._silent = "text"
        elif scope.op != "create":
            self._silent = "statement"

    def _begin(self, scope: _Scope, raw: str, key: str) -> None:
        scope.under, scope.op = scope.op, key
        scope.listing, scope.expect, scope.joined, scope.lazy, scope.kind = False, "", False, "", ""
        scope.start = key in ("explain", "describe", "desc") or key in words.DYNAMIC
        self.entries.append((raw, "operation"))
        if key in words.ONE_TARGET:
            scope.expect = "sink"
        elif key in words.MANY_TARGETS or key == "delete":
            scope.expect, scope.listing, scope.mark = "sink", True, len(self.entries)
        elif key in words.DEFINES:
            scope.kind = "?"
        elif key in words.SILENT:
            self._silent = "statement"

    def _clause(self, scope: _Scope, raw: str, key: str, before: str) -> None:
        if key == "select":
            self._begin(scope, raw, key)
        elif key == "from":
            if scope.op in words.READS and before != "distinct":
                if scope.op == "delete" and scope.mark:
                    del self.entries[scope.mark :]
                    scope.mark = 0
                scope.expect, scope.listing, scope.joined = "source", True, False
        elif key == "join" or (key in ("straight_join", "apply") and scope.listing):
            if scope.listing or scope.op in words.READS:
                scope.expect, scope.listing, scope.joined = "source", True, key != "apply"
        elif key == "using":
            if scope.op in ("delete", "merge") and not scope.joined:
                scope.expect, scope.listing = "source", True
        elif key == "into":
            if scope.op in ("select", "insert", "replace", "merge", "load", "import"):
                scope.expect, scope.listing = "sink", False
        elif key in words.CLAUSES:
            scope.listing = False
            if key == "values":
                self._values(before)
        elif key == "transaction" and scope.op == "start":
            self.entries[-1] = (f"{self.entries[-1][0]} {raw}", "operation")

    def _values(self, before: str) -> None:
        """INSERT ... SELECT ... FROM (VALUES ...), SQLAlchemy's insertmanyvalues, is an INSERT and no SELECT."""
        if before == "(" and len(self._scopes) > 1:
            outer = self._scopes[-2]
            inserts = outer.op == "select" and outer.under == "insert" and outer.listing
            if inserts and self.entries[-1][1] == "operation":
                outer.lazy = self.entries.pop()[0]


def _folded(name: str) -> str:
    return name.strip('"`[]').lower()
