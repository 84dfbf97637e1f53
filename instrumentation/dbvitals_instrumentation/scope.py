"""Which objects are watched: all of a kind, or those that were named."""

from __future__ import annotations

from weakref import WeakSet


class Scope:
    """A set of weakly held objects, or everything."""

    def __init__(self) -> None:
        self._everything = False
        self._named: WeakSet[object] = WeakSet()

    def add(self, thing: object | None) -> None:
        """Watch ``thing``; ``None`` stands for everything."""
        if thing is None:
            self._everything = True
        else:
            self._named.add(thing)

    def __contains__(self, thing: object) -> bool:
        return self._everything or thing in self._named
