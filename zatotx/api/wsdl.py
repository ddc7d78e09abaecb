"""WSDL of SOAP channels: made from what their services declare, or uploaded (`zato.service.set-wsdl`)."""

from __future__ import annotations

import inspect
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from zatotx.api.base import AdminService, bad_request
from zatotx.api.services import no_service
from zatotx.model.errors import BadInput, NotFound
from zatotx.rules.http.public_url import join_public_url
from zatotx.rules.http.soap_names import urn
from zatotx.rules.routing.route_pattern import parse_pattern
from zatotx.schema.snapshot import Operation, Snapshot, Stored
from zatotx.schema.type_registry import ObjectTypes
from zatotx.service.io.elements import Text
from zatotx.service.io.wsdl_operation import OfferedOperation, WsdlOffer
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.wsdl import WsdlDescription, wsdl_text
from zatotx.wire.xml.parser import parse as parse_xml
from zatotx.wire.xml.xsd import type_name

_SOAP = {'connection': 'channel', 'transport': 'soap'}  # Zato's words for channels that have a WSDL
_XML = 'text/xml; charset=utf-8'
_MOST = 1024 * 1024  # bytes of an uploaded one
_SERVICE = 'service'
_OF_PATH = "/-._~!$&'()*+,;=:@"  # beside letters and digits, what needs no escaping in it (RFC 3986 §3.3)


class ServeWsdl(AdminService):
    """The WSDL of the SOAP channels of a path, or of a service, as XML."""

    name = 'zato.wsdl.get'
    plain = True

    async def handle(self) -> None:
        http = self.request.http
        path, service = http.params.get('path', ''), http.GET.get('service', '')
        if not path and not service:
            raise BadInput([('service', 'missing')], self.cid)
        snapshot = self.server.config.snapshot
        channels = [stored for stored in _channels(snapshot, self.server.types) if _is_of(stored.value, path, service)]
        uploaded = _uploaded(snapshot, {stored.value.service for stored in channels} | ({service} - {''}))
        if uploaded:
            body = uploaded.encode('utf-8')
        elif channels:
            body = await self.server.offload(self._made, channels, http.path if path else channels[0].value.url_path)
        else:
            raise NotFound(self.cid, f'There is no SOAP channel of service {service!r}, and no WSDL was uploaded for it'
                           if service else f'There is no SOAP channel at {path}')
        self.response.payload = body
        self.response.content_type = _XML

    def _made(self, channels: list[Stored], address: str) -> bytes:
        """In a thread. `address`: the path to send messages to. Raises Conflict where two channels of it contradict
        each other."""
        offer = WsdlOffer()
        services = self.server.services.current
        for stored in channels:
            entry = services.get(stored.value.service)
            if entry is not None and entry.is_active:
                offer.add(OfferedOperation(stored.value, entry, inspect.cleandoc(entry.cls.__doc__ or '')))
        first = channels[0].value
        base_url = next((stored.value.public_url for stored in channels if stored.value.public_url), '')
        path = first.url_path.strip('/')
        return wsdl_text(WsdlDescription(
            name=type_name(path), namespace=urn(f'wsdl:{path}'), operations=offer.operations,
            url=join_public_url(base_url or self.request.http.base_url, quote(address, safe=_OF_PATH)),
            schemas=offer.schemas(),
            versions=('1.1', '1.2') if first.soap_version == '1.1' else ('1.2', '1.1'),
        ))  # fmt: skip


class SetWsdl(AdminService):
    """Keep a WSDL (base64, at most a MiB) for a service, in place of the one that is made; empty = none any more."""

    name = 'zato.service.set-wsdl'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('cluster_id', Text('wsdl'), Text('wsdl_name'))

    async def handle(self) -> None:
        asked = self.request.input
        stored = _service(self, asked.name)
        fields = {'wsdl': _text(asked.wsdl), 'wsdl_name': asked.wsdl_name or ''}
        if any(getattr(stored.value, name) != value for name, value in fields.items()):
            step = Operation(action='edit', type=_SERVICE, name=stored.name, id=stored.id, fields=fields)
            await self.server.config.change([step], self.actor)
        self.response.payload = {'id': stored.id, 'name': stored.name}


class GetWsdl(AdminService):
    """The WSDL that was uploaded for a service, in base64."""

    name = 'zato.service.get-wsdl'

    class SimpleIO:
        input_required = (Text('service'),)
        input_optional = ('cluster_id',)
        output_optional = ('wsdl', 'wsdl_name', 'content_type')

    async def handle(self) -> None:
        stored = _service(self, self.request.input.service)
        wsdl = stored.value.wsdl
        if not wsdl:
            raise NotFound(self.cid, f'No WSDL was uploaded for service {stored.name!r}')
        self.response.payload = {
            'wsdl': b64encode(wsdl.encode('utf-8')).decode('ascii'), 'wsdl_name': stored.value.wsdl_name,
            'content_type': _XML,
        }  # fmt: skip


class HasWsdl(AdminService):
    """Whether a WSDL was uploaded for a service."""

    name = 'zato.service.has-wsdl'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('cluster_id',)
        output_required = ('service_id', 'has_wsdl')

    async def handle(self) -> None:
        stored = _service(self, self.request.input.name)
        self.response.payload = {'service_id': stored.id, 'has_wsdl': bool(stored.value.wsdl)}


def _channels(snapshot: Snapshot, types: ObjectTypes) -> Iterator[Stored]:
    """The active SOAP channels, by name."""
    for object_type in types:
        if object_type.zato is not None and _SOAP.items() <= object_type.zato.fixed.items():
            yield from (stored for stored in snapshot.of(object_type.key) if stored.value.is_active)


def _is_of(channel: Any, path: str, service: str) -> bool:
    if path:
        return parse_pattern(channel.url_path)[0].segments == parse_pattern(path)[0].segments
    return bool(service) and channel.service == service


def _uploaded(snapshot: Snapshot, services: set[str]) -> str:
    """The WSDL that was uploaded for the only service there is; '' where there are several, or none was."""
    if len(services) != 1:
        return ''
    stored = snapshot.named(_SERVICE, services.pop())
    return '' if stored is None else str(stored.value.wsdl)


def _service(asking: AdminService, name: str) -> Stored:
    stored: Stored | None = asking.server.config.snapshot.named(_SERVICE, name)
    if stored is None:
        raise NotFound(asking.cid, no_service(asking.server.config.snapshot, name))
    return stored


def _text(given: str) -> str:
    """The document of an upload. Raises BadInput where it is none."""
    if not given:
        return ''
    try:
        data = b64decode(''.join(given.split()), validate=True)  # clients of Zato send it in lines
    except (NotBase64, ValueError):
        raise bad_request('wsdl', 'is not base64') from None
    if len(data) > _MOST:
        raise bad_request('wsdl', f'is longer than {_MOST} bytes')
    try:
        parse_xml(data)
        return data.decode('utf-8')
    except (Malformed, UnicodeDecodeError) as error:
        raise bad_request('wsdl', f'is no XML in UTF-8: {error}') from None


SERVICES = (ServeWsdl, SetWsdl, GetWsdl, HasWsdl)
