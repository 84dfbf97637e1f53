"""Runs the demo and saves its report as a picture: docs/report.svg, as the README shows it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent.parent / "docs" / "report.svg"
COLUMNS = 118


def main() -> int:
    """Run `dbvitals demo` in a terminal's width and export what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            "PATH": str(Path(sys.executable).parent),
            "COLUMNS": str(COLUMNS),
            "FORCE_COLOR": "1",
            "LANG": "C.UTF-8",
        }
        command = [sys.executable, "-m", "dbvitals", "demo", "--report", "json", f"{folder}/report.json"]
        ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        calls = json.loads(Path(folder, "report.json").read_text())["totals"]["calls"]
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(ran.stdout.strip("\n")))
    PICTURE.write_text(console.export_svg(title="dbvitals demo"))
    print(f"{PICTURE}: a report of {calls} queries")
    return 0


if __name__ == "__main__":
    sys.exit(main())
