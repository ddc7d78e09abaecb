"""The service zato.service.invoke, with which Zato's tools invoke a service by name."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Any

from zatotx.api.admin_service import bad_field_error
from zatotx.api.services import ServiceAdminService
from zatotx.model.errors import BadInput, BadRequest, Conflict, Forbidden
from zatotx.service.io.elements import AsIs, Bool, Float
from zatotx.wire import json_codec


class InvokeByName(ServiceAdminService):
    """Invoke a service that is selected by `id` or `name`. `payload` and `response` are in base64. With `async`, the
    service is invoked later, and the response is the correlation ID. `expiration` is in seconds."""

    name = 'zato.service.invoke'

    class SimpleIO:
        input_optional = (
            'id', 'name', AsIs('payload'), 'channel', 'data_format', 'transport', Bool('async'), Float('expiration'),
        )  # fmt: skip

    async def handle(self) -> None:
        request_input = self.request.input
        name = self._target(request_input)
        self._permit(name)
        options: dict[str, Any] = {}
        if request_input.channel:
            options['channel'] = request_input.channel
        if request_input['async']:
            expiration = request_input.expiration or None
            cid = await self.invoke_async(name, self._payload(request_input), expiration=expiration, **options)
            self.response.payload = {'response': b64encode(cid.encode()).decode('ascii'), 'cid': cid}
            return
        outcome = await self.invoke(name, self._payload(request_input), **options)
        body = await self.server.run_in_thread(_encode_response, outcome, self._element(name), self.cid)
        self.response.payload = {'response': b64encode(body).decode('ascii')}

    def _target(self, request_input: Any) -> str:
        """Return the name of the service to invoke. Raises BadInput, Conflict."""
        if request_input.id and request_input.name:
            raise BadInput([('$.id', 'give either id or name, not both')])
        if not request_input.id and not request_input.name:
            raise bad_field_error('name', 'missing: give id or name')
        name = self.by_id(request_input.id).name if request_input.id else str(request_input.name)
        if name == self.name:
            raise Conflict(self.cid, f'{name} cannot invoke itself')
        return name

    def _permit(self, name: str) -> None:
        """Raise Forbidden unless the caller has one of the roles that the service's own channels require."""
        entry = self.server.services.current.get(name)
        if entry is not None and entry.roles and entry.roles.isdisjoint(self.caller_roles):
            raise Forbidden(self.cid)

    def _payload(self, request_input: Any) -> Any:
        """Decode the payload as a channel with that data format does.

        JSON is decoded; without a data format, text that is not JSON is passed as text; other formats are passed as
        bytes.
        """
        payload, data_format = request_input.payload, str(request_input.data_format or '').lower()
        if payload in ('', None) or not isinstance(payload, str):
            return '' if payload is None else payload
        try:
            raw = b64decode(''.join(payload.split()), validate=True)
        except (Base64Error, ValueError) as error:
            raise bad_field_error('payload', f'is not base64: {error}') from None
        if not raw or data_format not in ('', 'json', 'dict'):
            return raw or ''
        try:
            return json_codec.decode(raw)
        except json_codec.Malformed as error:
            if data_format:
                raise bad_field_error('payload', f'is not JSON: {error}') from None
        try:
            return raw.decode('utf-8')
        except UnicodeDecodeError:
            return raw

    def _element(self, name: str) -> tuple[str, bool]:
        """Return the response element of the invoked service, and whether it includes zato_env."""
        entry = self.server.services.current.get(name)
        if entry is None:
            return '', False
        io = entry.metadata.io
        element = io.output.element if io.output is not None else (io.element if entry.is_internal else '')
        return element, entry.is_internal


def _encode_response(value: Any, element: tuple[str, bool], cid: str) -> bytes:
    """Return the body that a JSON channel would send. Raises BadRequest for streams."""
    if isinstance(value, bytes):
        return value
    name, internal = element
    if isinstance(value, str) and not name:
        return value.encode('utf-8')
    document = value
    if name:
        document = json_codec.wrap_in_zato_envelope(cid, name, value) if internal else {name: value}
    try:
        return json_codec.encode(document)
    except TypeError:
        raise BadRequest(cid, 'The service answers with a stream, which only its own channels can carry') from None


SERVICES = (InvokeByName,)
