"""The object types of the lines kind."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.delivery_fields import MessageChannelBase, OutgoingDelivery
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import ConfigObject

_ADDRESS = r'^(tcp|tcp6|ssl|unix):.+$'


class LinesDefinition(ConfigObject, frozen=True, kw_only=True):
    """The dialect that both sides of a connection speak."""

    name: Annotated[str, field('Name of the definition', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether the definition may be used')] = True
    max_length: Annotated[int, field('Bytes of the longest line', ge=1, le=1_000_000)] = 65_536
    prefix: Annotated[str, field('Text before each reply', max_length=100)] = ''


class LinesChannel(MessageChannelBase, frozen=True, kw_only=True):
    """An address where clients send lines to a service."""

    name: Annotated[str, field('Name of the channel', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether the channel listens')] = True
    address: Annotated[str, field('Twisted endpoint description, tcp:port=9000:interface=127.0.0.1',
                                  pattern=_ADDRESS, max_length=1000)]
    service: Annotated[str, field('Service that replies', ref='service', min_length=1)]
    definition: Annotated[str, field('Definition of the dialect', ref='definition_lines', min_length=1)]
    timeout: Annotated[float, field('Seconds until a line is answered with an error', gt=0, le=86400)] = 60.0
    # A client waits for the reply to its line, and learns that it failed.
    dead_letter: Annotated[bool, field('Whether lines that failed for the last time become dead letters')] = False
    nodes: Annotated[list[str], field('Names of the nodes that may listen; none = all', max_length=100)] = []
    max_in_flight: (
        Annotated[int, field('Lines at once on a node; none = no limit of its own', ge=1, le=100_000)] | None
    ) = None


class LinesOutgoing(OutgoingDelivery, frozen=True, kw_only=True):
    """A peer that services send lines to: `self.out.lines[name].send(text)`."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether services may use the connection')] = True
    host: Annotated[str, field('Host of the peer', min_length=1, max_length=255)]
    port: Annotated[int, field('Port of the peer', ge=1, le=65535)]
    definition: Annotated[str, field('Definition of the dialect', ref='definition_lines', min_length=1)]
    timeout: Annotated[float, field('Seconds for a call', gt=0, le=86400)] = 10.0
    pool_size: Annotated[int, field('Calls at once', ge=1, le=1000)] = 4


def _channel(key: str, title: str) -> ObjectType:
    return ObjectType(key=key, struct=LinesChannel, section=key, title=title,
                      zato=ZatoApi(prefix=f'channel.{key.removeprefix("channel_").replace("_", "-")}'),
                      unique_text=lambda value: str(value.address), unique_label='address')  # fmt: skip


OBJECT_TYPES = (
    ObjectType(key='definition_lines', struct=LinesDefinition, section='definition_lines', title='Lines definition',
               zato=ZatoApi(prefix='definition.lines')),
    _channel('channel_lines', 'Lines channel'),
    _channel('channel_lines_single', 'Lines channel of one worker'),
    _channel('channel_lines_leader', 'Lines channel of one node'),
    ObjectType(key='outgoing_lines', struct=LinesOutgoing, section='outgoing_lines', title='Outgoing lines connection',
               zato=ZatoApi(prefix='outgoing.lines', actions=('create', 'edit', 'delete', 'get-list', 'ping'))),
)  # fmt: skip
