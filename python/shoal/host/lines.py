"""The lines that the driver and the host exchange: one JSON object each.

The driver writes them to the host's standard input and reads its standard output. Nothing
else may come there, so both are moved to descriptors of their own before a cluster's package
is imported: what that package or its children print is on standard error, the host's log.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Lines:
    """The host's end. `send` may be called from any thread, `read` from one."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._in = os.fdopen(os.dup(0), encoding="utf-8", errors="replace")
        self._out = os.dup(1)
        self._lock = threading.Lock()
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)

    def send(self, event: str, **fields: object) -> None:
        """Writes an event. A driver that is gone is noticed by `read`, not here."""
        left = memoryview((json.dumps({"event": event, **fields}) + "\n").encode())
        with self._lock, contextlib.suppress(ConnectionError):
            while left:
                left = left[os.write(self._out, left) :]

    def read(self) -> Iterator[dict[str, Any]]:
        """The driver's lines until it closes or is gone.

        One that is killed before it has read all events resets the connection.
        """
        with contextlib.suppress(ConnectionError):
            for line in self._in:
                if line.strip():
                    yield order_in(line)


def order_in(line: str) -> dict[str, Any]:
    order = json.loads(line)
    if not isinstance(order, dict) or not isinstance(order.get("op"), str):
        raise ValueError(f"a line of the driver's has no op: {line[:200]!r}")
    return order
