"""Runs at the start of every Python process below `dbvitals run`, which puts this folder on PYTHONPATH."""

import os
import sys
from importlib import import_module


def _start() -> None:
    try:
        from opentelemetry.instrumentation.auto_instrumentation import initialize

        import dbvitals  # noqa: F401
    except ImportError as error:
        sys.stderr.write(
            f"dbvitals: {sys.executable} cannot import it ({error}), so this process is not watched. "
            f"Mend: {sys.executable} -m pip install dbvitals\n"
        )
        return
    kept = os.environ.get("PYTHONPATH")
    initialize()
    if kept is not None:
        os.environ["PYTHONPATH"] = kept  # some versions take folders away; children are to be watched as well


def _run_hidden() -> None:
    """Run the sitecustomize that this one hides, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = sys.path[:]
    sys.path[:] = [folder for folder in path if os.path.abspath(folder or ".") != here]
    hiding = sys.modules.pop("sitecustomize", None)
    try:
        import_module("sitecustomize")
    except ImportError:
        if hiding is not None:
            sys.modules["sitecustomize"] = hiding
    finally:
        sys.path[:] = path


_start()
_run_hidden()
