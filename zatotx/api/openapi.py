"""The services zato.openapi.*, which return the OpenAPI document of this server's channels, and the documentation
page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

import msgspec

from zatotx.api.admin_service import AdminService
from zatotx.connectors.security_type_registry import find_security_types
from zatotx.model.errors import NotFound
from zatotx.rules.openapi.document_builder import DocumentInfo, build_document
from zatotx.rules.openapi.document_input import ChannelModel, ChannelSecurityDefinition
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.io.json_schema import openapi_service_shape
from zatotx.service.service_entry import ServiceEntry

_REST = {'connection': 'channel', 'transport': 'plain_http'}  # fixed fields of the channels that are documented
_SECURITY, _GROUPS = 'security', 'groups'
_SERVERS = b'"servers":[{"url":%s}]'  # as serialized at the start of a document
_DESCRIPTION = """Made by zatotx from the channels of cluster {cluster} and what their services declare.

Every answer carries X-Zato-CID, the id by which the log of the server knows the request; a caller may send its own in \
the same header (8 to 64 letters, digits, `.`, `_` and `-`)."""


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
            document_info = DocumentInfo(title=server.cluster, version=str(snapshot.revision),
                          description=_DESCRIPTION.format(cluster=server.cluster))
            body = await server.run_in_thread(_build_json, document_info, snapshot, server.types, services)
            GetOpenAPI._latest = cache_key, body
        if public_url := self.request.http.public_url:
            body = body.replace(_SERVERS % b'"/"', _SERVERS % msgspec.json.encode(public_url), 1)
        self.response.payload = body
        self.response.content_type = 'application/json'


def documented_channels(
    snapshot: Snapshot, types: ObjectTypeRegistry, services: Iterable[ServiceEntry]
) -> Iterator[ChannelModel]:
    """Yield the models of the active REST channels whose services are deployed and active."""
    entries = {entry.name: entry for entry in services if entry.is_active}
    references = SnapshotReferences(snapshot, types)
    shape = cache(openapi_service_shape)  # cached, as several channels may use one service
    for object_type in filter(_is_rest, types):
        for stored in snapshot.objects_of_types(object_type.key):
            value = stored.value
            entry = entries.get(value.service)
            if value.is_active and entry is not None:
                yield ChannelModel(
                    name=value.name, path=value.url_path, service=shape(entry), method=value.method or '',
                    match_slash=value.match_slash, data_format=value.data_format,
                    merges_url_params=getattr(value, 'merge_url_params_req', True), server=value.public_url.rstrip('/'),
                    security=tuple(_security_schemes(value, snapshot, references)),
                    has_roles=bool(value.roles or entry.roles), is_limited=bool(value.rate_limits),
                    etag=getattr(value, 'etag', False),
                )  # fmt: skip


def _is_rest(object_type: ObjectType) -> bool:
    return object_type.zato is not None and _REST.items() <= object_type.zato.fixed_fields.items()


def _security_schemes(
    channel: Any, snapshot: Snapshot, references: SnapshotReferences
) -> Iterator[ChannelSecurityDefinition]:
    """Yield the security definitions that grant access to a channel."""
    groups = [snapshot.get(references.id_of(_GROUPS, name) or 0) for name in channel.groups]
    members = [member for group in groups if group is not None for member in group.value.members]
    for name in dict.fromkeys(([channel.security] if channel.security else []) + members):
        stored = snapshot.get(references.id_of(_SECURITY, name) or 0)
        if stored is not None:
            yield security_definition_model(stored)


def security_definition_model(stored: StoredObject) -> ChannelSecurityDefinition:
    """Return the OpenAPI description of a security definition."""
    security_type = find_security_types().get(stored.type)
    if security_type is None or security_type.openapi_scheme is None:
        return ChannelSecurityDefinition(stored.name, stored.type)
    return ChannelSecurityDefinition(stored.name, stored.type, security_type.openapi_scheme(stored.value))


def _build_json(
    document_info: DocumentInfo, snapshot: Snapshot, types: ObjectTypeRegistry, services: Iterable[ServiceEntry]
) -> bytes:
    """Return the document as JSON. Called in a thread, as it describes every service."""
    return msgspec.json.encode(build_document(document_info, documented_channels(snapshot, types, services)))


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
