"""The typed model of a load balancer's configuration: the content of `lb.toml`.

Each table of the file is a Struct here. Times are seconds, sizes are bytes, and paths are relative to the load
balancer's directory. `zatotx.lb.config.parser` reads the file and fills defaults in: `[timeouts]` of the file applies
to each frontend and backend that has no value of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from zatotx.schema.secrets import mask_setting

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Status = Annotated[int, Meta(ge=100, le=599)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]

Mode = Literal['http', 'tcp']
Algorithm = Literal['round_robin', 'least_connections', 'power_of_two', 'consistent_hash']
AdministrativeState = Literal['ready', 'drain', 'maint']

_COOKIE_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
_HASH_SOURCE = r'^(address|header:[^\s:]+|cookie:[^\s=;]+)$'

STATS_PATH = '/zato-lb-stats'
ALIVE_PATH = '/zato-lb-alive'
METRICS_PATH = '/zato-lb-metrics'


class ConfigTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the tables of lb.toml. Secrets are masked in its repr."""

    def __repr__(self) -> str:
        fields = (f'{name}={mask_setting(name, value)!r}' for name, value in msgspec.structs.asdict(self).items())
        return f'{type(self).__name__}({", ".join(fields)})'


# Frontends


class ListenerTls(ConfigTable, frozen=True, kw_only=True):
    """The TLS settings of a frontend. The directory holds PEM files, each with a certificate chain and its key, or
    pairs of NAME.crt (or NAME.pem) and NAME.key. The server name that a client requests (SNI) selects the
    certificate."""

    certificates: str = 'tls'  # a directory, whose changes take effect without a restart, or one PEM file
    default: str = ''  # file name of the certificate for clients that name no known server; '' = the first by name
    client_certificates: Literal['none', 'optional', 'required'] = 'none'  # whether clients present one
    client_ca: str = ''  # PEM file of the authorities that sign client certificates
    client_crl: str = ''  # PEM file of their revocation lists
    minimum_version: Literal['TLSv1.2', 'TLSv1.3'] = 'TLSv1.2'  # of TLS
    ciphers: str = ''  # OpenSSL cipher list for TLS 1.2; '' = the default of the servers


class AddressRateLimit(ConfigTable, frozen=True, kw_only=True):
    """A rate limit per client address."""

    count: Annotated[int, Meta(ge=1)]  # how many in `seconds`
    seconds: Annotated[int, Meta(ge=1, le=86_400)] = 1  # the time for `count`
    burst: Annotated[int, Meta(ge=0)] = 0  # how many at once; 0 = `count`


class HeaderRules(ConfigTable, frozen=True, kw_only=True):
    """Changes to the header fields of messages. Removals are applied first."""

    set: dict[str, str] = {}  # name -> value; replaces all fields of that name
    remove: tuple[str, ...] = ()  # names


class RoutingRule(ConfigTable, frozen=True, kw_only=True):
    """A routing rule: requests that match all of its conditions are sent to its backend. The first matching rule
    applies."""

    backend: Name  # where matching requests go
    host: str = ''  # a host name, or '*.example.com' for its subdomains; '' = any
    path: str = ''  # a prefix of whole path segments; a final '$' makes it the whole path; '' = any
    headers: dict[str, str] = {}  # name -> required value; '*' = any value


class ClientTimeouts(ConfigTable, frozen=True, kw_only=True):
    """The timeouts of client connections."""

    client: Seconds = 15  # inactivity of a client that is sending or receiving
    request: Seconds = 15  # from the first byte of a request to the end of its head
    keep_alive: Seconds = 60  # between requests


class Frontend(ConfigTable, frozen=True, kw_only=True):
    """The configuration of a frontend: the addresses to which clients connect, and the routing of their requests."""

    listen: tuple[str, ...]  # each HOST:PORT, or a Twisted endpoint description without TLS
    default_backend: str = ''  # for requests that no route matches; '' = they are answered with 404
    mode: Mode = 'http'  # 'tcp' = any other protocol: all connections go to `default_backend`
    tls: ListenerTls | None = None
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000  # further ones are closed at once
    proxy_protocol: bool = False  # whether connections begin with a PROXY protocol header, version 1 or 2
    redirect_to_https: bool = False  # answer requests over plain HTTP with 308
    routes: tuple[RoutingRule, ...] = ()
    allow: tuple[str, ...] = ()  # addresses or networks; if there are any, others are rejected with 403
    deny: tuple[str, ...] = ()  # addresses or networks that are rejected, also if they are allowed
    connection_rate: AddressRateLimit | None = None
    request_rate: AddressRateLimit | None = None
    forwarded: Literal['x-forwarded', 'forwarded', 'both', 'none'] = 'x-forwarded'  # header fields sent to servers
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose forwarded header fields are kept
    request_headers: HeaderRules = HeaderRules()
    response_headers: HeaderRules = HeaderRules()
    max_head: Annotated[int, Meta(ge=1024, le=1_048_576)] = 65_536  # bytes of a request's head
    alive_path: str = ALIVE_PATH  # answered by the load balancer itself; '' = off
    stats: bool = False  # whether the statistics page and the metrics are served here
    log: bool = True  # whether requests or connections are logged
    timeouts: ClientTimeouts = ClientTimeouts()


