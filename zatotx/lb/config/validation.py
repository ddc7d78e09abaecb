"""Validates a configuration. The module contains the checks that involve several values, and those that go beyond the
type and range of a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

from zatotx.lb.config.model import Backend, Configuration, Frontend, HeaderRules, ListenerTls, RoutingRule, ServerTls
from zatotx.logs.levels import LogLevels
from zatotx.rules.limits.rate_buckets import GcraRate
from zatotx.rules.listen_address import address_error, to_endpoint

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_VALUE = re.compile(r'[\t\x20-\x7e\x80-\xff]*\Z')
_HOST = re.compile(r'(\*\.)?[A-Za-z0-9._:\[\]-]+\Z')
_HTTP_ONLY = ('routes', 'request_headers', 'response_headers', 'redirect_to_https', 'stats', 'request_rate')
# Fields that the load balancer itself is responsible for.
_RESERVED_FIELDS = frozenset({'connection', 'content-length', 'transfer-encoding', 'host', 'upgrade', 'te', 'trailer',
                              'expect', 'proxy-connection', 'keep-alive'})  # fmt: skip


class ConfigurationError(NamedTuple):
    """An error in a load balancer's configuration."""

    path: tuple[str, ...]  # of the value; () = the whole document
    text: str  # a sentence without its period, and without a capital letter


Errors = Iterator[ConfigurationError]


def find_errors(configuration: Configuration, directory: Path) -> list[ConfigurationError]:
    """Return all errors in a configuration. File names in the configuration are relative to `directory`."""
    return [
        *_check_process(configuration),
        *_check_listeners(configuration),
        *(error for name, frontend in configuration.frontends.items()
          for error in _check_frontend(configuration, frontend, ('frontends', name), directory)),
        *(error for name, backend in configuration.backends.items()
          for error in _check_backend(backend, ('backends', name), directory)),
        *_check_cookies(configuration.backends),
    ]  # fmt: skip


def _check_process(configuration: Configuration) -> Errors:
    try:
        LogLevels(configuration.log.level, configuration.log.levels)
    except ValueError as error:
        yield ConfigurationError(('log',), str(error).rstrip('.'))
    stats = configuration.stats
    for key in ('path', 'metrics_path'):
        if not getattr(stats, key).startswith('/'):
            yield ConfigurationError(('stats', key), "must begin with '/'")
    if not stats.password and any(frontend.stats for frontend in configuration.frontends.values()):
        yield ConfigurationError(('stats',), 'password is missing, but a frontend has stats = true')
    if ':' in stats.username:
        yield ConfigurationError(('stats', 'username'), "must not contain ':'")


def _check_listeners(configuration: Configuration) -> Errors:
    users: dict[str, str] = {}
    agent = configuration.agent
    if problem := address_error(agent.listen):
        yield ConfigurationError(('agent', 'listen'), problem)
    if agent.enabled:
        users[to_endpoint(agent.listen)] = 'the agent'
    for name, frontend in configuration.frontends.items():
        path = ('frontends', name, 'listen')
        if not frontend.listen:
            yield ConfigurationError(path, 'must have at least one address')
        for address in frontend.listen:
            endpoint = to_endpoint(address)
            if problem := _listen_problem(address):
                yield ConfigurationError(path, f'{address!r} {problem}')
            elif endpoint in users:
                yield ConfigurationError(path, f'{address!r} is used by {users[endpoint]} already')
            users.setdefault(endpoint, f'the frontend {name!r}')


def _listen_problem(address: str) -> str:
    if address.startswith('ssl:'):
        return "must not be an 'ssl:' endpoint: use the table 'tls' of the frontend"
    if address.startswith('haproxy:'):
        return "must not be a 'haproxy:' endpoint: use 'proxy_protocol = true'"
    return address_error(address)


def _check_frontend(configuration: Configuration, frontend: Frontend, path: tuple[str, ...], directory: Path
                    ) -> Errors:
    if frontend.default_backend:
        yield from _check_target(configuration, frontend, frontend.default_backend, (*path, 'default_backend'))
    elif frontend.mode == 'tcp':
        yield ConfigurationError(path, 'default_backend is missing, which a frontend with mode = "tcp" needs')
    if frontend.mode == 'tcp':
        default = Frontend(listen=())
        for key in _HTTP_ONLY:
            if getattr(frontend, key) != getattr(default, key):
                yield ConfigurationError((*path, key), 'is for mode = "http" only')
    for number, route in enumerate(frontend.routes):
        yield from _check_route(configuration, frontend, route, (*path, 'routes', str(number)))
    for key in ('allow', 'deny', 'trusted_proxies'):
        yield from _check_networks(getattr(frontend, key), (*path, key))
    for key in ('connection_rate', 'request_rate'):
        rate = getattr(frontend, key)
        if rate is not None:
            try:
                GcraRate.from_limit(rate.count, rate.seconds, rate.burst or rate.count)
            except ValueError as error:
                yield ConfigurationError((*path, key), str(error))
    yield from _check_headers(frontend.request_headers, (*path, 'request_headers'))
    yield from _check_headers(frontend.response_headers, (*path, 'response_headers'))
    if frontend.alive_path and not frontend.alive_path.startswith('/'):
        yield ConfigurationError((*path, 'alive_path'), "must begin with '/', or be empty")
    if frontend.tls is not None:
        yield from _check_listener_tls(frontend.tls, (*path, 'tls'), directory)


