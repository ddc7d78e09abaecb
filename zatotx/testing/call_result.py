"""The results of calls in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from zatotx.model.message import Reply, ServiceResult
from zatotx.wire.xml.parser import parse


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a service call, before a channel has serialized it."""

    payload: Any = None  # without its response element; a stream is collected as bytes
    status: int = 200
    content_type: str = ''  # '' = the channel's
    headers: Mapping[str, str] = {}
    element: str = ''  # the response_elem around the payload (classic SimpleIO), or ''
    cid: str = ''


class ChannelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The response that a client of a channel receives."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str]
    cid: str
    error: BaseException | None = None  # the exception that the service raised, if the response reports it

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode('utf-8')

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return msgspec.json.decode(self.body)

    def xml(self) -> Any:
        """Return the body, parsed as XML by lxml.objectify."""
        return parse(self.body)

    @property
    def details(self) -> str:
        """The details of an error response, of JSON or XML channels."""
        if self.content_type == 'application/xml':
            return self.xml().findtext('details') or ''
        details: str = self.json()['zato_env']['details']
        return details


async def collect_stream(stream: AsyncIterator[bytes]) -> bytes:
    """Collect a streamed response."""
    return b''.join([chunk async for chunk in stream])


def make_answer(outcome: ServiceResult, streamed: bytes | None, cid: str) -> Answer:
    """Return the result of a service call."""
    return Answer(
        payload=outcome.value if streamed is None else streamed,
        status=outcome.status,
        content_type=outcome.content_type,
        headers=dict(outcome.headers),
        element=outcome.element,
        cid=cid,
    )


def make_channel_answer(reply: Reply, streamed: bytes | None, cid: str) -> ChannelAnswer:
    """Return the response of a channel."""
    return ChannelAnswer(
        status=reply.status,
        body=reply.body if streamed is None else streamed,
        content_type=reply.content_type.decode('latin-1'),
        headers={name.decode('ascii'): value.decode('utf-8') for name, value in reply.headers},
        cid=cid,
        error=reply.error,
    )
