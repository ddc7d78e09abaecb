"""Encodes and decodes the messages of WSDL operations with zeep. zeep has no network access, because the documents are
already loaded and the connection sends the messages.

All methods may be slow. They raise ValueError with a sentence, or with the rest of one about the WSDL
(InvalidWsdl).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urldefrag

import msgspec

from zatotx.model.response import PeerResponse
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.wsdl_loader import InvalidWsdl, WsdlDocuments, url_without_host
from zatotx.wire.soap.envelope import VERSIONS, SoapVersion, strip_xml_declaration
from zatotx.wire.xml.encoding import to_utf8
from zatotx.wire.xml.parser import content_type_charset

_MAX_MESSAGE = 300  # characters of zeep's error messages
_QUOTED_NAME = re.compile(r"\{[^{}]*\}([\w.-]+)|'([\w.-]+)'")  # the name that an error message of zeep's is about


class WsdlUsageError(ValueError):
    """A WSDL operation or its arguments are invalid. The message gives the reason."""


class ResponseMismatch(ValueError):  # noqa: N818 - what it is
    """A response does not match the WSDL. The message comes from zeep."""


class EncodedOperation(msgspec.Struct, frozen=True):
    """The encoded request message of a WSDL operation."""

    root: Any  # the envelope element
    action: str
    one_way: bool


class DocumentTransport:
    """A transport for zeep that returns documents that are already loaded."""

    def __init__(self, collected: WsdlDocuments) -> None:
        self._pages = collected.documents

    def load(self, url: str) -> bytes:
        """Return the document of that URL."""
        page = self._pages.get(urldefrag(url).url)
        if page is None:
            raise InvalidWsdl(
                f'it needs {url_without_host(url)}, which is not on the host of the WSDL: '
                'give one document with all in it as wsdl'
            )
        return page


class WsdlClient:
    """The operations of one WSDL port."""

    def __init__(self, collected: WsdlDocuments, config: SoapOutgoing) -> None:
        """Raises InvalidWsdl."""
        self.version: SoapVersion = VERSIONS[config.soap_version]
        try:
            self._zeep_client = _zeep_client(collected, config)
            self._zeep_service: Any = self._zeep_client.service
        except InvalidWsdl:
            raise
        except Exception as error:  # zeep raises any exception for an invalid WSDL
            raise InvalidWsdl(_describe_error(error, collected)) from error
        self._binding: Any = self._zeep_service._binding
        self._collected = collected

    @property
    def operation_names(self) -> Sequence[str]:
        """The names of the operations."""
        return sorted(self._binding.all())

    def encode(self, operation: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> EncodedOperation:
        """Encode the message of an operation. Raises WsdlUsageError."""
        definition: Any = self._operation(operation)
        try:
            root = self._zeep_client.create_message(self._zeep_service, operation, *args, **kwargs)
        except Exception as error:  # zeep raises any exception for values that do not fit
            raise WsdlUsageError(f'{operation} cannot be called so: {str(error)[:_MAX_MESSAGE]}') from error
        return EncodedOperation(root, definition.soapaction or '', definition.output is None)

    def decode(self, operation: str, http: PeerResponse, tag: str) -> Any:
        """Decode a response into Python's and zeep's values. `tag`: of the Body's first element. Raises
        ResponseMismatch."""
        definition = self._operation(operation)
        expected = _expected_element(definition)
        if expected and tag != expected:  # zeep would decode it as an empty response
            raise ResponseMismatch(f'the Body has {tag or "nothing"} where {expected} is expected')
        content_type = http.headers.get('content-type', '').encode('latin-1')
        data = strip_xml_declaration(to_utf8(http.content, content_type_charset(content_type)))
        try:
            return self._binding.process_reply(self._zeep_client, definition, _ZeepResponse(data))
        except Exception as error:  # as above
            raise ResponseMismatch(str(error)[:_MAX_MESSAGE]) from error

    def get_type(self, name: str) -> Any:
        """Return a type of the WSDL, to be called with its fields: '{urn:crm}Customer', 'ns0:Customer'. Raises
        WsdlUsageError."""
        try:
            return self._zeep_client.get_type(name)
        except Exception as error:  # as above
            raise WsdlUsageError(f'there is no type {name}: {str(error)[:_MAX_MESSAGE]}') from error

    def _operation(self, name: str) -> Any:
        try:
            return self._binding.get(name)
        except (KeyError, ValueError):
            location = _locate(name, self._collected, rb'operation[^>]*\sname')
            if location:  # zeep skips it
                raise WsdlUsageError(f'the operation {name} is incomplete ({location})') from None
            raise WsdlUsageError(
                f'there is no operation {name}: there are {", ".join(self.operation_names) or "none"}'
            ) from None


class _ZeepResponse:
    """The parts of a response that zeep reads."""

    status_code = 200
    encoding = 'utf-8'
    headers: Mapping[str, str] = {}

    def __init__(self, content: bytes) -> None:
        self.content = content


def _zeep_client(collected: WsdlDocuments, config: SoapOutgoing) -> Any:
    from zeep import Client, Settings  # the import takes 0.1 s and 26 MiB, so only users of WSDL pay for it
    from zeep.wsdl import Document

    settings = Settings(strict=True, forbid_dtd=True, forbid_entities=True, force_https=False)
    pages: Any = DocumentTransport(collected)
    document = Document(collected.url, pages, settings=settings)
    service, port = _select_port(document, config)
    make: Any = Client
    return make(document, transport=pages, service_name=service, port_name=port, settings=settings)


def _select_port(document: Any, config: SoapOutgoing) -> tuple[str, str]:
    """Return service and port: the configured ones, else the first of the SOAP version."""
    ports = [(service, port, _soap_version(port_definition.binding))
             for service, definition in document.services.items()
             for port, port_definition in definition.ports.items()]  # fmt: skip
    for service, port, version in ports:
        if (config.wsdl_service in ('', service) and config.wsdl_port in ('', port)
                and version == config.soap_version):  # fmt: skip
            return service, port
    available = ', '.join(f'{service}.{port} (SOAP {version})' for service, port, version in ports if version)
    name = '.'.join(filter(None, (config.wsdl_service, config.wsdl_port))) or 'port'
    raise InvalidWsdl(f'it has no {name} of SOAP {config.soap_version}: there are {available or "none of SOAP"}')


def _expected_element(operation: Any) -> str:
    """Return the element name of a response, '' if the WSDL does not determine one."""
    name = getattr(getattr(operation.output, 'body', None), 'qname', None)
    if name is None or operation.style != 'document' or name.localname == 'Body' or not name.namespace:
        return ''
    return str(name.text)


def _soap_version(binding: Any) -> str:
    from zeep.wsdl.bindings import Soap11Binding, Soap12Binding

    return '1.2' if isinstance(binding, Soap12Binding) else '1.1' if isinstance(binding, Soap11Binding) else ''


def _describe_error(error: Exception, collected: WsdlDocuments) -> str:
    """Return zeep's message, with the location of the error if it can be found."""
    text = ' '.join((getattr(error, 'message', '') or str(error) or type(error).__name__).split())
    for url in collected.documents:  # the message is public: remove hosts
        text = text.replace(url, url_without_host(url))
    text = text[:_MAX_MESSAGE]
    line, file = getattr(error, 'sourceline', None), getattr(error, 'filename', None)
    if line and file:
        return f'{text} ({url_without_host(file)}, line {line})'
    for quoted in _QUOTED_NAME.finditer(text):
        location = _locate(quoted[1] or quoted[2], collected)
        if location:
            return f'{text} ({location})'
    return text


def _locate(name: str, collected: WsdlDocuments, before: bytes = b'') -> str:
    """Return where a name is referenced, or where it follows `before`."""
    pattern = re.compile(rb'%b\s*=\s*["\'](?:[^"\':\s]*:)?%b["\']' % (before, re.escape(name.encode())))
    for url, page in collected.documents.items():
        references = [match for match in pattern.finditer(page) if not page[: match.start()].endswith(b' name')]
        if references:
            return f'{url_without_host(url)}, line {page.count(10, 0, references[0].start()) + 1}'
    return ''
