"""``python scripts/dashboards`` writes the dashboards; ``--check`` says which files it would change."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a folder that is run is no package

from dashboards.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
