"""From where on a number is good, to be watched, or bad. Alerts have the same limits."""

from __future__ import annotations

MEAN = ((None, "green"), (0.05, "red"))
"""Seconds of a query on average."""

SLOW_SHARE = ((None, "green"), (0.1, "orange"), (0.2, "red"))
ERRORS = ((None, "green"), (0.01, "orange"), (0.05, "red"))
HITS = ((None, "red"), (0.8, "orange"), (0.9, "green"))
"""A cache's; below nine of ten it costs more looks than it saves."""

BAND = ((None, "blue"), (0.7, "green"), (0.8, "orange"), (0.95, "red"))
"""A pool's use: too large, of the right size, tight, exhausted."""

BAND_GROUND = ((None, "transparent"), (0.7, "green"), (0.8, "orange"), (0.95, "red"))
"""The same as coloured ground, with the usual left plain."""

BURN = ((None, "green"), (1, "orange"), (6, "red"))
"""Of an error budget, in multiples of the pace that uses it up exactly."""

CHANGE = ((None, "green"), (0.2, "orange"), (0.5, "red"))
"""How much slower than then: half as long again is a regression."""

ANY = ((None, "green"), (1e-9, "orange"))
"""Something that should not happen at all."""

ANY_BAD = ((None, "green"), (1e-9, "red"))
FULL = ((None, "green"), (0.5, "orange"), (0.8, "red"))
"""A queue's."""
