"""The object types of the ZeroMQ kind: channels and outgoing connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from msgspec import Meta

from zatotx.plugins.zmq.addresses import address_error, curve_key_error, is_wildcard_host, parse_addresses
from zatotx.rules.resilience.idempotency_key import MESSAGE
from zatotx.schema.delivery_fields import GUARANTEED, DeliveryRetry, OutgoingDelivery
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.placement_fields import COMPETING, SINGLE, PlacedChannelBase

PULL, SUB, ROUTER, REP = 'PULL', 'SUB', 'ROUTER', 'REP'
PUSH, PUB, REQ, DEALER = 'PUSH', 'PUB', 'REQ', 'DEALER'
BIND, CONNECT = 'bind', 'connect'
LAST, JOIN, LIST = 'last', 'join', 'list'  # what a service gets of a message with several frames
MEBIBYTE = 1024 * 1024
_Key = Annotated[str, Meta(max_length=40)]


def _aliases(*names: str) -> Mapping[str, str]:
    return {name.lower(): name for name in names}


# The keys of CURVE, which encrypts and authenticates (ZeroMQ RFC 26). Without any, connections are not encrypted.
_SecretKey = Annotated[
    str, field("Own secret key of CURVE: 'zatotx crypto zmq-key' makes one", secret='encrypted',
               check=lambda text: curve_key_error(text) if text else '')
]  # fmt: skip
_ServerKey = Annotated[
    str, field('Public key of the CURVE server that the peer is', max_length=40,
               check=lambda text: curve_key_error(text) if text else '')
]  # fmt: skip
_ClientKeys = Annotated[
    list[_Key], field('Public keys of the clients that this CURVE server accepts', max_length=10_000)
]
_AnyClient = Annotated[bool, field('Whether this CURVE server accepts clients with any key')]


class CurveKeys(Protocol):
    """The interface of the CURVE fields, which ZeroMQ channels and outgoing connections share."""

    @property
    def curve_secret_key(self) -> str: ...

    @property
    def curve_server_key(self) -> str: ...

    @property
    def curve_client_keys(self) -> list[str]: ...

    @property
    def curve_any_client(self) -> bool: ...


class ZmqChannel(PlacedChannelBase, frozen=True, kw_only=True):
    """A ZeroMQ channel: a socket whose messages are delivered to a service."""

    name: Annotated[str, field('Name of the channel', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether the channel receives messages')] = True
    address: Annotated[
        str, field("Address such as 'tcp://127.0.0.1:5555' or 'ipc:///run/app.sock', or several, with commas between "
                   'them', check=address_error, min_length=1, max_length=10_000)
    ]  # fmt: skip
    socket_type: Annotated[
        str, field('PULL and SUB receive messages; REP and ROUTER also send the response of the service back',
                   choices=(PULL, SUB, ROUTER, REP), aliases=_aliases(PULL, SUB, ROUTER, REP))
    ] = PULL  # fmt: skip
    socket_method: Annotated[
        str, field('Whether the socket connects to its addresses or listens on them', choices=(CONNECT, BIND))
    ] = CONNECT
    sub_key: Annotated[str, field('Prefix of the messages that SUB subscribes to; empty = all', max_length=1000)] = ''
    sub_keys: Annotated[
        list[Annotated[str, Meta(max_length=1000)]], field('Further prefixes that SUB subscribes to', max_length=10_000)
    ] = []
    strip_sub_key: Annotated[
        bool, field('Whether the prefix is removed from messages before the service gets them, as in Zato')
    ] = True
    service: Annotated[str, field('Service that gets the messages', ref='service', min_length=1)]
    data_format: Annotated[str, field('Format of the messages; empty = bytes', choices=('', 'json', 'xml'))] = ''
    multipart: Annotated[
        str, field('What the service gets of a message with several frames. last: the last frame, and the others as '
                   'headers; join: all frames as one text of bytes; list: a list of bytes', choices=(LAST, JOIN, LIST))
    ] = LAST  # fmt: skip
    timeout: Annotated[float, field('Seconds that the service may take for a message', gt=0, le=86_400)] = 60.0
    max_in_flight: Annotated[
        int, field('Messages that are processed at once; at the limit, no further ones are read', ge=1, le=10_000)
    ] = 100
    receive_hwm: Annotated[
        int, field('Messages per peer that ZeroMQ keeps until they are read (ZMQ_RCVHWM)', ge=1, le=1_000_000)
    ] = 100
    max_message_size: Annotated[
        int, field('Bytes of the largest message. ZeroMQ closes the connection of a peer that sends a larger frame',
                   ge=1024, le=2**31)
    ] = 8 * MEBIBYTE  # fmt: skip
    retry: Annotated[
        DeliveryRetry | None, field('Retries of messages of PULL and SUB whose service failed; none = one attempt')
    ] = DeliveryRetry()
    dead_letter: Annotated[
        bool, field('Whether messages of PULL and SUB that failed for the last time become dead letters. Clients of '
                    'REP and ROUTER get the error')
    ] = True  # fmt: skip
    placement: Annotated[
        str, field('every_node: each node has the socket; one_node_of_cluster: one node, and another one takes over '
                   'when it dies; empty = one_node_of_cluster for SUB, which gives each message to every node, and '
                   'every_node for the others', choices=('', COMPETING, SINGLE))
    ] = ''  # fmt: skip
    curve_secret_key: _SecretKey = ''
    curve_server_key: _ServerKey = ''
    curve_client_keys: _ClientKeys = []
    curve_any_client: _AnyClient = False


class ZmqOutgoing(OutgoingDelivery, frozen=True, kw_only=True):
    """An outgoing ZeroMQ connection: a socket with which services send messages, as `self.out.zmq[name]`."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether services may use the connection')] = True
    address: Annotated[
        str, field("Address such as 'tcp://127.0.0.1:5556' or 'ipc:///run/app.sock', or several, with commas between "
                   'them', check=address_error, min_length=1, max_length=10_000)
    ]  # fmt: skip
    socket_type: Annotated[
        str, field('PUSH and DEALER give each message to one peer, PUB to all subscribers; REQ waits for the reply',
                   choices=(PUSH, PUB, REQ, DEALER), aliases=_aliases(PUSH, PUB, REQ, DEALER))
    ] = PUSH  # fmt: skip
    socket_method: Annotated[
        str, field('Whether the socket connects to its addresses or listens on them', choices=(CONNECT, BIND))
    ] = CONNECT
    timeout: Annotated[
        float, field('Seconds that a message waits for room in a full queue, or for its reply', gt=0, le=86_400)
    ] = 10.0
    queue_size: Annotated[
        int, field('Messages that are kept while no peer takes them; a further one waits. PUB has no queue',
                   ge=1, le=1_000_000)
    ] = 1000  # fmt: skip
    send_hwm: Annotated[
        int, field('Messages per peer that ZeroMQ keeps beyond those (ZMQ_SNDHWM). Those of a peer that listened on '
                   'no address of its own are lost when it goes away', ge=1, le=1_000_000)
    ] = 100  # fmt: skip
    linger: Annotated[
        float, field('Seconds for which the queue of an edited or deleted connection is still sent', ge=0, le=86_400)
    ] = 60.0
    heartbeat: Annotated[
        float, field('Seconds between heartbeats, after two of which a peer that does not answer is disconnected; what '
                     'it had not read may be lost. 0 = none', ge=0, le=3600)
    ] = 0.0  # fmt: skip
    max_message_size: Annotated[
        int, field('Bytes of the largest message to send or to receive', ge=1024, le=2**31)
    ] = 64 * MEBIBYTE
    curve_secret_key: _SecretKey = ''
    curve_server_key: _ServerKey = ''
    curve_client_keys: _ClientKeys = []
    curve_any_client: _AnyClient = False