# Backends


class ServerTls(ConfigTable, frozen=True, kw_only=True):
    """The TLS settings of connections to a server."""

    verify: bool = True  # whether its certificate and name are verified
    ca: str = ''  # PEM file; '' = the authorities of the system
    server_name: str = ''  # name in its certificate, also sent as SNI; '' = its host
    certificate: str = ''  # PEM file of the client certificate that is presented
    key: str = ''  # PEM file of its key; '' = in the same file


class Server(ConfigTable, frozen=True, kw_only=True):
    """The configuration of a backend's server."""

    host: Name  # name or address
    port: Port  # of the server
    weight: Annotated[int, Meta(ge=0, le=256)] = 1  # 0 = no new clients, except those that a cookie names
    backup: bool = False  # used only while no other server of the backend is available
    max_connections: Annotated[int, Meta(ge=0)] = 0  # concurrent requests (http) or connections (tcp); 0 = unlimited
    state: AdministrativeState = 'ready'  # 'drain' = no new clients, 'maint' = not used and not probed
    tls: ServerTls | None = None


class HealthCheck(ConfigTable, frozen=True, kw_only=True):
    """The configuration of a backend's active health checks."""

    type: Literal['http', 'tcp', 'none'] = 'http'  # 'tcp' = a connection is enough; default with mode = "tcp"
    path: str = '/zato/ready'  # of the request
    host: str = ''  # Host header; '' = the server's address
    status: tuple[Status, ...] = (200,)  # of a good response
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0  # 0 = the server's port
    interval: Seconds = 1  # from the start of one probe to the next
    timeout: Seconds = 1  # of a probe, from the connection to the response
    rise: Annotated[int, Meta(ge=1, le=100)] = 2  # successful probes after which a server is up again
    fall: Annotated[int, Meta(ge=1, le=100)] = 2  # failed probes after which it is down; the first is repeated at once


class Ejection(ConfigTable, frozen=True, kw_only=True):
    """The settings for ejecting a server after connection failures. Response status codes are ignored."""

    failures: Annotated[int, Meta(ge=0, le=10_000)] = 3  # consecutive failures; 0 = never
    duration: Seconds = 10  # of the first ejection; it doubles with each further one
    max_duration: Seconds = 300  # of any ejection


class Retries(ConfigTable, frozen=True, kw_only=True):
    """The settings for sending a request again, to another server if there is one."""

    attempts: Annotated[int, Meta(ge=0, le=10)] = 2  # beyond the first
    max_body: Annotated[int, Meta(ge=0, le=16_777_216)] = 65_536  # bytes of a request body that are held for it
    budget: Annotated[int, Meta(ge=0, le=100)] = 20  # percent of all requests


class StickyCookie(ConfigTable, frozen=True, kw_only=True):
    """The settings of a sticky cookie, which directs all requests of a client to one server. The cluster's name is
    appended to the name of the cookie, because browsers share cookies among all ports of a host."""

    name: Annotated[str, Meta(pattern=_COOKIE_NAME)] = 'zato-lb'  # of each backend another one
    max_age: Annotated[int, Meta(ge=0)] = 0  # seconds; 0 = until the browser ends
    secure: bool = False  # whether browsers send it over https only
    same_site: Literal['Lax', 'Strict', 'None'] = 'Lax'  # when other sites' pages make browsers send it


class ServerTimeouts(ConfigTable, frozen=True, kw_only=True):
    """The timeouts of connections to servers."""

    connect: Seconds = 15  # until a connection is established
    server: Seconds = 15  # inactivity of a server that has to respond or to receive
    queue: Seconds = 15  # waiting for a server that has room
    tunnel: Seconds = 3600  # inactivity of a WebSocket or a TCP connection, in both directions
    idle: Seconds = 30  # unused connections: at most half of the servers' keep-alive


class Discovery(ConfigTable, frozen=True, kw_only=True):
    """The settings of server discovery: known servers are queried for the list of all servers of the cluster, on a REST
    channel with the service `zato.server.get-list`, whose user only needs the role `monitor`."""

    username: Name  # of a Basic Auth definition
    password: str  # in clear
    path: str = '/lb/servers'  # of the channel
    interval: Seconds = 5  # between two requests for the list
    tls: ServerTls | None = None  # of the servers that are found
    max_connections: Annotated[int, Meta(ge=0)] = 0  # of each server that is found; 0 = unlimited


