"""Draws docs/overview.png: the expressions of the dashboards' panels, asked of a real pipeline, drawn by matplotlib.

    python scripts/services.py run --only postgresql,redis -- python scripts/overview_picture.py

Titles, legends, units and limits are those of dashboards/*.json; the look is not Grafana's, and does not try to be. It
takes five minutes. With `--answers FILE`, what Prometheus said is kept in the file, and drawn again from there.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psycopg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from dbvitals.doctor.web import get_json
from dbvitals.stack.local import LocalStack
from dbvitals.stack.names import label, metric
from dbvitals.stack.ports import Ports
from dbvitals_instrumentation import semconv

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "overview.png"
CAPTION = "Queries of the dashboards' panels on a real run of the demo's shop, drawn by matplotlib"

GRAPHS = (
    "Queries per second by service",
    "Mean duration by service",
    "p95 and p99 duration by service",
    "Slow share by service",
    "Pool use by pool",
    "Cache hits by cache",
)
TABLE = "Queries"
COLUMNS = ("Query", "Fingerprint", "Share of time", "Calls/s", "Mean", "p95", "N+1 loops", "Hint, saves/h")

SCALE = "5"  # of the shop, whose demo has 1: enough rows for a missing index to be felt
WARM_UP = 40  # seconds for filling the shop's tables, and for the first window of a rate
SECONDS = 240
CREATE = SECONDS // 2  # when the indexes of the hints are created; the table is of the time before
STEP = 5  # what Grafana takes with the data source of compose.yaml, where DBVITALS_SCRAPE_INTERVAL is 5s
VARIABLES = {"__rate_interval": f"{4 * STEP}s", "__range": f"{CREATE}s", "compare": "1d"}  # of all others: All

Panel = dict[str, Any]
Answers = dict[str, Any]


def panels() -> dict[str, Panel]:
    """What is drawn, by title."""
    found = {}
    for file, titles in (("overview.json", GRAPHS), ("queries.json", (TABLE,))):
        board = json.loads((ROOT / "dashboards" / file).read_text(encoding="utf-8"))
        by_title = {panel["title"]: panel for panel in board["panels"] if panel["type"] != "row"}
        found.update({title: by_title[title] for title in titles})
    return found


def run(wanted: Mapping[str, Panel]) -> Answers:
    """The answers to each panel, by its title, after some minutes of the shop; and which indexes were created."""
    database, redis = (os.environ[f"DBVITALS_TEST_{name}_URL"] for name in ("POSTGRESQL", "REDIS"))
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder) / "stack", Ports.free()) as stack:
        settings = {"OTEL_SERVICE_NAME": "shop", "DBVITALS_ADVISE": "3", "DBVITALS_ADVISE_DATABASE": "engine"}
        command = [sys.executable, "-m", "dbvitals", "run", "--", sys.executable, "-m", "dbvitals.shop"]
        command += ["--scale", SCALE, "--seconds", str(10 * SECONDS), "--database", database, "--redis", redis]
        shop = subprocess.Popen(command, env={**os.environ, **stack.service_environment(), **settings})
        try:
            time.sleep(WARM_UP + CREATE)
            created = create_indexes(stack.prometheus_url, database)
            time.sleep(SECONDS - CREATE)
            if shop.poll() is not None:
                raise SystemExit("the shop has ended before its time")
            start = time.time() - SECONDS
            found = {title: answers(stack.prometheus_url, panel, start) for title, panel in wanted.items()}
            return {"created": created, **found}
        finally:
            shop.terminate()
            shop.wait(60)


def create_indexes(prometheus: str, database: str) -> list[str]:
    """Do what the open index hints say."""
    saving = metric(semconv.INDEX_HINT_SAVING, semconv.SECONDS_PER_HOUR, "gauge")
    place = f"{label(semconv.DB_COLLECTION_NAME)}, {label(semconv.INDEX_HINT_COLUMNS)}"
    query = f'topk by ({place}) (1, {saving}{{{label(semconv.INDEX_HINT_STATE)}="open"}} > 0)'
    hints = ask(prometheus, "query", query=query)["result"]
    statements = sorted({hint["metric"][label(semconv.INDEX_HINT_DDL)] for hint in hints})
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    return statements


def answers(prometheus: str, panel: Panel, start: float) -> Answers:
    """What Prometheus says to each query of a panel, by its letter, and the exemplars."""
    span = {"start": start, "end": start + SECONDS}
    found: Answers = {"start": start, "exemplars": []}
    for target in panel["targets"]:
        query = re.sub(r"\$(\w+)", lambda name: VARIABLES.get(name[1], ".*"), target["expr"])
        if target["instant"]:
            found[target["refId"]] = ask(prometheus, "query", query=query, time=start + CREATE)["result"]
            continue
        found[target["refId"]] = ask(prometheus, "query_range", query=query, **span, step=STEP)["result"]
        if target["exemplar"]:
            found["exemplars"] += ask(prometheus, "query_exemplars", query=query, **span)
    return found


def ask(prometheus: str, what: str, **parameters: object) -> Any:
    asked = {name: str(value) for name, value in parameters.items()}
    return get_json(f"{prometheus}/api/v1/{what}", timeout=60, **asked)["data"]


INK, FAINT, RULE = "#1f2328", "#59636e", "#e1e5ea"
LINES = ("#0072b2", "#aa4499", "#33bbcc")  # the colour-blind tell them apart, too, and from the limits' colours
LIMITS = {"green": "#1a7f4b", "orange": "#c77700", "red": "#cc3311", "blue": "#0072b2"}
TITLE: dict[str, Any] = {"weight": "bold", "size": 8.8}
STYLE = {
    **{"font.family": "DejaVu Sans", "font.size": 7.8, "text.color": INK, "xtick.color": FAINT, "ytick.color": FAINT},
    **{f"axes.spines.{side}": False for side in ("top", "left", "right")},
    **{"axes.edgecolor": FAINT, "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True},
    **{"grid.color": RULE, "grid.linewidth": 0.6, "ytick.major.size": 0},
    **{"legend.framealpha": 1, "legend.edgecolor": "white", "legend.borderpad": 0.1, "legend.borderaxespad": 0.3},
    **{"legend.handlelength": 1.0, "legend.handletextpad": 0.5, "legend.columnspacing": 1.2},
}

# Inches, of which nine at a hundred dots each are as wide as a README.
WIDTH, MARGIN = 9.0, 0.15
LEFT, PLOT, GAP = 0.53, 2.1, 0.9  # the graphs: what is before the first, how wide each is, what is between two
HEAD, HEIGHT, BELOW = 0.5, 1.4, 0.3
LINE, ROWS, BAR = 0.225, 6, 0.85  # the table
STOPS = (0, 1.72, 3.65, 5.35, 6.15, 6.95, 7.8, 8.7)  # where the texts of its columns begin, and the numbers end


def shown(value: float, unit: str) -> str:
    """A number in one of Grafana's units."""
    if unit == "s":
        return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 100 else f"{value / 60:.3g} min"
    return {"percentunit": f"{100 * value:.3g} %", "ops": f"{value:.3g}/s"}.get(unit, f"{value:,.0f}")


