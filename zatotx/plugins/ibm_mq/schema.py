"""The object types of the IBM MQ kind: definitions of queue managers, channels and outgoing connections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from zatotx.plugins.ibm_mq.wire.ccsid import UTF_8, is_known
from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.schema.delivery_fields import OutgoingDelivery
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.placement_fields import PlacedChannelBase
from zatotx.schema.secrets import ConfigObject

if TYPE_CHECKING:
    from zatotx.plugins.ibm_mq.mqi_interfaces import ConnectOptions

BACK_OUT, DEAD_LETTER = 'backout', 'dead_letter'
MEBIBYTE = 1024 * 1024
_NAME = r'^[A-Za-z0-9._/%]*$'  # of queue managers, queues and channels
_CONNECTION_NAME = re.compile(r'[A-Za-z0-9._:\[\]-]+\([0-9]{1,5}\)\Z')


def _connection_names_error(names: list[str]) -> str:
    wrong = [name for name in names if not _CONNECTION_NAME.match(name)]
    return f"must be a list of 'host(port)', which {wrong[0]!r} is not" if wrong else ''


def _ccsid_error(ccsid: int) -> str:
    return '' if is_known(ccsid) else 'is no CCSID that zatotx can convert to: 1208 is UTF-8'


class MqDefinition(ConfigObject, frozen=True, kw_only=True):
    """A definition of a queue manager: its address, and the options with which to connect to it."""

    name: Annotated[str, field('Name of the definition', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether the definition may be used')] = True
    host: Annotated[
        str, field('Name or address of the host; empty = those of connection_names alone', max_length=200,
                   pattern=r'^[A-Za-z0-9._:-]*$')
    ] = ''  # fmt: skip
    port: Annotated[int, field('Port of its listener', ge=1, le=65_535)] = 1414
    connection_names: Annotated[
        list[str],
        field("Further addresses, as 'host(port)', which are tried in their order where the ones before do not answer",
              max_length=16, check=_connection_names_error),
    ] = []
    queue_manager: Annotated[
        str, field('Name of the queue manager; empty = whichever listens there', max_length=48, pattern=_NAME)
    ] = ''
    channel: Annotated[
        str, field('Name of its server-connection channel', min_length=1, max_length=20, pattern=_NAME)
    ]
    username: Annotated[str, field('User; empty = none is sent', max_length=200)] = ''
    password: Annotated[str, field('Password of the user', secret='encrypted')] = ''
    ssl: Annotated[bool, field('Whether the connection uses TLS')] = False
    ssl_cipher_spec: Annotated[
        str, field('CipherSpec of the channel, such as ANY_TLS12_OR_HIGHER; required with ssl', max_length=32)
    ] = ''
    ssl_key_repository: Annotated[
        str, field('Path of the key database without its extension (.kdb); required with ssl', max_length=256)
    ] = ''
    needs_mcd: Annotated[
        bool, field('Whether messages that are sent have the mcd folder, which JMS programs before IBM MQ 7 ask for')
    ] = False
    cache_open_send_queues: Annotated[
        bool, field('Whether handles keep up to 32 queues open for further messages')
    ] = True
    cache_open_receive_queues: Annotated[
        bool, field("Accepted for clients of Zato's API; the queues of channels stay open")
    ] = True
    use_shared_connections: Annotated[
        bool, field("Accepted for clients of Zato's API; connections are always shared by the services of a worker")
    ] = True
    max_chars_printed: Annotated[
        int, field("Accepted for clients of Zato's API; bodies of messages are never logged", ge=0, le=100_000)
    ] = 100
    heartbeat: Annotated[
        int, field("Seconds between heartbeats of an idle connection (the client's HBINT)", ge=0, le=999_999)
    ] = 30
    max_message_size: Annotated[
        int, field('Maximum bytes of a message that is received or sent', ge=1024, le=100 * MEBIBYTE)
    ] = 8 * MEBIBYTE


class MqChannel(PlacedChannelBase, frozen=True, kw_only=True):
    """An IBM MQ channel: delivers the messages of a queue to a service, each in a unit of work."""

    name: Annotated[str, field('Name of the channel', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether messages are received')] = True
    definition: Annotated[str, field('Definition of the queue manager', ref='definition_ibm_mq', min_length=1)]
    queue: Annotated[str, field('Queue', min_length=1, max_length=48, pattern=_NAME)]
    service: Annotated[str, field('Service that gets the messages', ref='service', min_length=1)]
    data_format: Annotated[
        str, field('Format of the bodies; empty = the service gets the bytes', choices=('', 'json', 'xml', 'form'))
    ] = ''  # fmt: skip
    use_jms: Annotated[
        bool, field('Whether MQRFH2 headers are read; false = the queue manager leaves them out')
    ] = True
    consumers: Annotated[
        int, field('Threads that receive messages, each with a connection of its own and one message at a time', ge=1,
                   le=100)
    ] = 1  # fmt: skip
    timeout: Annotated[float, field('Seconds that the service may take for a message', gt=0, le=86_400)] = 60.0
    on_error: Annotated[
        str, field('What becomes of a message whose service failed: backout = it is backed out, and moved to the '
                   'back-out queue after as many back-outs as its queue allows; dead_letter = it becomes a dead letter '
                   'at once', choices=(BACK_OUT, DEAD_LETTER), aliases={'back_out': BACK_OUT})
    ] = BACK_OUT  # fmt: skip
    max_backouts: Annotated[
        int, field('Back-outs of a message where its queue has no threshold (BOTHRESH) of its own', ge=1, le=1000)
    ] = 5
    dead_letter: Annotated[
        bool, field('Whether messages that are given up become dead letters where their queue has no back-out queue '
                    '(BOQNAME) that takes them; false = they are logged and dropped')
    ] = True


class MqOutgoing(OutgoingDelivery, frozen=True, kw_only=True):
    """An outgoing IBM MQ connection, with which services send messages: `self.out.ibm_mq[name].send(message,
    queue)`."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether services may use the connection')] = True
    definition: Annotated[str, field('Definition of the queue manager', ref='definition_ibm_mq', min_length=1)]
    queue: Annotated[
        str, field('Queue of messages for which a service names none', max_length=48, pattern=_NAME)
    ] = ''
    use_jms: Annotated[
        bool, field('Whether messages have an MQRFH2 header with the fields and properties of JMS')
    ] = True
    delivery_mode: Annotated[int, field('1 = not persistent, 2 = persistent', ge=1, le=2)] = 2
    priority: Annotated[int, field('Priority, 0-9', ge=0, le=9)] = 5
    expiration: (
        Annotated[int, field('Milliseconds until a message expires; 0 or none = never', ge=0, le=2**31 - 1)] | None
    ) = None
    ccsid: Annotated[int, field('CCSID that text is sent in; 1208 = UTF-8', check=_ccsid_error)] = UTF_8
    timeout: Annotated[
        float, field('Seconds for a message, including the wait for a connection', gt=0, le=86_400)
    ] = 10.0
    pool_size: Annotated[int, field('Connections per worker at most; further messages wait', ge=1, le=1000)] = 4
    circuit_breaker: (
        Annotated[CircuitBreakerSettings, field('Suspends calls to a failing queue manager; none = never')] | None
    ) = None


