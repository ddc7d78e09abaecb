"""The field traceparent (W3C Trace Context, level 1 and 2)."""

from __future__ import annotations

from os import urandom

import msgspec

_HEX = b'0123456789abcdef'  # lower case only
_LENGTH = 55  # of version 00
_SAMPLED = 0x01


class TraceContext(msgspec.Struct, frozen=True):
    """A trace that a caller is in. `str()` is the field's value."""

    trace_id: str  # 32 hex digits, the same along the whole trace
    span_id: str  # 16 hex digits, of the caller
    sampled: bool

    def __str__(self) -> str:
        return f'00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}'

    def continued(self) -> TraceContext:
        """The same trace with a span of our own, to send on."""
        return TraceContext(self.trace_id, urandom(8).hex(), self.sampled)


def parse_traceparent(value: bytes) -> TraceContext | None:
    """The trace of a traceparent field, or None where it is not well-formed and hence not to be continued. Of a version
    that is not known yet, what is known of it counts (§3.2.4, versioning)."""
    version, *parts = value[:_LENGTH].split(b'-')
    if not _is_version(version, value) or list(map(len, parts)) != [32, 16, 2]:
        return None
    if any(part.translate(None, _HEX) for part in parts):
        return None
    trace_id, span_id, flags = (part.decode('ascii') for part in parts)
    if not trace_id.strip('0') or not span_id.strip('0'):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def continued(value: bytes) -> str:
    """The traceparent to send on when `value` came in: the same trace, a new span; '' where there is none to go on."""
    trace = parse_traceparent(value)
    return str(trace.continued()) if trace is not None else ''


def _is_version(version: bytes, value: bytes) -> bool:
    if len(version) != 2 or version.translate(None, _HEX) or version == b'ff':
        return False
    return len(value) == _LENGTH or (version != b'00' and value[_LENGTH : _LENGTH + 1] == b'-')