def draw(wanted: Mapping[str, Panel], said: Answers) -> None:
    """Save the picture."""
    table_height, foot = LINE * (ROWS + 2), 0.55
    height = -(-len(GRAPHS) // 3) * (HEAD + HEIGHT + BELOW) + table_height + foot + 0.12
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), dpi=200, facecolor="white")
        for number, title in enumerate(GRAPHS):
            x = LEFT + number % 3 * (PLOT + GAP)
            y = height - (number // 3 + 1) * (HEAD + HEIGHT + BELOW) + BELOW
            axes = figure.add_axes((x / WIDTH, y / height, PLOT / WIDTH, HEIGHT / height))
            graph(axes, wanted[title], said[title])
            axes.axvline(CREATE, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        area = (MARGIN / WIDTH, foot / height, 1 - 2 * MARGIN / WIDTH, table_height / height)
        table(figure.add_axes(area), wanted[TABLE], said[TABLE])
        note = f"dotted: {len(said['created'])} indexes are created, as the hints say; the table is of the time before"
        figure.text(MARGIN / WIDTH, 0.13 / height, f"{CAPTION};\n{note}.", color=FAINT, linespacing=1.4)
        figure.savefig(drawn := io.BytesIO())
    Image.open(drawn).convert("RGB").quantize(dither=Image.Dither.NONE).save(PICTURE, optimize=True)


def graph(axes: Any, panel: Panel, said: Answers) -> None:
    """A panel of lines over time."""
    defaults = panel["fieldConfig"]["defaults"]
    unit, custom = defaults["unit"], defaults["custom"]
    highest = custom.get("axisSoftMax", 0.0)
    points = {(e["timestamp"] - said["start"], float(e["value"])) for s in said["exemplars"] for e in s["exemplars"]}
    for target in panel["targets"]:
        for series in said[target["refId"]]:
            x, y = zip(*((moment - said["start"], float(value)) for moment, value in series["values"]), strict=True)
            name, colour = legend(target["legendFormat"], series["metric"]), LINES[len(axes.lines) % len(LINES)]
            axes.plot(x, y, color=colour, linewidth=1.5, label=name, clip_on=False, zorder=3)
            highest = max(highest, *(value for value in y if not math.isnan(value)))
    if points:
        axes.scatter(*zip(*points, strict=True), s=5, color=FAINT, linewidth=0, alpha=0.4, label="exemplars")
    axes.set(xlim=(0, SECONDS), ylim=(defaults["min"], 1.04 * highest))
    limits(axes, defaults["thresholds"]["steps"], custom["thresholdsStyle"]["mode"], unit)
    indent = (MARGIN - LEFT) / PLOT
    axes.set_title(panel["title"], loc="left", x=indent, pad=17, **TITLE)
    above = sum(map(len, axes.get_legend_handles_labels()[1])) < 32
    axes.legend(**({"loc": "lower left", "bbox_to_anchor": (indent, 1), "ncols": 3} if above else {"loc": "best"}))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit) if value else "0"))
    axes.xaxis.set_major_locator(MultipleLocator(60))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 60:.0f} min" if value else "0"))


