"""Generates a HAProxy configuration (2.6 or newer) that is equivalent to lb.toml. Pure: no I/O.

What HAProxy has no counterpart for is a comment in the result, so that nothing is lost quietly.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zatotx.lb.config.model import AddressRateLimit, Backend, Configuration, Frontend, HeaderRules, RoutingRule, Server
from zatotx.rules.balancing.sticky_cookie import make_cookie_name
from zatotx.rules.listen_address import to_endpoint

Lines = Iterator[str]

_FORWARDED = {
    'x-forwarded': ('option forwardfor', 'http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]',
                    'http-request set-header X-Forwarded-Host %[req.hdr(host)]'),
    'forwarded': ('# Forwarded (RFC 7239) needs HAProxy 2.8: option forwarded',),
    'none': (),
}  # fmt: skip


def export_haproxy(configuration: Configuration, directory: Path) -> str:
    """Generate the text of haproxy.cfg. `directory` is the load balancer's directory, and file names are relative to
    it."""
    lines = ['# Generated from lb.toml by `zatotx lb export --for haproxy`.']
    lines += _section('global', _global(configuration))
    lines += _section('defaults', _defaults(configuration, directory))
    for name, frontend in configuration.frontends.items():
        lines += _section(f'frontend {name}', _frontend(configuration, frontend, directory))
    for name, backend in configuration.backends.items():
        lines += _section(f'backend {name}', _backend(configuration, name, backend, directory))
    return '\n'.join(lines) + '\n'


def _section(title: str, lines: Lines) -> list[str]:
    return ['', title, *(f'    {line}' for line in lines)]


def _global(configuration: Configuration) -> Lines:
    yield 'log stdout format raw local0'
    yield f'nbthread {configuration.main.workers}'
    yield f'maxconn {sum(frontend.max_connections for frontend in configuration.frontends.values()) or 1}'
    yield f'hard-stop-after {_time(configuration.shutdown.grace or 1)}'


def _defaults(configuration: Configuration, directory: Path) -> Lines:
    yield 'log global'
    yield 'timeout connect 15s'  # of sections without a value of their own, which there are none of
    yield 'timeout client 15s'
    yield 'timeout server 15s'
    for status, name in configuration.error_files.items():
        content_type = configuration.error_bodies[int(status)].content_type
        if status in ('400', '403', '404', '405', '408', '413', '429', '500', '502', '503', '504'):
            yield f'http-error status {status} content-type "{content_type}" file {_quote(str(directory / name))}'
        else:
            yield f'# HAProxy has no error file for {status}'


def _frontend(configuration: Configuration, frontend: Frontend, directory: Path) -> Lines:
    yield f'mode {frontend.mode}'
    for address in frontend.listen:
        yield _bind(address, frontend, directory)
    yield f'maxconn {frontend.max_connections}'
    yield f'timeout client {_time(frontend.timeouts.client)}'
    if frontend.log:
        yield 'option httplog' if frontend.mode == 'http' else 'option tcplog'
    yield from _connection_rules(frontend)
    if frontend.mode == 'http':
        yield from _http_frontend(configuration, frontend)
    if frontend.default_backend:
        yield f'default_backend {frontend.default_backend}'


def _bind(address: str, frontend: Frontend, directory: Path) -> str:
    words = ['bind', _bind_address(address)]
    if frontend.proxy_protocol:
        words.append('accept-proxy')
    tls = frontend.tls
    if tls is not None:
        words += ['ssl', 'crt', _quote(str(directory / tls.certificates)), 'ssl-min-ver', tls.minimum_version]
        if frontend.mode == 'http':
            words += ['alpn', 'http/1.1']
        if tls.ciphers:
            words += ['ciphers', _quote(tls.ciphers)]
        if tls.client_certificates != 'none':
            words += ['verify', tls.client_certificates, 'ca-file', _quote(str(directory / tls.client_ca))]
        if tls.client_crl:
            words += ['crl-file', _quote(str(directory / tls.client_crl))]
    return ' '.join(words)


def _bind_address(address: str) -> str:
    """Return the address of an endpoint description in HAProxy's form."""
    kind, *fields = to_endpoint(address).replace('\\:', '\0').split(':')
    named = dict(field.split('=', 1) for field in fields if '=' in field)
    positional = [field for field in fields if '=' not in field]
    if kind == 'unix':
        return f'unix@{named.get("address") or positional[0]}'
    port = named.get('port') or positional[0]
    host = named.get('interface', '*').replace('\0', ':')
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _connection_rules(frontend: Frontend) -> Lines:
    if frontend.deny:
        yield f'tcp-request connection reject if {{ src {" ".join(frontend.deny)} }}'
    if frontend.allow:
        yield f'tcp-request connection reject unless {{ src {" ".join(frontend.allow)} }}'
    rates = []
    if frontend.connection_rate is not None:
        rates.append(f'conn_rate({frontend.connection_rate.seconds}s)')
    if frontend.request_rate is not None:
        rates.append(f'http_req_rate({frontend.request_rate.seconds}s)')
    if rates:
        yield f'stick-table type ipv6 size 100k expire 10m store {",".join(rates)}'
        yield 'tcp-request connection track-sc0 src'
    if frontend.connection_rate is not None:
        yield f'tcp-request connection reject if {{ sc_conn_rate(0) gt {_limit(frontend.connection_rate)} }}'