def connect_options(value: MqDefinition) -> ConnectOptions:
    """Return the connection options of a definition."""
    from zatotx.plugins.ibm_mq.mqi_interfaces import ConnectOptions  # loaded with the first connection

    return ConnectOptions(
        connection_name=_connection_name(value), channel=value.channel,
        queue_manager=value.queue_manager, user=value.username, password=value.password,
        cipher_spec=value.ssl_cipher_spec if value.ssl else '', key_repository=value.ssl_key_repository,
        heartbeat=value.heartbeat, caches_queues=value.cache_open_send_queues,
    )  # fmt: skip


def _connection_name(value: MqDefinition) -> str:
    names = [f'{value.host}({value.port})'] if value.host else []
    return ','.join([*names, *value.connection_names])


def _definition_errors(value: MqDefinition) -> list[tuple[str, str]]:
    errors = []
    if not value.host and not value.connection_names:
        errors.append(('host', 'is missing: host or connection_names must say where the queue manager listens'))
    if len(_connection_name(value)) > 264:
        errors.append(('connection_names', 'must have at most 264 characters in all, with host and port'))
    if value.ssl and not value.ssl_cipher_spec:
        errors.append(('ssl_cipher_spec', 'is missing: ssl needs the CipherSpec of the channel'))
    if value.ssl and not value.ssl_key_repository:
        errors.append(('ssl_key_repository', 'is missing: ssl needs a key repository'))
    return errors


DEFINITION = ObjectType(
    key='definition_ibm_mq', struct=MqDefinition, section='definition_ibm_mq', title='IBM MQ definition',
    zato=ZatoApi(prefix='definition.jms-wmq',
                 actions=('create', 'edit', 'delete', 'get-list', 'get-by-id', 'change-password')),
    validate=_definition_errors,
)  # fmt: skip
CHANNEL = ObjectType(
    key='channel_ibm_mq', struct=MqChannel, section='channel_ibm_mq', title='IBM MQ channel',
    zato=ZatoApi(prefix='channel.jms-wmq', zato_names={'definition': 'def_id'}),
)  # fmt: skip
OUTGOING = ObjectType(
    key='outgoing_ibm_mq', struct=MqOutgoing, section='outgoing_ibm_mq', title='Outgoing IBM MQ connection',
    zato=ZatoApi(prefix='outgoing.jms-wmq', actions=('create', 'edit', 'delete', 'get-list', 'ping'),
                 zato_names={'definition': 'def_id'}),
)  # fmt: skip
OBJECT_TYPES = (DEFINITION, CHANNEL, OUTGOING)