def curve_errors(value: CurveKeys) -> list[tuple[str, str]]:
    """Return the validation errors that involve several CURVE key fields."""
    errors = [(f'curve_client_keys[{index}]', error) for index, key in enumerate(value.curve_client_keys)
              if (error := curve_key_error(key))]  # fmt: skip
    is_server = bool(value.curve_client_keys) or value.curve_any_client
    if is_server and value.curve_server_key:
        errors.append(('curve_server_key', 'must be empty where this side is the CURVE server, which curve_client_keys '
                                           'and curve_any_client say'))  # fmt: skip
    if value.curve_client_keys and value.curve_any_client:
        errors.append(('curve_any_client', 'must be false where curve_client_keys names the clients'))
    if (is_server or value.curve_server_key) and not value.curve_secret_key:
        errors.append(('curve_secret_key', "is missing: 'zatotx crypto zmq-key' makes one"))
    if value.curve_secret_key and not (is_server or value.curve_server_key):
        errors.append(('curve_secret_key', 'needs curve_server_key, or curve_client_keys where this side is the CURVE '
                                           'server'))  # fmt: skip
    return errors


def _connect_errors(value: Any) -> list[tuple[str, str]]:
    if value.socket_method == BIND:
        return []
    return [('address', f'{address} is for socket_method: bind: to connect, name a host')
            for address in parse_addresses(value.address) if is_wildcard_host(address)]  # fmt: skip


def _channel_errors(value: ZmqChannel) -> list[tuple[str, str]]:
    errors = [*_connect_errors(value), *curve_errors(value)]
    if value.socket_type != SUB:
        errors += [(name, f'is for SUB, not for {value.socket_type}')
                   for name in ('sub_key', 'sub_keys') if getattr(value, name)]  # fmt: skip
    if value.idempotent is not None and value.idempotent.key == MESSAGE:
        errors.append(('idempotent.key', 'must be body, header:NAME or json:/POINTER: messages of ZeroMQ have no id'))
    if value.multipart == LIST and value.data_format:
        errors.append(('multipart', 'list needs an empty data_format: the service gets the frames as they are'))
    return errors


def _outgoing_errors(value: ZmqOutgoing) -> list[tuple[str, str]]:
    errors = [*_connect_errors(value), *curve_errors(value)]
    if value.delivery == GUARANTEED and value.socket_type == PUB:
        errors.append(('delivery', 'must be direct for PUB, which drops messages that no subscriber takes'))
    return errors


def _normalize(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Accept lists where an address or a prefix is expected."""
    changed = dict(fields)
    if isinstance(address := changed.get('address'), list) and all(isinstance(each, str) for each in address):
        changed['address'] = ', '.join(address)
    if isinstance(keys := changed.get('sub_key'), list):
        changed['sub_key'] = ''
        changed['sub_keys'] = [*keys, *(changed.get('sub_keys') or [])]
    return changed


OBJECT_TYPES = (
    ObjectType(
        key='channel_zmq', struct=ZmqChannel, section='channel_zmq', title='ZeroMQ channel',
        zato=ZatoApi(prefix='channel.zmq'), validate=_channel_errors, normalize=_normalize,
    ),
    ObjectType(
        key='outgoing_zmq', struct=ZmqOutgoing, section='outgoing_zmq', title='Outgoing ZeroMQ connection',
        zato=ZatoApi(prefix='outgoing.zmq', actions=('create', 'edit', 'delete', 'get-list', 'ping')),
        validate=_outgoing_errors, normalize=_normalize,
    ),
)  # fmt: skip
