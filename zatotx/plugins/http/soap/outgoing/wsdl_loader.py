"""Loads the documents of a WSDL over the connection. The documents are the WSDL itself and its imports.

Only documents on the WSDL's own host and port are loaded: a document must not make this server send requests elsewhere.
All of them are parsed as strictly as XML from clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import attrs

from zatotx.connectors.ping_call import PingCall
from zatotx.model.cid import new_cid
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.client.http_messages import HttpResponse, Origin, split_url
from zatotx.plugins.http.rest.connection_factory import USER_AGENT
from zatotx.plugins.http.rest.error_mapping import map_client_error
from zatotx.plugins.http.rest.outgoing_connection import ConnectionParts
from zatotx.plugins.http.rest.outgoing_sender_chain import Attempt, DirectSender
from zatotx.plugins.http.rest.received_response import RestResponse
from zatotx.plugins.http.rest.request_builder import OutgoingRequest, RequestTemplate
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing, is_document
from zatotx.wire.http1.request_writer import HeaderFields
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import strip_xml_declaration
from zatotx.wire.xml import parser
from zatotx.wire.xml.encoding import to_utf8

MAX_DOCUMENTS = 200  # documents of one WSDL
_MAX_BYTES = 64 * 1024 * 1024  # total size
_WSDL, _XSD = 'http://schemas.xmlsoap.org/wsdl/', 'http://www.w3.org/2001/XMLSchema'
_REFERENCES = {
    f'{{{_WSDL}}}import': 'location',
    f'{{{_XSD}}}import': 'schemaLocation',
    f'{{{_XSD}}}include': 'schemaLocation',
    f'{{{_XSD}}}redefine': 'schemaLocation',
}
_QUERY = 'wsdl'


class InvalidWsdl(ValueError):  # noqa: N818 - what it is
    """Raised if a WSDL cannot be used. The message gives the reason, as a clause."""


@attrs.frozen
class WsdlDocuments:
    """The documents of a WSDL, by URL. The contents are in UTF-8."""

    url: str  # of the WSDL itself
    documents: Mapping[str, bytes]


class WsdlLoader:
    """Loads the WSDL of one connection."""

    def __init__(self, parts: ConnectionParts, config: SoapOutgoing) -> None:
        self._parts = parts
        self._config = config

    async def load(self) -> WsdlDocuments:
        """Load the WSDL with all that it imports. Raises InvalidWsdl, and what a call of the connection
        raises."""
        wsdl = self._config.wsdl.strip()
        document = wsdl.encode('utf-8') if is_document(wsdl) else None
        url = self._own_url() if document is not None or not wsdl else wsdl
        base = urlsplit(url)[:2]
        pages: dict[str, bytes] = {}
        pending = [url]
        while pending:
            next_url = pending.pop()
            page = document if document is not None and not pages else await self._fetch(next_url)
            pages[next_url], references = await self._parts.request_template.offload(_parse, page, next_url)
            pending += [reference for reference in references if reference not in pages and reference not in pending
                       and urlsplit(reference)[:2] == base]  # fmt: skip
            if len(pages) + len(pending) > MAX_DOCUMENTS or sum(map(len, pages.values())) > _MAX_BYTES:
                raise InvalidWsdl(f'it is made of more than {MAX_DOCUMENTS} documents, or larger than it may be')
        return WsdlDocuments(url, pages)

    def _own_url(self) -> str:
        """Return the usual URL of a peer's WSDL: its address with ?wsdl."""
        form = self._parts.request_template
        path = (form.ping_path if form.url_template.names else form.url_template.fill(None)[0]).decode('ascii')
        url = f'{form.origin.scheme}://{form.origin.authority.decode("ascii")}{path}'
        query = urlsplit(url).query.lower()
        return url if _QUERY in query.split('&') else f'{url}{"&" if query else "?"}{_QUERY}'

    async def _fetch(self, url: str) -> bytes:
        parts = self._parts
        origin, target = split_url(url)
        form, attempt = parts.request_template, parts.send
        if origin != form.origin:
            form, attempt = self._for_other_host(origin)
        elif form.fixed_query:
            target += (b'&' if b'?' in target else b'?') + form.fixed_query
        request = form.build_ping('GET', PingCall(new_cid()))
        request.target = target
        http = RestResponse(await self._send(attempt, request, form.timeout), 'xml', None)
        if http.status_code != 200:
            raise InvalidWsdl(f'the peer answers {http.status_code} where {url_without_host(url)} should be')
        return _as_utf8(http.content, http.content_type, url)

    async def _send(self, attempt: Attempt, request: OutgoingRequest, seconds: float) -> HttpResponse:
        try:
            return await attempt(request)
        except CallFailed as failure:
            raise map_client_error(failure, self._parts.title, request.call.cid, seconds) from failure

    def _for_other_host(self, origin: Origin) -> tuple[RequestTemplate, Attempt]:
        """Return the sender for a host other than the peer, which gets no credentials."""
        form = attrs.evolve(
            self._parts.request_template,
            origin=origin,
            common_fields=HeaderFields.from_pairs((USER_AGENT, (b'Accept', b'*/*'))),
            fixed_query=b'',
        )
        return form, DirectSender(form, self._parts.client.send_awaitable).send


def url_without_host(url: str) -> str:
    """Return the URL of a document without its host, for use in messages that clients may see."""
    parts = urlsplit(url)
    return (parts.path.rpartition('/')[2] or '/') + (f'?{parts.query}' if parts.query else '')


def _as_utf8(body: bytes, content_type: str, url: str) -> bytes:
    try:
        return to_utf8(body, parser.content_type_charset(content_type.encode('latin-1')))
    except Malformed as error:
        raise InvalidWsdl(f'{url_without_host(url)} is not XML: {error}') from None


def _parse(page: bytes, url: str) -> tuple[bytes, list[str]]:
    """Return the page without its XML declaration, which may name the original encoding, and its references."""
    try:
        root = parser.parse_document(page, 'utf-8')
    except Malformed as error:
        raise InvalidWsdl(f'{url_without_host(url)} is not XML that is accepted here: {error}') from None
    with parser.PlainLxmlElements(root):
        return strip_xml_declaration(page), list(_references(root, url))


def _references(root: Any, url: str) -> Iterator[str]:
    for element in root.iter(*_REFERENCES):
        location = element.get(_REFERENCES[element.tag])
        if location:
            yield urldefrag(urljoin(url, location)).url

