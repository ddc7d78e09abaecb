"""Core dumps hold what the process holds: keys and passwords in clear. So there are none unless server.toml asks."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

FILTER = Path('/proc/self/coredump_filter')


def forbid_core_dumps() -> None:
    """For this process and all it starts: no file; and a program that takes dumps, as systemd-coredump, for which the
    limit does not count, gets no memory from the kernel. See core(5)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # a kernel without it, or a /proc that is not to be written: the limit stands
        FILTER.write_text('0')
