"""The environment of processes that coverage is not to measure: that costs a sixth of a second and half their speed."""

from __future__ import annotations

import os


def unmeasured() -> dict[str, str]:
    """Ours, for what will be killed, which could not say what it ran, and for programs that are none of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
