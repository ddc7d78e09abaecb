"""Raises the limit of the number of file descriptors that a process may open."""

from __future__ import annotations

import resource

MAX_OPEN_FILES = 65_536  # file descriptors that a process requests; the hard limit may be lower


def raise_file_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit. Each connection takes one descriptor, and the usual
    soft limit of 1024 exists only because of programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
