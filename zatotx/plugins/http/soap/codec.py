"""The SOAP 1.1 and 1.2 codec: decodes envelopes, and encodes envelopes and faults in the version of the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest, ServiceError
from zatotx.model.message import Message, Reply, ServiceResult
from zatotx.model.soap_message import SoapChannelSpec, SoapMessage
from zatotx.plugins.http.soap.faults import UnknownEnvelopeVersion, fault_status, write_fault_envelope
from zatotx.rules.limits.concurrency_limit import MessageContentLimits
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap.envelope import VERSIONS, PrebuiltEnvelope, SoapVersion, to_body_content
from zatotx.wire.soap.soap_action import requested_soap_version
from zatotx.wire.xml import parser
from zatotx.wire.xml.document_limits import estimate_tree_size
from zatotx.wire.xml.parser import content_type_charset

_THREAD_THRESHOLD = 256 * 1024  # bytes
_NO_SOAP = SoapChannelSpec()


@implementer(ICodec)
class SoapCodec:
    """Implements ICodec for SOAP envelopes."""

    check_threshold: int = parser.CHECK_THRESHOLD  # a document's size is checked when it is parsed
    thread_threshold: int = _THREAD_THRESHOLD
    reads_stream: bool = False

    def __init__(self, budget: parser.XmlLimits = parser.DEFAULT_BUDGET) -> None:
        self._budget = budget

    def check_size(self, body: bytes) -> None:
        """See ICodec: nothing is checked before parsing."""

    def estimate_memory(self, body: bytes) -> int:
        """See ICodec."""
        return estimate_tree_size(body, self._budget)

    def decode(self, message: Message) -> object:
        """Return the first element of the Body, None if it is empty. Sets `parsed` and `soap`.

        Raises BadRequest for what is no XML or no envelope, UnknownEnvelopeVersion for an unknown version.
        """
        body = message.body
        assert isinstance(body, bytes)  # the pipeline has read spooled bodies into memory
        root = message.parsed = self._parse(body, message)
        try:
            envelope = soap.read_envelope(root)
            mandatory = tuple(soap.mandatory_headers(envelope)) if envelope.headers else ()
        except soap.UnsupportedSoapVersion as error:
            raise UnknownEnvelopeVersion(f'Malformed SOAP: {error}', message.cid) from None
        except Malformed as error:
            raise BadRequest(message.cid, f'Malformed SOAP: {error}') from None
        channel = message.channel
        action = message.service if channel.is_builtin_endpoint else (channel.soap or _NO_SOAP).action
        message.soap = SoapMessage(envelope.version.number, action, envelope.headers, mandatory, envelope.body)
        return envelope.payload

    def _parse(self, body: bytes, message: Message) -> Any:
        if not body:
            raise BadRequest(message.cid, 'Malformed SOAP: the body is empty')
        try:
            return parser.parse_document(
                body, content_type_charset(message.headers.get(b'content-type', b'')), self._budget
            )
        except Malformed as error:
            raise BadRequest(message.cid, f'Malformed XML: {error}') from None

    def encode(self, result: ServiceResult, message: Message) -> Reply:
        """Return a service's output in an envelope; an envelope that the service built is unchanged; an empty 202 if
        the channel is one-way. Raises Malformed if the output is no XML, ValueError if a header field is invalid."""
        spec = message.channel.soap or _NO_SOAP
        headers = _header_fields(result.headers) if result.headers else ()
        if spec.one_way:
            return Reply(202, b'', b'', headers)
        assert message.soap is not None  # decoded before
        version = VERSIONS[message.soap.version]
        if result.stream is None:
            content = to_body_content(result.value)
            if type(content) is PrebuiltEnvelope:
                version, body = content.version, content.data
            else:
                blocks = [to_body_content(header).data for header in result.soap_headers]
                body = soap.write_envelope(version, content.data, headers=blocks)
        else:
            body = b''
        content_type = (result.content_type or version.content_type).encode('latin-1')
        return Reply(result.status, body, content_type, headers, stream=result.stream)

    def encode_error(self, error: ServiceError, details: str, message: Message) -> Reply:
        """See ICodec: returns a fault, in the version of the request if that is known."""
        version = _requested_version(message)
        rule = (message.channel.soap or _NO_SOAP).fault_status
        status = fault_status(error, rule, envelope_was_read=message.soap is not None)
        body = write_fault_envelope(version, error, details, message.cid)
        return Reply(status, body, version.content_type.encode('ascii'), error.headers)


def _requested_version(message: Message) -> SoapVersion:
    root = message.parsed
    version = None if root is None else soap.soap_version(root)
    if version is not None:
        return version
    if message.headers.get(b'content-type'):
        return VERSIONS[requested_soap_version(message.headers)]
    return VERSIONS[(message.channel.soap or _NO_SOAP).version]


def _header_fields(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Encode header fields that a service set."""
    return [(name.encode('ascii'), str(value).encode('utf-8')) for name, value in headers.items()]


def make_codecs(budget: MessageContentLimits) -> Mapping[str, ICodec]:
    """Create the SOAP codecs of a node (ConnectorKind.codecs)."""
    return {'soap': SoapCodec(budget.xml)}
