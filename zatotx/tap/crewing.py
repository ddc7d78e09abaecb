"""What assembly adds to a node because there may be several processes of its server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.node.duties import Duty
from zatotx.node.lock import DirectoryLock


def began(work: Path) -> float:
    """When the server was started, in unix time: with workers that is when their parent was."""
    return (work / 'lock').stat().st_mtime


def pickup_duty(pickup: Any, work: Path, reactor: Any) -> Duty:
    """The pickup watcher, in one process of the server."""
    return Duty(name='the pickup directory', lock=DirectoryLock(work / 'duty-pickup.lock'), begin=pickup.start,
                end=pickup.stop, clock=reactor)  # fmt: skip
