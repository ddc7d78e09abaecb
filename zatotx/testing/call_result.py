"""What a call gives to a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from zatotx.model.message import Outcome, Reply
from zatotx.wire.xml.parser import parse


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a service made of a call, before any channel has written it."""

    payload: Any = None  # without its response element; of a stream all of it, as bytes
    status: int = 200
    content_type: str = ''  # '' = the channel's
    headers: Mapping[str, str] = {}
    element: str = ''  # classic SimpleIO's response_elem around the payload, or ''
    cid: str = ''


class ChannelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client of a channel gets."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str]
    cid: str
    error: BaseException | None = None  # what the service raised, where the answer tells of that

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode('utf-8')

    def json(self) -> Any:
        """The body, read as JSON."""
        return msgspec.json.decode(self.body)

    def xml(self) -> Any:
        """The body, read as XML: what lxml.objectify makes of it."""
        return parse(self.body)

    @property
    def details(self) -> str:
        """What an error answer says, in the form of JSON channels or in that of XML ones."""
        if self.content_type == 'application/xml':
            return self.xml().findtext('details') or ''
        details: str = self.json()['zato_env']['details']
        return details


async def whole(stream: AsyncIterator[bytes]) -> bytes:
    """All of a streamed answer."""
    return b''.join([chunk async for chunk in stream])


def answer_of(outcome: Outcome, streamed: bytes | None, cid: str) -> Answer:
    """What a service made, for the test."""
    return Answer(
        payload=outcome.value if streamed is None else streamed,
        status=outcome.status,
        content_type=outcome.content_type,
        headers=dict(outcome.headers),
        element=outcome.element,
        cid=cid,
    )


def channel_answer_of(reply: Reply, streamed: bytes | None, cid: str) -> ChannelAnswer:
    """What the client gets, for the test."""
    return ChannelAnswer(
        status=reply.status,
        body=reply.body if streamed is None else streamed,
        content_type=reply.content_type.decode('latin-1'),
        headers={name.decode('ascii'): value.decode('utf-8') for name, value in reply.headers},
        cid=cid,
        error=reply.error,
    )
