"""Finds the service call that is running, by walking the call stack. Thus the information causes no overhead for
requests."""

from __future__ import annotations

import sys
from typing import Any

from zatotx.service.service import Service

_MAX_FRAMES = 200  # frames


def current_service_and_cid() -> tuple[str, str]:
    """Return the service name and correlation ID of the innermost service call on the stack, or two empty strings.

    It takes microseconds and serves log records that do not carry these fields themselves.
    """
    frame = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        if 'self' in frame.f_code.co_varnames:
            invocation = _invocation_of(frame.f_locals.get('self'))
            if invocation is not None:
                return invocation.entry.name, invocation.message.cid
        if frame.f_back is None:
            break
        frame = frame.f_back
    return '', ''


def _invocation_of(candidate: object) -> Any:
    # vars() rather than getattr(), so that no code of the service runs here.
    return vars(candidate).get('_zatotx') if isinstance(candidate, Service) else None
