"""The services zato.dead-letter.*, which list, show, edit, replay and delete dead letters. Dead letters are messages
whose processing failed permanently.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.interfaces.dead_letters import DeadLetterFilter
from zatotx.model.errors import NotFound
from zatotx.model.work_message import VALUE_FORMAT, WorkMessage
from zatotx.service.io.elements import AsIs, Bool, Int, Text

MAX_ROWS = 10_000  # maximum number of dead letters in a response, or in one replay or purge
DEFAULT_ROWS = 100


class DeadLetterService(AdminService):
    """Base class of the dead letter services."""

    async def named(self) -> list[WorkMessage]:
        """Return the dead letters named by `ids`, or with `all` those of `service`, or of all services. Raises NotFound
        for an unknown id, BadInput where the request names none."""
        request_input = self.request.input
        ids = read_ids(request_input.ids)
        if bool(ids) == bool(request_input.all):
            raise bad_field_error('ids', 'give either ids or all')
        which = DeadLetterFilter(ids=tuple(ids), service=request_input.service or '', limit=MAX_ROWS)
        found: list[WorkMessage] = await self.server.dead_letters.dead_letters(which)
        known = {message.id for message in found}
        if unknown := [id_ for id_ in ids if id_ not in known]:
            raise NotFound(self.cid, f'There is no dead letter {", ".join(unknown)}')
        return found

    async def one(self) -> WorkMessage:
        """Return the dead letter named by `id`. Raises NotFound."""
        id_ = str(self.request.input.id)
        found: list[WorkMessage] = await self.server.dead_letters.dead_letters(DeadLetterFilter(ids=(id_,)))
        if not found:
            raise NotFound(self.cid, f'There is no dead letter {id_!r}')
        return found[0]


class GetList(DeadLetterService):
    """List dead letters. The dead letters with the most recent failures come first."""

    name = 'zato.dead-letter.get-list'

    class SimpleIO:
        input_optional = (Text('service'), Int('limit'))

    async def handle(self) -> None:
        limit = self.request.input.limit or DEFAULT_ROWS
        if not 0 < limit <= MAX_ROWS:
            raise bad_field_error('limit', f'must be 1 to {MAX_ROWS}')
        which = DeadLetterFilter(service=self.request.input.service or '', limit=limit)
        found = await self.server.dead_letters.dead_letters(which)
        self.response.payload = [dead_letter_to_row(message) for message in found]


class Get(DeadLetterService):
    """Return one dead letter."""

    name = 'zato.dead-letter.get'

    class SimpleIO:
        input_required = (Text('id'),)

    async def handle(self) -> None:
        self.response.payload = dead_letter_to_row(await self.one())


class Edit(DeadLetterService):
    """Change the payload of a dead letter, or the service that a replay invokes."""

    name = 'zato.dead-letter.edit'

    class SimpleIO:
        input_required = (Text('id'),)
        input_optional = (AsIs('payload'), Text('service'))

    async def handle(self) -> None:
        message = await self.one()
        changes: dict[str, Any] = {}
        sent = self.received_fields or {}
        if 'payload' in sent:
            changes['payload'] = edited_payload(message, sent['payload'])
        if self.request.input.service:
            changes['service'] = self.request.input.service
        if not changes:
            raise bad_field_error('payload', 'missing: give payload or service')
        edited = msgspec.structs.replace(message, **changes)
        await self.server.dead_letters.edit_dead_letter(edited)
        self.response.payload = dead_letter_to_row(edited)


class Replay(DeadLetterService):
    """Replay dead letters. They are written to the work stream as new messages, and removed."""

    name = 'zato.dead-letter.replay'

    class SimpleIO:
        input_optional = (AsIs('ids'), Bool('all'), Text('service'))

    async def handle(self) -> None:
        found = await self.named()
        # Added first: a server that dies between the two steps leaves a message to run and its dead letter.
        await self.server.work.add([copy_for_replay(message) for message in found])
        await self.server.dead_letters.remove_dead_letters(found)
        self.response.payload = {'replayed': len(found)}


class Purge(DeadLetterService):
    """Delete dead letters."""

    name = 'zato.dead-letter.purge'

    class SimpleIO:
        input_optional = (AsIs('ids'), Bool('all'), Text('service'))

    async def handle(self) -> None:
        self.response.payload = {'purged': await self.server.dead_letters.remove_dead_letters(await self.named())}


def read_ids(given: Any) -> list[str]:
    """Parse IDs given as a list or as comma-separated text. Raises BadInput."""
    if given in (None, '', []):
        return []
    values: Sequence[Any] = [given] if isinstance(given, (str, int)) else given
    if not isinstance(values, list) or not all(isinstance(value, (str, int)) for value in values):
        raise bad_field_error('ids', 'expected a list of ids')
    return [str(value) for value in values]


def copy_for_replay(message: WorkMessage) -> WorkMessage:
    """Return a copy of a message for a replay, without expiration and without the history of its failures."""
    return msgspec.structs.replace(message, attempts=0, first_failed=0.0, last_failed=0.0, cause='', expires_at=0.0)


def edited_payload(message: WorkMessage, payload: Any) -> Any:
    """Convert a new payload to the form that the message needs, which is a body in bytes, or a value."""
    if message.data_format == VALUE_FORMAT:
        return payload
    return payload.encode('utf-8') if isinstance(payload, str) else msgspec.json.encode(payload)


def dead_letter_to_row(message: WorkMessage) -> dict[str, Any]:
    """Convert a dead letter to a row of the response."""
    return {
        'id': message.id,
        'service': message.service,
        'payload': payload_to_json(message),
        'cause': message.cause,
        'attempts': message.attempts,
        'first_failed': format_unix_time(message.first_failed),
        'last_failed': format_unix_time(message.last_failed),
    }


def payload_to_json(message: WorkMessage) -> Any:
    """Convert the payload of a message to a form that JSON can represent: a JSON body is decoded, and binary data is
    encoded as base64."""
    payload = message.payload
    if message.data_format == 'json' and isinstance(payload, bytes):
        try:
            return msgspec.json.decode(payload)
        except msgspec.DecodeError:
            return bytes_to_text(payload)
    if isinstance(payload, bytes):
        return bytes_to_text(payload)
    return msgspec.to_builtins(payload, builtin_types=(), str_keys=True)


def bytes_to_text(data: bytes) -> str:
    """Decode bytes as UTF-8 text, or encode them as base64 if they are not UTF-8."""
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError:
        return b64encode(data).decode('ascii')


def format_unix_time(seconds: float) -> str:
    """Format unix time as ISO 8601; return '' for 0."""
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else ''


SERVICES = (GetList, Get, Edit, Replay, Purge)
