"""Disables core dumps, which would contain keys and passwords in clear, unless server.toml enables them."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

COREDUMP_FILTER = Path('/proc/self/coredump_filter')


def disable_core_dumps() -> None:
    """Disable core dumps of this process and its children. The resource limit prevents core files; it does not apply to
    a program that receives the dump, e.g. systemd-coredump, so the kernel is told to include no memory. See core(5)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # the kernel lacks it, or /proc is read-only: the limit still applies
        COREDUMP_FILTER.write_text('0')
