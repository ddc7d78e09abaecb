"""Identifies processes by their ID and their start time from /proc, because the kernel reuses process IDs."""

from __future__ import annotations

from pathlib import Path


def process_start_time(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot, or '' if the process does not exist or is a
    zombie."""
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ''
    state, *fields = stat.rpartition(')')[2].split()  # the process name in parentheses may contain anything
    return '' if state in 'ZX' else fields[18]
