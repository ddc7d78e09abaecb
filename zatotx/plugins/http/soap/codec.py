"""SOAP 1.1 and 1.2 as a data format: envelopes in, envelopes and faults out, each in the version it was asked in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest, ServiceError
from zatotx.model.message import Message, Outcome, Reply
from zatotx.model.soap import SoapMessage, SoapSpec
from zatotx.plugins.http.soap.faults import WrongEnvelope, fault_body, status_of
from zatotx.rules.limits.limits import MessageBudget
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap.action import requested_version
from zatotx.wire.soap.body_content import CompleteContent, content_of
from zatotx.wire.soap.envelope import VERSIONS, Version
from zatotx.wire.xml import parser
from zatotx.wire.xml.budget import tree_size
from zatotx.wire.xml.parser import charset_of

_THREADED = 256 * 1024  # bytes
_NO_SOAP = SoapSpec()


@implementer(ICodec)
class SoapCodec:
    """Reads envelopes, writes envelopes."""

    weightless: int = parser.WEIGHTLESS  # what a document holds is found where it is parsed
    threaded: int = _THREADED
    piecewise: bool = False

    def __init__(self, budget: parser.XmlBudget = parser.USUAL) -> None:
        self._budget = budget

    def weigh(self, body: bytes) -> None:
        """See ICodec: nothing here is too much before it is parsed."""

    def footprint(self, body: bytes) -> int:
        """See ICodec."""
        return tree_size(body, self._budget)

    def decode(self, inbound: Message) -> object:
        """The first element of the Body, None where there is none. Sets `parsed` and `soap`.

        Raises BadRequest for what is no XML and no envelope, WrongEnvelope for one of another version.
        """
        body = inbound.body
        assert isinstance(body, bytes)  # the pipeline has read spooled ones back
        root = inbound.parsed = self._parsed(body, inbound)
        try:
            envelope = soap.read(root)
            demanded = tuple(soap.mandatory_headers(envelope)) if envelope.headers else ()
        except soap.WrongVersion as error:
            raise WrongEnvelope(f'Malformed SOAP: {error}', inbound.cid) from None
        except Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed SOAP: {error}') from None
        channel = inbound.channel
        action = inbound.service if channel.door else (channel.soap or _NO_SOAP).action
        inbound.soap = SoapMessage(envelope.version.number, action, envelope.headers, demanded, envelope.body)
        return envelope.payload

    def _parsed(self, body: bytes, inbound: Message) -> Any:
        if not body:
            raise BadRequest(inbound.cid, 'Malformed SOAP: the body is empty')
        try:
            return parser.parse(body, charset_of(inbound.headers.get(b'content-type', b'')), self._budget)
        except Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed XML: {error}') from None

    def answer(self, outcome: Outcome, inbound: Message) -> Reply:
        """What a service made in an envelope; an envelope that it made itself unchanged; nothing but 202 where the
        channel is one-way. Raises Malformed where it is no XML, ValueError where a header is illegal."""
        spec = inbound.channel.soap or _NO_SOAP
        headers = _fields(outcome.headers) if outcome.headers else ()
        if spec.one_way:
            return Reply(202, b'', b'', headers)
        version = VERSIONS[inbound.soap.version]
        if outcome.stream is None:
            content = content_of(outcome.value)
            if type(content) is CompleteContent:
                version, body = content.version, content.data
            else:
                blocks = [content_of(header).data for header in outcome.soap_headers]
                body = soap.write(version, content.data, headers=blocks)
        else:
            body = b''
        content_type = (outcome.content_type or version.content_type).encode('latin-1')
        return Reply(outcome.status, body, content_type, headers, stream=outcome.stream)

    def refuse(self, fault: ServiceError, details: str, inbound: Message) -> Reply:
        """See ICodec: a fault, in the version that was asked in as far as that is known."""
        version = _asked(inbound)
        rule = (inbound.channel.soap or _NO_SOAP).fault_status
        status = status_of(fault, rule, was_read=hasattr(inbound, 'soap'))
        body = fault_body(version, fault, details, inbound.cid)
        return Reply(status, body, version.content_type.encode('ascii'), fault.headers)


def _asked(inbound: Message) -> Version:
    root = getattr(inbound, 'parsed', None)
    version = None if root is None else soap.version_of(root)
    if version is not None:
        return version
    if inbound.headers.get(b'content-type'):
        return VERSIONS[requested_version(inbound.headers)]
    return VERSIONS[(inbound.channel.soap or _NO_SOAP).version]


def _fields(given: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Header fields as a service set them, for the wire."""
    return [(name.encode('ascii'), str(value).encode('utf-8')) for name, value in given.items()]


def make_codecs(budget: MessageBudget) -> Mapping[str, ICodec]:
    """What the node calls, once."""
    return {'soap': SoapCodec(budget.xml)}