def _check_target(configuration: Configuration, frontend: Frontend, name: str, path: tuple[str, ...]) -> Errors:
    backend = configuration.backends.get(name)
    if backend is None:
        known = ', '.join(configuration.backends) or 'none'
        yield ConfigurationError(path, f'there is no backend {name!r} (known: {known})')
    elif backend.mode != frontend.mode:
        text = f'the backend {name!r} has mode = "{backend.mode}", the frontend "{frontend.mode}"'
        yield ConfigurationError(path, text)


def _check_route(configuration: Configuration, frontend: Frontend, route: RoutingRule, path: tuple[str, ...]) -> Errors:
    yield from _check_target(configuration, frontend, route.backend, (*path, 'backend'))
    if not (route.host or route.path or route.headers):
        yield ConfigurationError(path, 'has no condition: use default_backend for all other requests')
    if route.host and not _HOST.match(route.host):
        yield ConfigurationError((*path, 'host'), f"{route.host!r} must be a host name, or '*.' and a host name")
    if route.path and not route.path.startswith('/'):
        yield ConfigurationError((*path, 'path'), "must begin with '/'")
    for name in route.headers:
        if not _TOKEN.match(name):
            yield ConfigurationError((*path, 'headers', name), 'is not the name of a header field')


def _check_networks(networks: Sequence[str], path: tuple[str, ...]) -> Errors:
    for text in networks:
        try:
            ip_network(text, strict=False)
        except ValueError:
            yield ConfigurationError(path, f'{text!r} is neither an IP address nor a network such as 10.0.0.0/8')


def _check_headers(rules: HeaderRules, path: tuple[str, ...]) -> Errors:
    for name, value in rules.set.items():
        yield from _check_header_name(name, (*path, 'set', name))
        if not _VALUE.match(value):
            text = 'the value contains characters that a header field must not have'
            yield ConfigurationError((*path, 'set', name), text)
    for name in rules.remove:
        yield from _check_header_name(name, (*path, 'remove'))


def _check_header_name(name: str, path: tuple[str, ...]) -> Errors:
    if not _TOKEN.match(name):
        yield ConfigurationError(path, f'{name!r} is not the name of a header field')
    elif name.lower() in _RESERVED_FIELDS:
        yield ConfigurationError(path, f'{name!r} is a field that the load balancer itself is responsible for')


def _check_listener_tls(tls: ListenerTls, path: tuple[str, ...], directory: Path) -> Errors:
    certificates = directory / tls.certificates
    if not certificates.exists():
        yield ConfigurationError((*path, 'certificates'), f'{certificates} does not exist')
    for key in ('client_ca', 'client_crl'):
        yield from _check_file(getattr(tls, key), (*path, key), directory)
    if tls.client_certificates != 'none' and not tls.client_ca:
        yield ConfigurationError(path, 'client_ca is missing, which client_certificates needs')


def _check_server_tls(tls: ServerTls, path: tuple[str, ...], directory: Path) -> Errors:
    for key in ('ca', 'certificate', 'key'):
        yield from _check_file(getattr(tls, key), (*path, key), directory)
    if tls.key and not tls.certificate:
        yield ConfigurationError(path, 'certificate is missing beside key')


def _check_file(name: str, path: tuple[str, ...], directory: Path) -> Errors:
    if name and not (directory / name).is_file():
        yield ConfigurationError(path, f'{directory / name} does not exist')


def _check_backend(backend: Backend, path: tuple[str, ...], directory: Path) -> Errors:
    source = backend.hash_on.partition(':')[0]
    if backend.mode == 'tcp':
        if backend.sticky_cookie is not None:
            yield ConfigurationError((*path, 'sticky_cookie'), 'is for mode = "http" only')
        if source != 'address':
            yield ConfigurationError((*path, 'hash_on'), 'must be "address" with mode = "tcp"')
    if backend.check.type == 'http' and not backend.check.path.startswith('/'):
        yield ConfigurationError((*path, 'check', 'path'), "must begin with '/'")
    if backend.ejection.max_duration < backend.ejection.duration:
        yield ConfigurationError((*path, 'ejection', 'max_duration'), 'must not be less than duration')
    yield from _check_headers(backend.request_headers, (*path, 'request_headers'))
    yield from _check_headers(backend.response_headers, (*path, 'response_headers'))
    if backend.discovery is not None:
        if backend.mode != 'http':
            yield ConfigurationError((*path, 'discovery'), 'is for mode = "http" only')
        if not backend.discovery.path.startswith('/'):
            yield ConfigurationError((*path, 'discovery', 'path'), "must begin with '/'")
        if not backend.servers:
            yield ConfigurationError((*path, 'discovery'), 'needs at least one server in the file, to ask it first')
        if backend.discovery.tls is not None:
            yield from _check_server_tls(backend.discovery.tls, (*path, 'discovery', 'tls'), directory)
    for name, server in backend.servers.items():
        if server.tls is not None:
            yield from _check_server_tls(server.tls, (*path, 'servers', name, 'tls'), directory)
        if any(c.isspace() or c == '/' for c in name):
            yield ConfigurationError((*path, 'servers', name), "the name must contain neither spaces nor '/'")


def _check_cookies(backends: Mapping[str, Backend]) -> Errors:
    names: dict[str, str] = {}
    for name, backend in backends.items():
        if backend.sticky_cookie is not None:
            cookie = backend.sticky_cookie.name
            if cookie in names:
                yield ConfigurationError(('backends', name, 'sticky_cookie'),
                              f'the backend {names[cookie]!r} uses the cookie name {cookie!r} already')
            names.setdefault(cookie, name)
