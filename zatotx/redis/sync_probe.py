"""A blocking check of Redis for the command line."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.error_conversion import make_reply_error
from zatotx.redis.redis_url import RedisAddress, RedisTlsFiles, format_host_port
from zatotx.redis.server_info import ServerInfo, parse_info, unsupported_server_reason


def probe_redis(address: RedisAddress, timeout: float = 3.0) -> ServerInfo:
    """Connect to Redis in the same way as a server, authenticate, and return the reply to INFO. Blocks for at most
    `timeout` seconds per step. Returns an empty ServerInfo if the user may not execute INFO. Raises ServiceUnavailable,
    whose message is one sentence, if Redis cannot be used."""
    server = address if address.sentinels is None else _find_master(address, timeout)
    with _convert_errors(address), _connect(server, timeout) as connection:
        if address.db:
            connection.send_command('SELECT', address.db)
        connection.send_command('PING')
        if address.sentinels is not None and connection.send_command('ROLE')[0] != b'master':
            raise _ProbeError('the server that the sentinels name as master is not a master')
        try:
            info = parse_info(connection.send_command('INFO').decode('utf-8', 'replace'))
        except _ProbeError:
            return ServerInfo()
        if problem := unsupported_server_reason(info):
            raise _ProbeError(problem)
        return info


class _ProbeError(Exception):
    """The reason why Redis cannot be used, as a clause."""


@contextmanager
def _convert_errors(address: RedisAddress) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise _unavailable(address, f'its certificate is not accepted: {error.verify_message}') from None
    except ssl.SSLError as error:
        raise _unavailable(address, f'TLS failed: {(error.reason or str(error)).replace("_", " ").lower()}') from None
    except TimeoutError:
        raise _unavailable(address, 'it does not reply') from None
    except OSError as error:
        raise _unavailable(address, error.strerror or str(error)) from None
    except _ProbeError as error:
        raise _unavailable(address, str(error)) from None


def _unavailable(address: RedisAddress, clause: str) -> ServiceUnavailable:
    return ServiceUnavailable(None, f'{address} cannot be used: {clause}')


def _find_master(address: RedisAddress, timeout: float) -> RedisAddress:
    assert address.sentinels is not None
    name, problems = address.sentinels.master, []
    for host, port in address.sentinels.hosts:
        sentinel = address.sentinel_address(host, port)
        try:
            with _convert_errors(sentinel), _connect(sentinel, timeout) as connection:
                reply = connection.send_command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)
        except ServiceUnavailable as error:
            problems.append(error.msg)
            continue
        if reply:
            return address.at_server(reply[0].decode(), int(reply[1]))
        problems.append(f'{format_host_port(host, port)} knows no master of that name')
    raise _unavailable(address, '; '.join(problems))


class _SyncConnection:
    """A connection that sends one command at a time."""

    def __init__(self, connection: socket.socket, where: str) -> None:
        import hiredis

        self._connection = connection
        self._where = where
        self._reader = hiredis.Reader()
        self._pack: Any = hiredis.pack_command
        self._error = hiredis.ReplyError

    def send_command(self, *words: object) -> Any:
        """Send a command and return its reply, with strings as bytes. Raises _ProbeError if Redis rejects it, and
        OSError."""
        self._connection.sendall(self._pack(words))
        while (reply := self._reader.gets()) is False:
            data = self._connection.recv(65_536)
            if not data:
                raise _ProbeError('it closed the connection')
            self._reader.feed(data)
        if isinstance(reply, self._error):
            raise _ProbeError(str(make_reply_error(str(reply), self._where)))
        return reply


@contextmanager
def _connect(address: RedisAddress, timeout: float) -> Iterator[_SyncConnection]:
    with _open_socket(address, timeout) as plain, _wrap_tls(plain, address) as connection:
        sync_connection = _SyncConnection(connection, str(address))
        if address.password:
            sync_connection.send_command('AUTH', *((address.username,) if address.username else ()), address.password)
        yield sync_connection


def _open_socket(address: RedisAddress, timeout: float) -> socket.socket:
    if not address.path:
        return socket.create_connection((address.host, address.port), timeout)
    path = Path(address.path)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # gives the socket a short path
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(f'/proc/self/fd/{directory}/{path.name}')
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


@contextmanager
def _wrap_tls(connection: socket.socket, address: RedisAddress) -> Iterator[socket.socket]:
    if address.tls is None:
        yield connection
        return
    with _tls_context(address.tls).wrap_socket(connection, server_hostname=address.host) as secure:
        yield secure


def _tls_context(tls: RedisTlsFiles) -> ssl.SSLContext:
    for path in (tls.ca, tls.cert, tls.key):
        if path and not os.access(path, os.R_OK):
            raise _ProbeError(f'{path} cannot be read')
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None, password=lambda: '')
    except ssl.SSLError:
        files = ' or '.join(filter(None, (tls.ca, tls.cert, tls.key)))
        raise _ProbeError(f'{files} is not a valid PEM file for its purpose') from None
    return context
