"""Creates SOAP faults for errors. The detail of every fault contains the correlation ID, and the path of each invalid
element:

    <error xmlns="https://zato.io/ns/20130518">
      <cid>…</cid><details>…</details><wrong><path>$.items[1].qty</path><reason>missing</reason></wrong>
    </error>
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from zatotx.model.errors import BadInput
from zatotx.model.errors import ServiceError as ModelFault
from zatotx.model.soap_message import MustUnderstandFault, PeerFault, SoapFault
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import faults
from zatotx.wire.soap.envelope import SOAP_12, SoapVersion, to_body_content
from zatotx.wire.soap.faults import RECEIVER, SENDER, VERSION_MISMATCH, FaultElement, escape_text, write_fault

NAMESPACE = 'https://zato.io/ns/20130518'
# Statuses with a meaning in HTTP, used before an envelope was read: log in, too large, wrong format, come back later.
_HTTP_STATUSES = frozenset((401, 404, 405, 413, 415, 429, 503))


class UnknownEnvelopeVersion(SoapFault):
    """The fault for an envelope with an unknown SOAP version."""

    def __init__(self, reason: str, cid: str) -> None:
        super().__init__(VERSION_MISMATCH, reason, cid=cid)


def write_error_fault(version: SoapVersion, status: int, cid: str, details: str) -> bytes:
    """Create the fault envelope for an error that occurs before a service is invoked."""
    code = RECEIVER if status >= 500 else SENDER
    return write_fault(version, FaultElement(code=code, reason=details, detail=(_error(cid, details),)))


def write_fault_envelope(version: SoapVersion, fault: ModelFault, details: str, cid: str) -> bytes:
    """Create a fault envelope. `details` is the description of the fault that the client may see."""
    if not isinstance(fault, SoapFault) or isinstance(fault, PeerFault):
        errors = fault.errors if isinstance(fault, BadInput) else ()
        return write_fault(version, FaultElement(
            code=RECEIVER if fault.status >= 500 else SENDER, reason=details,
            subcodes=getattr(fault, 'soap_subcodes', ()), detail=(_error(cid, details, errors),),
        ))  # fmt: skip
    # SOAP 1.1 §4.4: a detail describes errors of the body, not of headers.
    visible_details = '' if isinstance(fault, MustUnderstandFault) else details
    return write_fault(version, FaultElement(
        code=fault.code, reason=details, subcodes=fault.subcodes, actor=fault.actor,
        detail=(*_service_details(fault.detail), _error(cid, visible_details)),
    ), _headers(version, fault))  # fmt: skip


def fault_status(fault: ModelFault, configured_status: int, *, envelope_was_read: bool) -> int:
    """Return the HTTP status of a fault. `configured_status` is the channel's fault_status, or 0 for none.
    `envelope_was_read` says whether the envelope was read, so that the fault concerns the processing of the message
    (SOAP 1.1 §6.2). Toolkits ignore faults in responses with status 404."""
    return (
        configured_status
        if configured_status and (envelope_was_read or fault.status not in _HTTP_STATUSES)
        else fault.status
    )


def _headers(version: SoapVersion, fault: SoapFault) -> list[bytes]:
    if version is not SOAP_12:
        return []
    if isinstance(fault, MustUnderstandFault):
        return faults.not_understood_headers(fault.tags)
    return [faults.upgrade_header()] if isinstance(fault, UnknownEnvelopeVersion) else []


def _service_details(details: Sequence[Any]) -> Iterable[bytes]:
    """Yield what a service put into a fault: elements, XML or text."""
    for entry in details:
        try:
            if not isinstance(entry, str) or entry.lstrip().startswith('<'):
                yield to_body_content(entry).data
                continue
        except Malformed:  # sent as text
            pass
        yield b'<text xmlns="%s">%s</text>' % (NAMESPACE.encode('ascii'), escape_text(_as_text(entry)))


def _as_text(value: Any) -> str:
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)


def _error(cid: str, details: str = '', errors: Sequence[tuple[str, str]] = ()) -> bytes:
    pieces = [b'<error xmlns="', NAMESPACE.encode('ascii'), b'"><cid>', escape_text(cid), b'</cid>']
    if details:
        pieces += [b'<details>', escape_text(details), b'</details>']
    for path, reason in errors:
        pieces += [b'<wrong><path>', escape_text(path), b'</path><reason>', escape_text(reason), b'</reason></wrong>']
    return b''.join([*pieces, b'</error>'])