def _limit(rate: AddressRateLimit) -> int:
    """Return the count of a rate with its burst: HAProxy counts in a sliding window, without a burst of its own."""
    return max(rate.count, rate.burst)


def _http_frontend(configuration: Configuration, frontend: Frontend) -> Lines:
    yield f'timeout http-request {_time(frontend.timeouts.request)}'
    yield f'timeout http-keep-alive {_time(frontend.timeouts.keep_alive)}'
    if frontend.alive_path:
        yield f'monitor-uri {frontend.alive_path}'
    if frontend.stats and configuration.stats.password:
        stats = configuration.stats
        yield 'stats enable'
        yield f'stats uri {stats.path}'
        yield f'stats auth {_quote(f"{stats.username}:{stats.password}")}'
        yield f'stats refresh {stats.refresh}s'
        yield f'http-request use-service prometheus-exporter if {{ path {stats.metrics_path} }}'
    if frontend.request_rate is not None:
        yield f'http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {_limit(frontend.request_rate)} }}'
    if frontend.redirect_to_https:
        yield 'http-request redirect scheme https code 308 unless { ssl_fc }'
    yield from _forwarded(frontend)
    yield from _headers('request', frontend.request_headers)
    yield from _headers('response', frontend.response_headers)
    for number, route in enumerate(frontend.routes):
        yield from _route(number, route)


