"""The services that return the WSDL documents of SOAP channels. A document is generated from the declarations of
services, or was uploaded (`zato.service.set-wsdl`).
"""

from __future__ import annotations

import inspect
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.services import service_not_found_message
from zatotx.model.errors import BadInput, NotFound
from zatotx.rules.http.public_url import join_public_url
from zatotx.rules.routing.route_pattern import parse_pattern
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.io.elements import Text
from zatotx.wire.malformed import Malformed
from zatotx.wire.xml.parser import parse_document as parse_xml

_SOAP = {'connection': 'channel', 'transport': 'soap'}  # fixed fields of the channels that have a WSDL
_XML = 'text/xml; charset=utf-8'
_MAX_SIZE = 1024 * 1024  # maximum size of an uploaded WSDL in bytes
_SERVICE = 'service'
_OF_PATH = "/-._~!$&'()*+,;=:@"  # besides letters and digits, unescaped in a path (RFC 3986, section 3.3)


class GetChannelWsdl(AdminService):
    """Return the WSDL of the SOAP channels of a path or a service, as XML."""

    name = 'zato.wsdl.get'
    plain = True

    async def handle(self) -> None:
        http = self.request.http
        path, service = http.params.get('path', ''), http.GET.get('service', '')
        if not path and not service:
            raise BadInput([('service', 'missing')], self.cid)
        snapshot = self.server.config.snapshot
        channels = [
            stored for stored in _channels(snapshot, self.server.types) if _matches(stored.value, path, service)
        ]
        uploaded = _uploaded(snapshot, {stored.value.service for stored in channels} | ({service} - {''}))
        if uploaded:
            body = uploaded.encode('utf-8')
        elif channels:
            body = await self.server.run_in_thread(
                self._generate, channels, http.path if path else channels[0].value.url_path
            )
        else:
            raise NotFound(self.cid, f'There is no SOAP channel of service {service!r}, and no WSDL was uploaded for it'
                           if service else f'There is no SOAP channel at {path}')
        self.response.payload = body
        self.response.content_type = _XML

    def _generate(self, channels: list[StoredObject], address: str) -> bytes:
        """Generate a WSDL. Called in a thread.

        `address` is the path that clients send messages to. Raises Conflict if two of the channels contradict each
        other.
        """
        from zatotx.service.io.wsdl_builder import UrlWsdlBuilder, WsdlChannelInput  # few servers have SOAP channels
        from zatotx.wire.soap.soap_action import service_namespace_urn
        from zatotx.wire.soap.wsdl_writer import WsdlDescription, write_wsdl
        from zatotx.wire.xml.xsd_writer import to_type_name

        offer = UrlWsdlBuilder()
        services = self.server.services.current
        for stored in channels:
            entry = services.get(stored.value.service)
            if entry is not None and entry.is_active:
                offer.add_channel(WsdlChannelInput(stored.value, entry, inspect.cleandoc(entry.cls.__doc__ or '')))
        first = channels[0].value
        base_url = next((stored.value.public_url for stored in channels if stored.value.public_url), '')
        path = first.url_path.strip('/')
        return write_wsdl(WsdlDescription(
            name=to_type_name(path), namespace=service_namespace_urn(f'wsdl:{path}'), operations=offer.operations,
            url=join_public_url(base_url or self.request.http.base_url, quote(address, safe=_OF_PATH)),
            schemas=offer.schemas(),
            versions=('1.1', '1.2') if first.soap_version == '1.1' else ('1.2', '1.1'),
        ))  # fmt: skip


class SetServiceWsdl(AdminService):
    """Store a WSDL document (base64, at most 1 MiB) for a service. It replaces the generated document. An empty
    document removes the stored one."""

    name = 'zato.service.set-wsdl'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('cluster_id', Text('wsdl'), Text('wsdl_name'))

    async def handle(self) -> None:
        request_input = self.request.input
        stored = _find_service(self, request_input.name)
        fields = {'wsdl': _decode_upload(request_input.wsdl), 'wsdl_name': request_input.wsdl_name or ''}
        if any(getattr(stored.value, name) != value for name, value in fields.items()):
            step = Operation(action='edit', type=_SERVICE, name=stored.name, id=stored.id, fields=fields)
            await self.server.config.change([step], self.actor)
        self.response.payload = {'id': stored.id, 'name': stored.name}


class GetUploadedWsdl(AdminService):
    """Return the uploaded WSDL document of a service, as base64."""

    name = 'zato.service.get-wsdl'

    class SimpleIO:
        input_required = (Text('service'),)
        input_optional = ('cluster_id',)
        output_optional = ('wsdl', 'wsdl_name', 'content_type')

    async def handle(self) -> None:
        stored = _find_service(self, self.request.input.service)
        wsdl = stored.value.wsdl
        if not wsdl:
            raise NotFound(self.cid, f'No WSDL was uploaded for service {stored.name!r}')
        self.response.payload = {
            'wsdl': b64encode(wsdl.encode('utf-8')).decode('ascii'), 'wsdl_name': stored.value.wsdl_name,
            'content_type': _XML,
        }  # fmt: skip


class HasUploadedWsdl(AdminService):
    """Return whether a WSDL document was uploaded for a service."""

    name = 'zato.service.has-wsdl'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('cluster_id',)
        output_required = ('service_id', 'has_wsdl')

    async def handle(self) -> None:
        stored = _find_service(self, self.request.input.name)
        self.response.payload = {'service_id': stored.id, 'has_wsdl': bool(stored.value.wsdl)}


def _channels(snapshot: Snapshot, types: ObjectTypeRegistry) -> Iterator[StoredObject]:
    """Yield the active SOAP channels, sorted by name."""
    for object_type in types:
        if object_type.zato is not None and _SOAP.items() <= object_type.zato.fixed_fields.items():
            yield from (stored for stored in snapshot.objects_of_types(object_type.key) if stored.value.is_active)


def _matches(channel: Any, path: str, service: str) -> bool:
    """Return whether a channel has that path, or uses that service."""
    if path:
        return parse_pattern(channel.url_path)[0].segments == parse_pattern(path)[0].segments
    return bool(service) and channel.service == service


def _uploaded(snapshot: Snapshot, services: set[str]) -> str:
    """Return the uploaded WSDL of the only service; '' if there are several services, or no upload."""
    if len(services) != 1:
        return ''
    stored = snapshot.find(_SERVICE, services.pop())
    return '' if stored is None else str(stored.value.wsdl)


def _find_service(api_service: AdminService, name: str) -> StoredObject:
    """Return the configuration object of a service. Raises NotFound."""
    stored: StoredObject | None = api_service.server.config.snapshot.find(_SERVICE, name)
    if stored is None:
        raise NotFound(api_service.cid, service_not_found_message(api_service.server.config.snapshot, name))
    return stored


def _decode_upload(encoded: str) -> str:
    """Return an uploaded document. Raises BadInput unless it is XML."""
    if not encoded:
        return ''
    try:
        data = b64decode(''.join(encoded.split()), validate=True)  # Zato's clients split it into lines
    except (NotBase64, ValueError):
        raise bad_field_error('wsdl', 'is not base64') from None
    if len(data) > _MAX_SIZE:
        raise bad_field_error('wsdl', f'is longer than {_MAX_SIZE} bytes')
    try:
        parse_xml(data)
        return data.decode('utf-8')
    except (Malformed, UnicodeDecodeError) as error:
        raise bad_field_error('wsdl', f'is no XML in UTF-8: {error}') from None


SERVICES = (GetChannelWsdl, SetServiceWsdl, GetUploadedWsdl, HasUploadedWsdl)
