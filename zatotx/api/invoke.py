"""zato.service.invoke: the single door by which Zato's tools enter."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Any

from zatotx.api.base import bad_request
from zatotx.api.services import ServicesService
from zatotx.model.errors import BadInput, BadRequest, Conflict, Forbidden
from zatotx.service.io.elements import AsIs, Bool
from zatotx.wire.json import codec


class Invoke(ServicesService):
    """Invoke a service by `id` or `name`; `payload` and the answer's `response` are base64."""

    name = 'zato.service.invoke'

    class SimpleIO:
        input_optional = (
            'id', 'name', AsIs('payload'), 'channel', 'data_format', 'transport', Bool('async'), 'expiration',
        )  # fmt: skip

    async def handle(self) -> None:
        asked = self.request.input
        if asked['async']:
            raise BadRequest(self.cid, 'Asynchronous invocation is not available on this server yet: leave async out')
        name = self._target(asked)
        self._permit(name)
        options: dict[str, Any] = {}
        if asked.channel:
            options['channel'] = asked.channel
        outcome = await self.invoke(name, self._payload(asked), **options)
        body = await self.server.offload(_written, outcome, self._element(name), self.cid)
        self.response.payload = {'response': b64encode(body).decode('ascii')}

    def _target(self, asked: Any) -> str:
        if asked.id and asked.name:
            raise BadInput([('$.id', 'give either id or name, not both')])
        if not asked.id and not asked.name:
            raise bad_request('name', 'missing: give id or name')
        name = self.by_id(asked.id).name if asked.id else str(asked.name)
        if name == self.name:
            raise Conflict(self.cid, f'{name} cannot invoke itself')
        return name

    def _permit(self, name: str) -> None:
        """This door leads no further than the service's own doors. Raises Forbidden."""
        entry = self.server.services.current.get(name)
        if entry is not None and entry.roles and entry.roles.isdisjoint(self.asking_roles):
            raise Forbidden(self.cid)

    def _payload(self, asked: Any) -> Any:
        """The payload as a channel of that data format gives it to a service: JSON decoded, where no format is said
        text that is no JSON as it is, any other format as bytes."""
        given, data_format = asked.payload, str(asked.data_format or '').lower()
        if given in ('', None) or not isinstance(given, str):
            return '' if given is None else given
        try:
            raw = b64decode(''.join(given.split()), validate=True)
        except (Base64Error, ValueError) as e:
            raise bad_request('payload', f'is not base64: {e}') from None
        if not raw or data_format not in ('', 'json', 'dict'):
            return raw or ''
        try:
            return codec.decode(raw)
        except codec.Malformed as e:
            if data_format:
                raise bad_request('payload', f'is not JSON: {e}') from None
        try:
            return raw.decode('utf-8')
        except UnicodeDecodeError:
            return raw

    def _element(self, name: str) -> tuple[str, bool]:
        """The response element of the service's own answer, and whether zato_env stands beside it."""
        entry = self.server.services.current.get(name)
        if entry is None:
            return '', False
        io = entry.traits.io
        element = io.output.element if io.output is not None else (io.element if entry.is_internal else '')
        return element, entry.is_internal


def _written(value: Any, element: tuple[str, bool], cid: str) -> bytes:
    """The body that a JSON channel would answer. Raises BadRequest where there is none."""
    if isinstance(value, bytes):
        return value
    name, internal = element
    if isinstance(value, str) and not name:
        return value.encode('utf-8')
    answer = {name: value} if name else value
    if name and internal:
        answer = {'zato_env': {'result': 'ZATO_OK', 'cid': cid, 'details': ''}, **answer}
    try:
        return codec.encode(answer)
    except TypeError:
        raise BadRequest(cid, 'The service answers with a stream, which only its own channels can carry') from None


SERVICES = (Invoke,)
