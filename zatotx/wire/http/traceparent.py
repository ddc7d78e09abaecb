"""Parses the traceparent header field (W3C Trace Context, level 1 and 2)."""

from __future__ import annotations

from os import urandom

import msgspec

_HEX = b'0123456789abcdef'  # lower case only
_LENGTH = 55  # length of version 00
_SAMPLED = 0x01


class TraceContext(msgspec.Struct, frozen=True):
    """The trace context in a traceparent header field. `str()` returns the value of the field."""

    trace_id: str  # 32 hex digits, the same for the whole trace
    span_id: str  # 16 hex digits, the caller's span
    sampled: bool

    def __str__(self) -> str:
        return f'00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}'

    def new_span(self) -> TraceContext:
        """Return the same trace with a new span id, to be propagated."""
        return TraceContext(self.trace_id, urandom(8).hex(), self.sampled)


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Parse a traceparent field. Returns None if the field is invalid. For future versions, the parts that are known
    from version 00 are used (§3.2.4, versioning)."""
    version, *parts = value[:_LENGTH].split(b'-')
    if not _is_version(version, value) or list(map(len, parts)) != [32, 16, 2]:
        return None
    if any(part.translate(None, _HEX) for part in parts):
        return None
    trace_id, span_id, flags = (part.decode('ascii') for part in parts)
    if not trace_id.strip('0') or not span_id.strip('0'):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def continue_trace(value: bytes) -> str:
    """Return the traceparent field to send in outgoing requests. It consists of the trace ID of the received field and
    a new span ID, or is '' if the received field is invalid."""
    trace = parse_traceparent(value)
    return str(trace.new_span()) if trace is not None else ''


def _is_version(version: bytes, value: bytes) -> bool:
    if len(version) != 2 or version.translate(None, _HEX) or version == b'ff':
        return False
    return len(value) == _LENGTH or (version != b'00' and value[_LENGTH : _LENGTH + 1] == b'-')
