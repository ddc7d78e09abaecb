"""Errors as SOAP says them. The detail of every fault holds the cid, and each wrong element by its path:

    <error xmlns="https://zato.io/ns/20130518">
      <cid>…</cid><details>…</details><wrong><path>$.items[1].qty</path><reason>missing</reason></wrong>
    </error>
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from zatotx.model.errors import BadInput
from zatotx.model.errors import ServiceError as ModelFault
from zatotx.model.soap import NotUnderstood, PeerFault, SoapFault
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import faults
from zatotx.wire.soap.body_content import content_of
from zatotx.wire.soap.envelope import SOAP_12, Version
from zatotx.wire.soap.faults import RECEIVER, SENDER, VERSION_MISMATCH, FaultElement, text, write_fault

NAMESPACE = 'https://zato.io/ns/20130518'
# What HTTP itself means by these, before an envelope was read: log in, too large, not this format, come back later.
_OF_HTTP = frozenset((401, 404, 405, 413, 415, 429, 503))


class WrongEnvelope(SoapFault):
    """An envelope of a version that nobody here knows."""

    def __init__(self, why: str, cid: str) -> None:
        super().__init__(VERSION_MISMATCH, why, cid=cid)


def error_fault(version: Version, status: int, cid: str, details: str) -> bytes:
    """The envelope of an error that no exchange has seen."""
    code = RECEIVER if status >= 500 else SENDER
    return write_fault(version, FaultElement(code=code, reason=details, detail=(_error(cid, details),)))


def fault_body(version: Version, fault: ModelFault, details: str, cid: str) -> bytes:
    """The envelope of a fault. `details`: what may be said of it."""
    if not isinstance(fault, SoapFault) or isinstance(fault, PeerFault):
        wrong = fault.mistakes if isinstance(fault, BadInput) else ()
        return write_fault(version, FaultElement(
            code=RECEIVER if fault.status >= 500 else SENDER, reason=details,
            subcodes=getattr(fault, 'soap_subcodes', ()), detail=(_error(cid, details, wrong),),
        ))  # fmt: skip
    said = '' if isinstance(fault, NotUnderstood) else details  # 1.1 §4.4: a detail says nothing of headers
    return write_fault(version, FaultElement(
        code=fault.code, reason=details, subcodes=fault.subcodes, actor=fault.actor,
        detail=(*_own_details(fault.detail), _error(cid, said)),
    ), _headers(version, fault))  # fmt: skip


def status_of(fault: ModelFault, rule: int, *, was_read: bool) -> int:
    """The status of a fault's answer. `rule`: the channel's fault_status, 0 for none. `was_read`: the envelope was
    read, so that the fault is one of processing the message (SOAP 1.1 §6.2): toolkits take no fault from a 404."""
    return rule if rule and (was_read or fault.status not in _OF_HTTP) else fault.status


def _headers(version: Version, fault: SoapFault) -> list[bytes]:
    if version is not SOAP_12:
        return []
    if isinstance(fault, NotUnderstood):
        return faults.not_understood(fault.tags)
    return [faults.upgrade()] if isinstance(fault, WrongEnvelope) else []


def _own_details(given: Sequence[Any]) -> Iterable[bytes]:
    """What a service put into a fault: elements, XML or text."""
    for one in given:
        try:
            if not isinstance(one, str) or one.lstrip().startswith('<'):
                yield content_of(one).data
                continue
        except Malformed:  # it is told as what it is: text
            pass
        yield b'<text xmlns="%s">%s</text>' % (NAMESPACE.encode('ascii'), text(_readable(one)))


def _readable(one: Any) -> str:
    return one.decode('utf-8', 'replace') if isinstance(one, bytes) else str(one)


def _error(cid: str, details: str = '', wrong: Sequence[tuple[str, str]] = ()) -> bytes:
    pieces = [b'<error xmlns="', NAMESPACE.encode('ascii'), b'"><cid>', text(cid), b'</cid>']
    if details:
        pieces += [b'<details>', text(details), b'</details>']
    for path, reason in wrong:
        pieces += [b'<wrong><path>', text(path), b'</path><reason>', text(reason), b'</reason></wrong>']
    return b''.join([*pieces, b'</error>'])
