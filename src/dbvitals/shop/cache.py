"""The shop's cache: one key family that serves it well, and one whose keys hardly ever come again.

dbvitals sees one Redis; which family a key belongs to only the shop can tell, so it counts them itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dbvitals.watch import record_cache

PREFIX = "dbvitals-demo:"
SECONDS_TO_LIVE = 300

PRODUCTS = "products"
RECOMMENDATIONS = "recommendations"


class Cache:
    """Values as JSON in Redis."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    def fetch(self, family: str, key: str, make: Callable[[], Any]) -> Any:
        """The value of a key; made and kept where it is not there."""
        name = f"{PREFIX}{family}:{key}"
        found = self._redis.get(name)
        record_cache(family, "miss" if found is None else "hit", tier="application")
        if found is not None:
            return json.loads(found)
        value = make()
        self._redis.set(name, json.dumps(value), ex=SECONDS_TO_LIVE)
        return value

    def clear(self) -> None:
        """Delete the shop's keys and no others."""
        names = list(self._redis.scan_iter(match=f"{PREFIX}*", count=1000))
        if names:
            self._redis.delete(*names)
