"""What a redis-py pipeline holds, wherever its version and kind keep it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_QUEUES = ("command_queue", "_command_queue", "command_stack", "_command_stack")


def commands_of(pipeline: Any) -> list[Sequence[Any]]:
    """The arguments of each command that waits in a pipeline."""
    holder = getattr(pipeline, "_execution_strategy", pipeline)  # of a cluster, since redis-py 6
    for name in _QUEUES:
        queue = getattr(holder, name, None)
        if queue is not None:
            return [command.args if hasattr(command, "args") else command[0] for command in queue]
    return []


def kind_of(pipeline: Any) -> str:
    """``MULTI`` for a transaction, ``PIPELINE`` for commands that are only sent together."""
    strategy = getattr(pipeline, "_execution_strategy", None)
    if strategy is not None:
        return "MULTI" if type(strategy).__name__ == "TransactionStrategy" else "PIPELINE"
    # On the class, `transaction` is a method of the client: only a pipeline of its own has a flag.
    transaction = getattr(pipeline, "is_transaction", getattr(pipeline, "__dict__", {}).get("transaction"))
    return "MULTI" if transaction or getattr(pipeline, "explicit_transaction", False) else "PIPELINE"
