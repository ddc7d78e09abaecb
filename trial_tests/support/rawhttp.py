"""A client that sends exactly the bytes it is given and reads answers by the letter: what a polite one cannot ask."""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

TIMEOUT = 60.0  # seconds: the machine may be busy


class Answer(msgspec.Struct, frozen=True):
    """One answer as it came."""

    status: int
    fields: list[tuple[str, str]]  # lower-case names, in order
    body: bytes

    def field(self, name: str) -> str:
        """The value of a field, '' where there is none."""
        return next((value for key, value in self.fields if key == name), '')

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def details(self) -> str:
        """What an error answer says."""
        return str(self.json()['zato_env']['details'])


class NoAnswer(Exception):  # noqa: N818 - what happened
    """The connection ended, or nothing came in time, where an answer was due."""


class Connection:
    """One TCP connection to a server on this machine, from any of its loopback addresses."""

    def __init__(self, port: int, timeout: float = TIMEOUT, *, receive_buffer: int = 0, source: str = '') -> None:
        self._socket = socket.socket()
        if source:
            self._socket.bind((source, 0))
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(timeout)
        self._socket.connect(('127.0.0.1', port))
        self._rest = b''

    def send(self, data: bytes) -> None:
        """All of it. A server that closed already is no error here: its answer may be waiting."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def end_of_sending(self) -> None:
        """Half-close: nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, method: str = 'GET') -> Answer:
        """The next final answer; 1xx ones are passed over. Raises NoAnswer."""
        while True:
            found = self.any_answer(method=method)
            if found.status >= 200:
                return found

    def any_answer(self, *, method: str = 'GET') -> Answer:
        """The next answer, 1xx included."""
        head = self._until(b'\r\n\r\n')
        first, *lines = head.decode('latin-1').split('\r\n')
        status = int(first.split(' ')[1])
        fields = [(name.lower(), value.strip()) for name, value in (line.split(':', 1) for line in lines)]
        bodiless = method == 'HEAD' or status < 200 or status in (204, 304)
        return Answer(status, fields, b'' if bodiless else self._body(dict(fields)))

    def _body(self, fields: Mapping[str, str]) -> bytes:
        if fields.get('transfer-encoding', '') == 'chunked':
            return b''.join(self._chunks())
        if 'content-length' in fields:
            return self._exactly(int(fields['content-length']))
        return self._to_the_end()

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b'\r\n').split(b';')[0], 16):
            yield self._exactly(size)
            self._exactly(2)
        while self._until(b'\r\n'):
            continue  # a trailer field

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        found, self._rest = self._rest.split(mark, 1)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _to_the_end(self) -> bytes:
        try:
            while True:
                self._more()
        except NoAnswer:
            found, self._rest = self._rest, b''
            return found

    def _more(self) -> None:
        try:
            data = self._socket.recv(262144)
        except TimeoutError:
            raise NoAnswer(f'nothing more within {self._socket.gettimeout()} s after {self._rest[:200]!r}') from None
        except ConnectionResetError:
            raise NoAnswer(f'reset after {self._rest[:200]!r}') from None
        if not data:
            raise NoAnswer(f'closed after {self._rest[:200]!r}')
        self._rest += data

    def is_closed(self, within: float = TIMEOUT) -> bool:
        """Whether the server ends the connection in time, sending nothing more."""
        self._socket.settimeout(within)
        try:
            return not self._rest and self._socket.recv(1) == b''
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def drop(self) -> None:
        """Hang up."""
        self._socket.close()


@contextmanager
def connected(
    port: int, timeout: float = TIMEOUT, *, receive_buffer: int = 0, source: str = ''
) -> Iterator[Connection]:
    """A connection that is dropped when the block ends."""
    connection = Connection(port, timeout, receive_buffer=receive_buffer, source=source)
    try:
        yield connection
    finally:
        connection.drop()


def basic(username: str, password: str) -> dict[str, str]:
    """The field that carries Basic credentials, UTF-8."""
    return {'Authorization': 'Basic ' + b64encode(f'{username}:{password}'.encode()).decode('ascii')}


def request_bytes(method: str, target: str, fields: Mapping[str, str] | None = None, body: bytes = b'') -> bytes:
    """A well-formed request; a field given here replaces the one made here."""
    made = {'Host': 'test', **({'Content-Length': str(len(body))} if body or method in ('POST', 'PUT') else {})}
    head = [f'{method} {target} HTTP/1.1', *(f'{name}: {value}' for name, value in {**made, **(fields or {})}.items())]
    return '\r\n'.join([*head, '', '']).encode('utf-8') + body


def ask(
    port: int, method: str, target: str, *, fields: Mapping[str, str] | None = None, body: bytes = b''
) -> Answer:
    """One request on a connection of its own."""
    with connected(port) as connection:
        connection.send(request_bytes(method, target, fields, body))
        return connection.answer(method=method)