def _forwarded(frontend: Frontend) -> Lines:
    names = ('X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'Forwarded')
    trusted = ' '.join(frontend.trusted_proxies)
    condition = f' unless {{ src {trusted} }}' if trusted else ''
    for name in names:
        yield f'http-request del-header {name}{condition}'
    modes = ('x-forwarded', 'forwarded') if frontend.forwarded == 'both' else (frontend.forwarded,)
    for mode in modes:
        yield from _FORWARDED[mode]


def _headers(kind: str, rules: HeaderRules) -> Lines:
    for name in rules.remove:
        yield f'http-{kind} del-header {name}'
    for name, value in rules.set.items():
        yield f'http-{kind} set-header {name} {_quote(value.replace("%", "%%"))}'


def _route(number: int, route: RoutingRule) -> Lines:
    conditions = []
    if route.host.startswith('*.'):
        conditions.append(f'{{ req.hdr(host),host_only -m end -i {route.host[1:]} }}')
    elif route.host:
        conditions.append(f'{{ req.hdr(host),host_only -i {route.host} }}')
    if route.path.endswith('$'):
        conditions.append(f'{{ path {route.path[:-1]} }}')
    elif route.path.endswith('/'):
        conditions.append(f'{{ path_beg {route.path} }}')
    elif route.path:
        yield f'acl route{number} path {route.path}'
        yield f'acl route{number} path_beg {route.path}/'
        conditions.append(f'route{number}')
    for name, value in route.headers.items():
        conditions.append(f'{{ req.hdr({name}) -m found }}' if value == '*'
                          else f'{{ req.fhdr({name}) -m str {_quote(value)} }}')
    yield f'use_backend {route.backend} if {" ".join(conditions)}'


def _backend(configuration: Configuration, name: str, backend: Backend, directory: Path) -> Lines:
    timeouts = backend.timeouts
    yield f'mode {backend.mode}'
    yield from _balance(backend)
    yield f'timeout connect {_time(timeouts.connect)}'
    yield f'timeout server {_time(timeouts.server)}'
    yield f'timeout queue {_time(timeouts.queue)}'
    yield f'timeout tunnel {_time(timeouts.tunnel)}'
    yield f'retries {backend.retries.attempts}'
    if backend.mode == 'http' and backend.retries.attempts:
        yield 'retry-on conn-failure empty-response junk-response response-timeout'
        yield 'http-request disable-l7-retry unless METH_GET || { method HEAD OPTIONS PUT DELETE }'
        yield 'option redispatch'
    if backend.sticky_cookie is not None:
        cookie = backend.sticky_cookie
        words = ['cookie', make_cookie_name(cookie.name, configuration.main.cluster), 'insert', 'indirect', 'nocache',
                 'httponly']
        words += ['secure'] if cookie.secure else []
        words += ['maxlife', f'{cookie.max_age}s'] if cookie.max_age else []
        yield ' '.join([*words, 'attr', f'"SameSite={cookie.same_site}"'])
    yield from _check(backend)
    yield from _headers('request', backend.request_headers)
    yield from _headers('response', backend.response_headers)
    for server_name, server in backend.servers.items():
        yield _server(server_name, server, backend, directory)


def _balance(backend: Backend) -> Lines:
    source, _, key = backend.hash_on.partition(':')
    if backend.algorithm == 'round_robin':
        yield 'balance roundrobin'
    elif backend.algorithm == 'power_of_two':
        yield 'balance random(2)'
    elif backend.algorithm == 'consistent_hash':
        yield {'address': 'balance source', 'header': f'balance hdr({key})',
               'cookie': f'balance hash req.cook({key})'}[source]
        yield 'hash-type consistent'
        yield f'hash-balance-factor {backend.hash_balance}'
    else:
        yield 'balance leastconn'


def _check(backend: Backend) -> Lines:
    check = backend.check
    if check.type == 'http':
        yield 'option httpchk'
        host = f' hdr Host {_quote(check.host)}' if check.host else ''
        yield f'http-check send meth GET uri {_quote(check.path)} ver HTTP/1.1{host or " hdr Host localhost"}'
        statuses = '|'.join(map(str, check.status))
        yield f'http-check expect rstatus ^({statuses})$'
    if check.type != 'none':
        yield f'timeout check {_time(check.timeout)}'


def _server(name: str, server: Server, backend: Backend, directory: Path) -> str:
    host = f'[{server.host}]' if ':' in server.host else server.host
    words = ['server', name, f'{host}:{server.port}', 'weight', str(server.weight)]
    check = backend.check
    if check.type != 'none':
        words += ['check', 'inter', _time(check.interval), 'rise', str(check.rise), 'fall', str(check.fall)]
        words += ['port', str(check.port)] if check.port else []
        if backend.ejection.failures:
            words += ['observe', 'layer4', 'error-limit', str(backend.ejection.failures), 'on-error', 'mark-down']
    words += ['slowstart', _time(backend.slow_start)] if backend.slow_start else []
    words += ['backup'] if server.backup else []
    words += ['maxconn', str(server.max_connections), 'maxqueue', str(backend.max_queue)] \
        if server.max_connections else []
    words += ['disabled'] if server.state == 'maint' else []
    words += ['cookie', name] if backend.sticky_cookie is not None else []
    words += {'': [], 'v1': ['send-proxy'], 'v2': ['send-proxy-v2']}[backend.proxy_protocol]
    if server.tls is not None:
        tls = server.tls
        words += ['ssl', 'verify', 'required' if tls.verify else 'none']
        words += ['ca-file', _quote(str(directory / tls.ca)) if tls.ca else '@system-ca'] if tls.verify else []
        words += ['sni', f'str({tls.server_name})', 'verifyhost', tls.server_name] if tls.server_name else []
        words += ['crt', _quote(str(directory / tls.certificate))] if tls.certificate else []
    return ' '.join(words)


def _time(seconds: float) -> str:
    return f'{round(seconds * 1000)}ms'


def _quote(text: str) -> str:
    """Return a text as one word of HAProxy's configuration (chapter 2.2 of its manual)."""
    return "'" + text.replace("'", "'\\''") + "'"