class Backend(ConfigTable, frozen=True, kw_only=True):
    """The configuration of a backend: a group of equivalent servers."""

    servers: dict[Name, Server] = {}
    mode: Mode = 'http'  # that of its frontends
    algorithm: Algorithm = 'least_connections'  # or round_robin, power_of_two, consistent_hash
    hash_on: Annotated[str, Meta(pattern=_HASH_SOURCE)] = 'address'  # or header:NAME, cookie:NAME; for consistent_hash
    hash_balance: Annotated[int, Meta(ge=101, le=1_000)] = 125  # max load of a server, percent of the average
    sticky_cookie: StickyCookie | None = None
    slow_start: Annotated[float, Meta(ge=0, le=3_600)] = 0  # seconds in which a server that came up gets its full share
    max_queue: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_000  # requests that wait for a server with room
    proxy_protocol: Literal['', 'v1', 'v2'] = ''  # header sent at the start of each connection to a server
    check: HealthCheck = HealthCheck()
    discovery: Discovery | None = None
    ejection: Ejection = Ejection()
    retries: Retries = Retries()
    request_headers: HeaderRules = HeaderRules()
    response_headers: HeaderRules = HeaderRules()
    timeouts: ServerTimeouts = ServerTimeouts()


# The process


class MainSettings(ConfigTable, frozen=True, kw_only=True):
    """The settings of the process. Changes become active at the next start."""

    cluster: Name  # name of the cluster, which is a part of the names of cookies
    name: Name = 'load-balancer'  # of this load balancer
    workers: Annotated[int, Meta(ge=1, le=64)] = 1  # processes that share the listening sockets


class Stats(ConfigTable, frozen=True, kw_only=True):
    """The settings of the statistics page and the metrics, on frontends with `stats = true`."""

    path: str = STATS_PATH  # of the statistics page
    metrics_path: str = METRICS_PATH  # of the metrics for Prometheus
    username: str = 'admin1'  # of both
    password: str = ''  # '' = there is no page and there are no metrics
    refresh: Annotated[int, Meta(ge=1, le=3_600)] = 5  # seconds after which a browser loads the page again


class LogSettings(ConfigTable, frozen=True, kw_only=True):
    """The settings of the log files in logs/."""

    level: str = 'info'  # trace1, debug, info, warning, error, critical
    levels: dict[str, str] = {}  # by logger, e.g. zatotx.lb.backends
    max_size: Annotated[int, Meta(ge=10_000)] = 20_000_000  # bytes after which a file is rotated
    keep: Annotated[int, Meta(ge=1, le=10_000)] = 10  # number of rotated files to keep


class ShutdownSettings(ConfigTable, frozen=True, kw_only=True):
    """The settings of the shutdown after SIGTERM."""

    grace: Annotated[float, Meta(ge=0, le=3_600)] = 30  # seconds that requests and tunnels get to finish


class AgentSettings(ConfigTable, frozen=True, kw_only=True):
    """The settings of the agent: an HTTPS API for the administration of this load balancer."""

    listen: str = '127.0.0.1:20151'  # HOST:PORT
    enabled: bool = False  # whether there is an agent
    certificate: str = 'tls-agent/zato-lba-cert.pem'  # '' = plain HTTP, on a loopback address only
    key: str = 'tls-agent/zato-lba-priv-key.pem'  # of the certificate
    ca: str = 'tls-agent/zato-lba-ca-certs.pem'  # the authorities that sign the certificates of clients
    crl: str = ''  # their revocation lists
    verify_fields: dict[str, str] = {}  # field of the subject (CN, O, OU, ...) -> required value


class ErrorBody(msgspec.Struct, frozen=True):
    """The configured body of the load balancer's own responses with one status."""

    content_type: str
    body: bytes


class Configuration(ConfigTable, frozen=True, kw_only=True):
    """The complete, validated configuration."""

    main: MainSettings
    frontends: dict[Name, Frontend] = {}
    backends: dict[Name, Backend] = {}
    error_files: dict[str, str] = {}  # status -> file of the body; its suffix gives the type: .json, .html, .txt, .xml
    stats: Stats = Stats()
    log: LogSettings = LogSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    agent: AgentSettings = AgentSettings()
    error_bodies: Mapping[int, ErrorBody] = {}  # by status, from error_files; not in the file itself


ERROR_503 = ErrorBody(
    'application/json',
    b'{"zato_env": {"details": "No server is available to handle the request", "result": "ZATO_ERROR", '
    b'"cid": "K012345678901234567890123456"}}',
)
