"""Determines whether a server of the cluster is running from its row of zato.server.get-list. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

HEARTBEAT_TIMEOUT = 10.0  # seconds without a heartbeat after which a server is shown as down


def is_up(row: Mapping[str, Any], now: datetime | None = None) -> bool:
    """Return whether a server is running, according to its last heartbeat. `now` is the current time by default."""
    if row['up_status'] != 'running' or not row['up_mod_date']:
        return False
    age = (now or datetime.now(UTC)) - datetime.fromisoformat(row['up_mod_date'])
    return age.total_seconds() < HEARTBEAT_TIMEOUT
