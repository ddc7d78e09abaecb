"""The documents that a WSDL is made of: itself and what it imports, fetched as all calls of its connection are.

Only what lies beside the WSDL is fetched, on the same host and port: a document of somebody else is not to send this
server to places of its choice. All of them are looked at as strictly as XML that comes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import attrs

from zatotx.connectors.ping import PingCall
from zatotx.model.cid import new_cid
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.rest.attempts import Attempt, DirectSender
from zatotx.plugins.http.rest.connection import ConnectionParts
from zatotx.plugins.http.rest.error_mapping import map_error
from zatotx.plugins.http.rest.factory import AGENT
from zatotx.plugins.http.rest.request_builder import Request
from zatotx.plugins.http.rest.response import Response
from zatotx.plugins.http.rest.urls import split_url
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing, is_document
from zatotx.wire.http1.request_writer import NamedFields
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.body_content import undeclared
from zatotx.wire.xml import parser
from zatotx.wire.xml.encoding import to_utf8

MOST = 200  # documents of one WSDL
_MOST_BYTES = 64 * 1024 * 1024  # of all of them
_WSDL, _XSD = 'http://schemas.xmlsoap.org/wsdl/', 'http://www.w3.org/2001/XMLSchema'
_REFERENCES = {
    f'{{{_WSDL}}}import': 'location',
    f'{{{_XSD}}}import': 'schemaLocation',
    f'{{{_XSD}}}include': 'schemaLocation',
    f'{{{_XSD}}}redefine': 'schemaLocation',
}
_QUERY = 'wsdl'


class UnreadableDocument(ValueError):  # noqa: N818 - what it is
    """A WSDL that is of no use. The text says why, as the rest of a sentence about it."""


@attrs.frozen
class CollectedDocuments:
    """All documents, in UTF-8, by the URLs that they were asked for by."""

    url: str  # of the WSDL itself
    pages: Mapping[str, bytes]


class WsdlLoader:
    """Fetches those of one connection."""

    def __init__(self, parts: ConnectionParts, config: SoapOutgoing) -> None:
        self._parts = parts
        self._config = config

    async def collect(self) -> CollectedDocuments:
        """The WSDL with all that it imports. Raises Unreadable, and what a call of the connection does."""
        wsdl = self._config.wsdl.strip()
        given = wsdl.encode('utf-8') if is_document(wsdl) else None
        url = self._own_url() if given is not None or not wsdl else wsdl
        beside = urlsplit(url)[:2]
        pages: dict[str, bytes] = {}
        wanted = [url]
        while wanted:
            at = wanted.pop()
            page = given if given is not None and not pages else await self._fetch(at)
            pages[at], references = await self._parts.form.offload(_looked_at, page, at)
            wanted += [one for one in references if one not in pages and one not in wanted
                       and urlsplit(one)[:2] == beside]  # fmt: skip
            if len(pages) + len(wanted) > MOST or sum(map(len, pages.values())) > _MOST_BYTES:
                raise UnreadableDocument(f'it is made of more than {MOST} documents, or larger than it may be')
        return CollectedDocuments(url, pages)

    def _own_url(self) -> str:
        """Where a peer usually tells its WSDL: at its address, with ?wsdl."""
        form = self._parts.form
        path = (form.fixed if form.template.names else form.template.fill(None)[0]).decode('ascii')
        url = f'{form.origin.scheme}://{form.origin.authority.decode("ascii")}{path}'
        asked = urlsplit(url).query.lower()
        return url if _QUERY in asked.split('&') else f'{url}{"&" if asked else "?"}{_QUERY}'

    async def _fetch(self, url: str) -> bytes:
        parts = self._parts
        origin, target = split_url(url)
        form, attempt = parts.form, parts.attempt
        if origin != form.origin:
            form, attempt = self._stranger(origin)
        elif form.query:
            target += (b'&' if b'?' in target else b'?') + form.query
        request = form.ping('GET', PingCall(new_cid()))
        request.target = target
        http = Response(await self._answer(attempt, request, form.timeout), 'xml', None)
        if http.status_code != 200:
            raise UnreadableDocument(f'the peer answers {http.status_code} where {named(url)} should be')
        return _as_utf8(http.content, http.content_type, url)

    async def _answer(self, attempt: Attempt, request: Request, seconds: float) -> Any:
        try:
            return await attempt(request)
        except CallFailed as failed:
            raise map_error(failed, self._parts.title, request.call.cid, seconds) from failed

    def _stranger(self, origin: Any) -> tuple[Any, Attempt]:
        """The way to a host that is not the peer: it is not told who we are."""
        form = attrs.evolve(
            self._parts.form, origin=origin, common=NamedFields.of((AGENT, (b'Accept', b'*/*'))), query=b''
        )
        return form, DirectSender(form, self._parts.client.ask).send


def named(url: str) -> str:
    """A document as it may be told to anybody: without its host."""
    parts = urlsplit(url)
    return (parts.path.rpartition('/')[2] or '/') + (f'?{parts.query}' if parts.query else '')


def _as_utf8(body: bytes, content_type: str, url: str) -> bytes:
    try:
        return to_utf8(body, parser.charset_of(content_type.encode('latin-1')))
    except Malformed as wrong:
        raise UnreadableDocument(f'{named(url)} is not XML: {wrong}') from None


def _looked_at(page: bytes, url: str) -> tuple[bytes, list[str]]:
    """The page without its XML declaration, which may speak of the encoding that it came in; where it refers to."""
    try:
        root = parser.parse(page, 'utf-8')
    except Malformed as wrong:
        raise UnreadableDocument(f'{named(url)} is not XML that is accepted here: {wrong}') from None
    with parser.PlainElement(root):
        return undeclared(page), list(_references(root, url))


def _references(root: Any, url: str) -> Iterator[str]:
    for element in root.iter(*_REFERENCES):
        location = element.get(_REFERENCES[element.tag])
        if location:
            yield urldefrag(urljoin(url, location)).url

