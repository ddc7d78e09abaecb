"""A recorded call of a service, with its request, its response, and its duration."""

from __future__ import annotations

import msgspec

MAX_TEXT = 10_000  # characters of a request or a response that are kept


class CallSample(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded call of a service. Its texts may be confidential, so calls are recorded on demand only, and `repr`
    omits the texts."""

    cid: str
    channel: str
    started_at: float  # Unix time
    milliseconds: float
    request: str
    response: str
    threshold: int = 0  # milliseconds from which it counted as slow; 0 = it was recorded as a sample

    def __repr__(self) -> str:
        return f'CallSample(cid={self.cid!r}, milliseconds={self.milliseconds})'
