"""The services zato.openapi.*, which return the OpenAPI document of this server's channels, and the documentation
page."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

import msgspec

from zatotx.api.admin_service import AdminService
from zatotx.model.errors import NotFound
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.service_entry import ServiceEntry

_SERVERS = b'"servers":[{"url":%s}]'  # as serialized at the start of a document


class GetOpenAPI(AdminService):
    """Return the OpenAPI 3.1 document of all active channels whose services are deployed on this server, as JSON."""

    name = 'zato.openapi.get'
    plain = True
    _latest: ClassVar[tuple[Any, bytes]] = (None, b'')  # cache key and document

    async def handle(self) -> None:
        server = self.server
        snapshot, services = server.config.snapshot, tuple(server.services.current)
        # All that the document depends on: code changes without a revision when a rejected version is retried.
        cache_key = (
            server.cluster,
            snapshot.revision,
            tuple((entry.file, entry.version, entry.is_active) for entry in services),
        )
        cached_key, body = GetOpenAPI._latest
        if cached_key != cache_key:
            body = await server.run_in_thread(_build_json, server.cluster, snapshot, server.types, services)
            GetOpenAPI._latest = cache_key, body
        if public_url := self.request.http.public_url:
            body = body.replace(_SERVERS % b'"/"', _SERVERS % msgspec.json.encode(public_url), 1)
        self.response.payload = body
        self.response.content_type = 'application/json'


def _build_json(cluster: str, snapshot: Snapshot, types: ObjectTypeRegistry, services: Iterable[ServiceEntry]) -> bytes:
    """Return the document as JSON. Called in a thread, which also imports the modules that build it."""
    from zatotx.api.openapi_document import build_json

    return build_json(cluster, snapshot, types, services)


# zato.docs.get: the web page that displays the OpenAPI document, and its files.
#
# The files are part of zatotx and contain no data of the cluster: the page requests the document with the credentials
# that its user enters.

PAGE = 'index.html'
_TYPES = {
    PAGE: 'text/html; charset=utf-8',
    'viewer.css': 'text/css; charset=utf-8',
    'viewer.js': 'text/javascript; charset=utf-8',
    'render.js': 'text/javascript; charset=utf-8',
    'console.js': 'text/javascript; charset=utf-8',
    'icon.svg': 'image/svg+xml',
}
# Only files of this server, nothing inline, no embedding in frames; connections to this server only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    'Content-Security-Policy': POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-cache',
}


class GetDocsPage(AdminService):
    """Return the documentation page /zato/docs, or one of its files. The path of the request selects the file."""

    name = 'zato.docs.get'
    plain = True

    async def handle(self) -> None:
        file_name = self.request.http.params.get('file', PAGE)
        if file_name not in _TYPES:
            raise NotFound(self.cid, 'URL not found')
        self.response.payload = await self.server.run_in_thread(read_page_file, file_name)
        self.response.content_type = _TYPES[file_name]
        for name, value in _HEADERS.items():
            self.response.headers[name] = value


@cache
def read_page_file(name: str) -> bytes:
    """Return a file of the documentation page. Blocking; the file is cached after the first read."""
    return files(__package__).joinpath('viewer', name).read_bytes()


SERVICES = (
    GetOpenAPI,
    GetDocsPage,
)
