"""Identifies processes by id and start time, because the kernel reuses process ids."""

from __future__ import annotations

from pathlib import Path


def process_start_time(pid: int) -> str:
    """Return when the process started, in clock ticks since boot; '' if it does not exist, or is a zombie."""
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ''
    state, *fields = stat.rpartition(')')[2].split()  # the process name in parentheses may contain anything
    return '' if state in 'ZX' else fields[18]
