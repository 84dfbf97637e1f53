"""``python -m dbvitals``."""

import sys

from dbvitals.cli import main

sys.exit(main())
