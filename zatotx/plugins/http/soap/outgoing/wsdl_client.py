"""What a WSDL says, by zeep: it makes the messages of operations and reads their answers. It has no way to the network:
the documents are there already, and messages go out as all of the connection's do.

All of it may take its time, and raises ValueError with a sentence, or with the rest of one about the WSDL (Unreadable).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urldefrag

import msgspec

from zatotx.model.response import PeerResponse
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.wsdl_loader import CollectedDocuments, UnreadableDocument, named
from zatotx.wire.soap.body_content import undeclared
from zatotx.wire.soap.envelope import VERSIONS, Version
from zatotx.wire.xml.encoding import to_utf8
from zatotx.wire.xml.parser import charset_of

_LONGEST = 300  # characters of what zeep says of a document
_NAMED = re.compile(r"\{[^{}]*\}([\w.-]+)|'([\w.-]+)'")  # what a sentence of zeep's is about


class WsdlUsageError(ValueError):
    """An operation cannot be called so. The text says why, as the rest of a sentence."""


class ArgumentsMismatch(ValueError):  # noqa: N818 - what it is
    """An answer that is not what the WSDL says. The text is zeep's."""


class EncodedOperation(msgspec.Struct, frozen=True):
    """The message of an operation."""

    root: Any  # the envelope, an element
    action: str
    one_way: bool


class LoadedDocuments:
    """What zeep takes for its transport: documents that were fetched before."""

    def __init__(self, collected: CollectedDocuments) -> None:
        self._pages = collected.pages

    def load(self, url: str) -> bytes:
        """The document of that URL."""
        page = self._pages.get(urldefrag(url).url)
        if page is None:
            raise UnreadableDocument(
                f'it needs {named(url)}, which is not on the host of the WSDL: give one document with all in it as wsdl'
            )
        return page


