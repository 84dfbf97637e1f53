"""What a Collector's exporter shows to Prometheus, read."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAMPLE = re.compile(
    r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*?)\})? (?P<value>\S+)(?: # \{(?P<exemplar>.*?)\} \S+.*)?$"
)
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line: a series, its value, and its exemplar's labels where it has one."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    value: float
    exemplar: dict[str, str]

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.pairs)


def samples(text: str, name: str | None = None) -> list[Sample]:
    """All samples, or those of one name."""
    found = []
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is not None and name in (None, match["name"]):
            exemplar = dict(_LABEL.findall(match["exemplar"] or ""))
            found.append(
                Sample(match["name"], tuple(_LABEL.findall(match["labels"] or "")), float(match["value"]), exemplar)
            )
    return found