def legend(template: str, labels: Mapping[str, str]) -> str:
    """The name of a line."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template).strip()


def limits(axes: Any, steps: list[dict[str, Any]], mode: str, unit: str) -> None:
    """The panel's thresholds, as the panel shows them: dashed lines, or areas."""
    top = axes.get_ylim()[1]
    ends = [step["value"] for step in steps[1:]] + [top]
    for step, end in zip(steps[1:] if mode != "off" else [], ends[1:], strict=False):
        low, colour = step["value"], LIMITS[step["color"]]
        if mode == "area":
            axes.axhspan(low, end, color=colour, alpha=0.16, linewidth=0)
        else:
            axes.axhline(low, color=colour, linewidth=1, linestyle=(0, (5, 3)))
        axes.annotate(shown(low, unit), (SECONDS, low), (3, 0), textcoords="offset points", va="center", color=colour)


def table(axes: Any, panel: Panel, said: Answers) -> None:
    """The first rows of a table, by the column that it sorts by."""
    names = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")["renameByName"]
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for target in panel["targets"]:
        for series in said[target["refId"]]:
            labels = {names[name]: text for name, text in series["metric"].items()}
            row = rows.setdefault(tuple(sorted(labels.values())), labels)
            row[names[f"Value #{target['refId']}"]] = float(series["value"][1])
    first = panel["options"]["sortBy"][0]["displayName"]
    best = sorted(rows.values(), key=lambda row: row.get(first, 0.0), reverse=True)[:ROWS]
    overrides = panel["fieldConfig"]["overrides"]
    looks = {one["matcher"]["options"]: {p["id"]: p["value"] for p in one["properties"]} for one in overrides}
    axes.set(xlim=(0, WIDTH - 2 * MARGIN), ylim=(ROWS + 1, -1))
    axes.axis("off")
    axes.text(0, -0.5, panel["title"], va="center", **TITLE)
    for name, place in zip(COLUMNS, STOPS, strict=True):
        unit, steps = looks[name]["unit"], looks[name].get("thresholds", {"steps": []})["steps"][1:]
        text = {"va": "center", "ha": "left" if unit == "none" else "right"}
        axes.text(place, 0.5, name, color=FAINT, **text)
        for line, row in enumerate(best, 1):
            value = row.get(name, 0.0)
            if name == first:
                axes.barh(line + 0.5, BAR * value / best[0][first], 0.5, left=place + 0.08, color=LINES[0])
            cell = value if unit == "none" else shown(value, unit) if value else "–"
            colour = [INK, *(LIMITS[step["color"]] for step in steps if value >= step["value"])][-1]
            axes.text(place, line + 0.5, cell, color=colour, **text)
    axes.hlines(range(1, ROWS + 1), 0, WIDTH, color=RULE, linewidth=0.6)


def main() -> None:
    """Run, unless there are answers already, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, metavar="FILE", help="keep the answers there, or draw those again")
    kept: Path | None = parser.parse_args().answers
    wanted = panels()
    said = json.loads(kept.read_text()) if kept is not None and kept.exists() else run(wanted)
    if kept is not None:
        kept.write_text(json.dumps(said))
    draw(wanted, said)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