class WsdlClient:
    """The operations of one port."""

    def __init__(self, collected: CollectedDocuments, config: SoapOutgoing) -> None:
        """Raises Unreadable."""
        self.version: Version = VERSIONS[config.soap_version]
        try:
            self._client = _client(collected, config)
            self._service: Any = self._client.service
        except UnreadableDocument:
            raise
        except Exception as wrong:  # of a WSDL that makes no sense zeep raises whatever comes along
            raise UnreadableDocument(_why(wrong, collected)) from wrong
        self._binding: Any = self._service._binding
        self._collected = collected

    @property
    def operations(self) -> Sequence[str]:
        """Their names."""
        return sorted(self._binding.all())

    def write(self, operation: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> EncodedOperation:
        """The message that calls an operation. Raises Misused."""
        found: Any = self._operation(operation)
        try:
            root = self._client.create_message(self._service, operation, *args, **kwargs)
        except Exception as wrong:  # of values that do not fit zeep raises whatever comes along
            raise WsdlUsageError(f'{operation} cannot be called so: {str(wrong)[:_LONGEST]}') from wrong
        return EncodedOperation(root, found.soapaction or '', found.output is None)

    def read(self, operation: str, http: PeerResponse, tag: str) -> Any:
        """What an answer says, as Python's own values and zeep's. `tag`: of what is in its Body. Raises Unfitting."""
        found = self._operation(operation)
        wanted = _expected(found)
        if wanted and tag != wanted:  # to zeep it would be an answer in which nothing is said
            raise ArgumentsMismatch(f'the Body has {tag or "nothing"} where {wanted} is expected')
        content_type = http.headers.get('content-type', '').encode('latin-1')
        data = undeclared(to_utf8(http.content, charset_of(content_type)))
        try:
            return self._binding.process_reply(self._client, found, _Reply(data))
        except Exception as wrong:  # as above
            raise ArgumentsMismatch(str(wrong)[:_LONGEST]) from wrong

    def type(self, name: str) -> Any:
        """A type of the WSDL, to be called with its fields: '{urn:crm}Customer', 'ns0:Customer'. Raises Misused."""
        try:
            return self._client.get_type(name)
        except Exception as wrong:  # as above
            raise WsdlUsageError(f'there is no type {name}: {str(wrong)[:_LONGEST]}') from wrong

    def _operation(self, name: str) -> Any:
        try:
            return self._binding.get(name)
        except (KeyError, ValueError):
            where = _place(name, self._collected, rb'operation[^>]*\sname')
            if where:  # zeep passes it over
                raise WsdlUsageError(f'the operation {name} is incomplete ({where})') from None
            raise WsdlUsageError(
                f'there is no operation {name}: there are {", ".join(self.operations) or "none"}'
            ) from None


class _Reply:
    """An answer, as far as zeep looks at it."""

    status_code = 200
    encoding = 'utf-8'
    headers: Mapping[str, str] = {}

    def __init__(self, content: bytes) -> None:
        self.content = content


def _client(collected: CollectedDocuments, config: SoapOutgoing) -> Any:
    from zeep import Client, Settings  # it takes 0.1 s and 26 MiB, which only those pay who use it
    from zeep.wsdl import Document

    settings = Settings(strict=True, forbid_dtd=True, forbid_entities=True, force_https=False)
    pages: Any = LoadedDocuments(collected)
    document = Document(collected.url, pages, settings=settings)
    service, port = _chosen(document, config)
    make: Any = Client
    return make(document, transport=pages, service_name=service, port_name=port, settings=settings)


def _chosen(document: Any, config: SoapOutgoing) -> tuple[str, str]:
    """Service and port: those that are named, else the first that speak the version."""
    known = [(service, port, _version(found.binding)) for service, has in document.services.items()
             for port, found in has.ports.items()]  # fmt: skip
    for service, port, version in known:
        if (config.wsdl_service in ('', service) and config.wsdl_port in ('', port)
                and version == config.soap_version):  # fmt: skip
            return service, port
    there = ', '.join(f'{service}.{port} (SOAP {version})' for service, port, version in known if version)
    wanted = '.'.join(filter(None, (config.wsdl_service, config.wsdl_port))) or 'port'
    raise UnreadableDocument(f'it has no {wanted} of SOAP {config.soap_version}: there are {there or "none of SOAP"}')


def _expected(operation: Any) -> str:
    """The element that an answer is, '' where that is not one that the WSDL names."""
    name = getattr(getattr(operation.output, 'body', None), 'qname', None)
    if name is None or operation.style != 'document' or name.localname == 'Body' or not name.namespace:
        return ''
    return str(name.text)


def _version(binding: Any) -> str:
    from zeep.wsdl.bindings import Soap11Binding, Soap12Binding

    return '1.2' if isinstance(binding, Soap12Binding) else '1.1' if isinstance(binding, Soap11Binding) else ''


def _why(wrong: Exception, collected: CollectedDocuments) -> str:
    """What zeep says, and where, as far as it can be told."""
    said = ' '.join((getattr(wrong, 'message', '') or str(wrong) or type(wrong).__name__).split())
    for url in collected.pages:  # which is told to anybody
        said = said.replace(url, named(url))
    said = said[:_LONGEST]
    line, file = getattr(wrong, 'sourceline', None), getattr(wrong, 'filename', None)
    if line and file:
        return f'{said} ({named(file)}, line {line})'
    for found in _NAMED.finditer(said):
        where = _place(found[1] or found[2], collected)
        if where:
            return f'{said} ({where})'
    return said


def _place(name: str, collected: CollectedDocuments, before: bytes = b'') -> str:
    """Where a name is referred to, or where it stands after something."""
    wanted = re.compile(rb'%b\s*=\s*["\'](?:[^"\':\s]*:)?%b["\']' % (before, re.escape(name.encode())))
    for url, page in collected.pages.items():
        references = [one for one in wanted.finditer(page) if not page[: one.start()].endswith(b' name')]
        if references:
            return f'{named(url)}, line {page.count(10, 0, references[0].start()) + 1}'
    return ''
