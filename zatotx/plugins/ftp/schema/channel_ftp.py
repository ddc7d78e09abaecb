"""The object type of FTP channels: FTP servers to which partners upload files."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Annotated

import msgspec
from msgspec import Meta

from zatotx.rules.listen_address import address_error, to_endpoint
from zatotx.schema.delivery_fields import DeliveryRetry, MessageChannelBase
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import FOR_LOGINS

ON_UPLOAD, ON_RENAME = 'upload', 'rename'
IGNORED = ('*.part', '*.tmp', '*.filepart')  # names that clients give to files until they are complete


def parse_port_range(text: str) -> range:
    """Parse a port range, which is `first-last` or a single port, and return its ports. For '' the range is empty.
    Raises ValueError."""
    if not text:
        return range(0)
    first, _, last = text.partition('-')
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65_535:
        raise ValueError(f'{text!r} is no range of ports')
    return range(low, high + 1)


def _range_error(text: str) -> str:
    try:
        parse_port_range(text)
    except ValueError:
        return "must be a range of ports such as '50000-50100'"
    return ''


def _ipv4_error(text: str) -> str:
    try:
        IPv4Address(text or '127.0.0.1')
    except AddressValueError:
        return 'must be an IPv4 address: PASV cannot name another one (RFC 959)'
    return ''


def _address_error(text: str) -> str:
    if text.startswith('ssl:'):
        return 'has no ssl: endpoints: use HOST:PORT, and tls with implicit: true'
    return address_error(text)


def _name_error(text: str) -> str:
    return '' if text.isprintable() else 'must not have control characters'


class FtpTls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The TLS settings of an FTP channel (RFC 4217)."""

    certificate: Annotated[
        str, field('PEM file of the certificate and its chain; relative to the directory of the server', min_length=1)
    ]
    private_key: Annotated[str, field('PEM file of its key; empty = in the file of the certificate')] = ''
    required: Annotated[bool, field('Whether logins and transfers without TLS are refused')] = True
    implicit: Annotated[bool, field('Whether connections begin with TLS instead of AUTH TLS')] = False


class FtpChannel(MessageChannelBase, frozen=True, kw_only=True):
    """An FTP channel: an FTP server that delivers uploaded files to a service."""

    name: Annotated[str, field('Name of the channel', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether the channel listens')] = True
    address: Annotated[
        str, field("Where it listens: '0.0.0.0:17021', or a Twisted endpoint description",
                   check=_address_error, min_length=1, max_length=1000)
    ]  # fmt: skip
    user: Annotated[
        str, field('User name of the partner; empty = those of security and groups only', max_length=200,
                   check=_name_error)
    ] = ''  # fmt: skip
    password: Annotated[
        str, field('Password of the partner; without one the logins of this user are refused', secret='encrypted')
    ] = ''
    security: Annotated[
        str | None, field('Basic auth definition of a further user', ref='security', ref_purpose=FOR_LOGINS)
    ] = None
    groups: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        field('Groups of Basic auth definitions of further users', ref='groups'),
    ] = []
    directory: Annotated[
        str, field('Directory of the files; relative to the directory of the server; made where it is missing',
                   min_length=1, max_length=4000)
    ]  # fmt: skip
    directory_per_user: Annotated[
        bool, field('Whether each user sees a directory of its own, by its name, in the directory of the channel')
    ] = False
    service: Annotated[str, field('Service that gets the files', ref='service', min_length=1)]
    timeout: Annotated[float, field('Seconds that the service may take for a file', gt=0, le=86400)] = 300.0
    retry: Annotated[DeliveryRetry | None, field('Retries where the service fails; none = one attempt')] = (
        DeliveryRetry()
    )
    max_in_flight: Annotated[int, field('Files that are processed at once on a node', ge=1, le=10_000)] = 10
    nodes: Annotated[list[str], field('Names of the nodes that may listen; none = all', max_length=100)] = []
    deliver_on: Annotated[
        str, field('When a file is complete: upload = when it arrived; rename = when the partner renames it',
                   choices=(ON_UPLOAD, ON_RENAME))
    ] = ON_UPLOAD  # fmt: skip
    ignored_patterns: Annotated[
        list[str], field('Patterns of names that are not delivered until they are renamed', max_length=100)
    ] = msgspec.field(default_factory=lambda: list(IGNORED))
    allow_reading: Annotated[bool, field('Whether the partner may download files')] = False
    allow_active: Annotated[
        bool, field("Whether data connections to the partner's own address are opened (PORT, EPRT)")
    ] = False
    passive_ports: Annotated[
        str, field("Ports of passive data connections, such as '50000-50100'; empty = any", check=_range_error)
    ] = ''
    passive_address: Annotated[
        str, field('IPv4 address that PASV gives to clients, where they reach the server by NAT', check=_ipv4_error)
    ] = ''
    tls: Annotated[FtpTls | None, field('TLS; none = connections are not encrypted')] = None
    idle_timeout: Annotated[float, field('Seconds between commands of a client', gt=0, le=86400)] = 300.0
    transfer_timeout: Annotated[float, field('Seconds without progress of a transfer', gt=0, le=86400)] = 60.0
    max_connections: Annotated[int, field('Clients at once', ge=1, le=100_000)] = 200
    max_connections_per_address: Annotated[int, field('Clients at once from one address', ge=1, le=100_000)] = 20


def _errors(value: FtpChannel) -> list[tuple[str, str]]:
    if not value.user and value.security is None and not value.groups:
        return [('user', 'is missing: nobody could log in without user, security or groups')]
    return []


CHANNEL_FTP = ObjectType(
    key='channel_ftp', struct=FtpChannel, section='channel_ftp', title='FTP channel',
    zato=ZatoApi(prefix='channel.ftp', actions=('create', 'edit', 'delete', 'get-list', 'change-password')),
    validate=_errors, unique_text=lambda value: to_endpoint(value.address), unique_label='address',
)  # fmt: skip
