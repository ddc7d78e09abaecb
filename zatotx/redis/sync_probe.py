"""One look at Redis without a reactor, for the command line."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.errors import refusal
from zatotx.redis.server_info import ServerInfo, parse_info, unsupported_reason
from zatotx.redis.url import RedisAddress, TlsOptions, with_hosts


def probe(address: RedisAddress, timeout: float = 3.0) -> ServerInfo:
    """What it says of itself, after logging in as a server would; blocks, `timeout` seconds a step at most. An empty
    value where the user may not ask (INFO). Raises ServiceUnavailable with one sentence where it cannot be used."""
    place = address if address.sentinels is None else _master(address, timeout)
    with _clear(address), _connected(place, timeout) as line:
        if address.db:
            line.ask('SELECT', address.db)
        line.ask('PING')
        if address.sentinels is not None and line.ask('ROLE')[0] != b'master':
            raise _TroubleError('the sentinels named a server as master that is none')
        try:
            facts = parse_info(line.ask('INFO').decode('utf-8', 'replace'))
        except _TroubleError:
            return ServerInfo()
        if problem := unsupported_reason(facts):
            raise _TroubleError(problem)
        return facts


class _TroubleError(Exception):
    """A clause: why it cannot be used."""


@contextmanager
def _clear(address: RedisAddress) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise _away(address, f'its certificate is not accepted: {error.verify_message}') from None
    except ssl.SSLError as error:
        raise _away(address, f'TLS failed: {(error.reason or str(error)).replace("_", " ").lower()}') from None
    except TimeoutError:
        raise _away(address, 'it gives no answer') from None
    except OSError as error:
        raise _away(address, error.strerror or str(error)) from None
    except _TroubleError as error:
        raise _away(address, str(error)) from None


def _away(address: RedisAddress, clause: str) -> ServiceUnavailable:
    return ServiceUnavailable(None, f'{address} cannot be used: {clause}')


def _master(address: RedisAddress, timeout: float) -> RedisAddress:
    assert address.sentinels is not None
    name, said = address.sentinels.master, []
    for host, port in address.sentinels.hosts:
        sentinel = address.sentinel(host, port)
        try:
            with _clear(sentinel), _connected(sentinel, timeout) as line:
                found = line.ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)
        except ServiceUnavailable as error:
            said.append(error.msg)
            continue
        if found:
            return address.at(found[0].decode(), int(found[1]))
        said.append(f'{with_hosts(host, port)} knows no master of that name')
    raise _away(address, '; '.join(said))


class _Line:
    """A connection on which one command after the other is asked."""

    def __init__(self, connection: socket.socket, where: str) -> None:
        import hiredis

        self._connection = connection
        self._where = where
        self._reader = hiredis.Reader()
        self._pack: Any = hiredis.pack_command
        self._error = hiredis.ReplyError

    def ask(self, *words: object) -> Any:
        """The answer, texts as bytes. Raises _TroubleError where Redis refuses, OSError."""
        self._connection.sendall(self._pack(words))
        while (answer := self._reader.gets()) is False:
            data = self._connection.recv(65_536)
            if not data:
                raise _TroubleError('it hangs up')
            self._reader.feed(data)
        if isinstance(answer, self._error):
            raise _TroubleError(str(refusal(str(answer), self._where)))
        return answer


@contextmanager
def _connected(address: RedisAddress, timeout: float) -> Iterator[_Line]:
    with _socket(address, timeout) as plain, _secured(plain, address) as connection:
        line = _Line(connection, str(address))
        if address.password:
            line.ask('AUTH', *((address.username,) if address.username else ()), address.password)
        yield line


def _socket(address: RedisAddress, timeout: float) -> socket.socket:
    if not address.path:
        return socket.create_connection((address.host, address.port), timeout)
    path = Path(address.path)
    place = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # a socket's own path must be short
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(f'/proc/self/fd/{place}/{path.name}')
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(place)
    return connection


@contextmanager
def _secured(connection: socket.socket, address: RedisAddress) -> Iterator[socket.socket]:
    if address.tls is None:
        yield connection
        return
    with _context(address.tls).wrap_socket(connection, server_hostname=address.host) as secure:
        yield secure


def _context(tls: TlsOptions) -> ssl.SSLContext:
    for path in (tls.ca, tls.cert, tls.key):
        if path and not os.access(path, os.R_OK):
            raise _TroubleError(f'{path} cannot be read')
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None, password=lambda: '')
    except ssl.SSLError:
        files = ' or '.join(filter(None, (tls.ca, tls.cert, tls.key)))
        raise _TroubleError(f'{files} does not hold what it should in PEM form') from None
    return context
