"""Processes told apart for ever: a number is given again, a number with the moment of its start is not."""

from __future__ import annotations

from pathlib import Path


def process_start_time(pid: int) -> str:
    """When the process started, in clock ticks since boot; '' where there is none, or where it has ended and only
    awaits its parent."""
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ''
    state, *fields = stat.rpartition(')')[2].split()  # the name before it may hold anything
    return '' if state in 'ZX' else fields[18]
