"""A client of the cluster's API, which invokes internal services with the session of a user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from attrs import define, field, frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from zope.interface import Interface, implementer

LOGIN = '/zato/admin/login'
# Separates the errors of a response: of input elements (with their paths), of a deployed file (with line numbers).
_SEPARATOR = re.compile(r'\n+|; (?=\$[.\[:])|; (?=[\w./-]+\.py:\d+: )')
_FIELD_ERROR = re.compile(r'\$\.([\w.\[\]-]+): (.+)', re.DOTALL)


class ApiError(Exception):
    """The cluster rejected a call or did not respond. `status` is the status of the response, or 0 if no server
    responded. `messages` contains one sentence per error, and `field_errors` contains the errors of single fields, by
    the field names in the request."""

    def __init__(self, status: int, messages: Sequence[str], *, cid: str = '', retry_after: str = '') -> None:
        super().__init__('; '.join(messages))
        self.status = status
        self.cid = cid
        self.retry_after = retry_after
        self.messages: list[str] = []
        self.field_errors: dict[str, str] = {}
        for message in messages:
            found = _FIELD_ERROR.fullmatch(message)
            if found is None:
                self.messages.append(message)
            else:
                self.field_errors[found[1]] = found[2]


@frozen
class Caller:
    """The user on whose behalf a call is made: the session token and the address of the browser."""

    token: str = field(default='', repr=False)  # of a session; '' = nobody has logged in
    address: str = ''  # of the browser
    is_passive: bool = False  # a call that the user did not cause: it does not keep the session alive


class IClusterApi(Interface):
    """The interface of a cluster's API."""

    def call(service: str, payload: Mapping[str, Any], caller: Caller) -> Deferred[Any]:  # noqa: N805
        """Invoke an internal service; fires with its response. Fails with ApiError."""

    def call_each(service: str, payload: Mapping[str, Any], caller: Caller) -> Deferred[list[Any]]:  # noqa: N805
        """Invoke a service on every server that is known; fires with the responses of those that answered. Fails with
        ApiError if none did, or if the session is not valid."""

    def log_in(username: str, password: str, caller: Caller) -> Deferred[Mapping[str, Any]]:  # noqa: N805
        """Open a session; fires with its token and the user. Fails with ApiError."""


@implementer(IClusterApi)
@define(kw_only=True)
class HttpClusterApi:
    """Implements IClusterApi over HTTP. The server that responded last is tried first; another server is tried only if
    the first refuses the connection, because a request that has reached a server may have been processed."""

    client: HTTPClient
    clock: IReactorTime
    servers: Sequence[str]  # base URLs
    timeout: float = 30.0  # seconds
    _last: int = 0

    _log = Logger()

    def call(self, service: str, payload: Mapping[str, Any], caller: Caller) -> Deferred[Any]:
        path = f'/zato/admin/invoke/{quote(service, safe="")}'
        return Deferred.fromCoroutine(self._post(path, payload, caller))

    def call_each(self, service: str, payload: Mapping[str, Any], caller: Caller) -> Deferred[list[Any]]:
        return Deferred.fromCoroutine(self._call_each(f'/zato/admin/invoke/{quote(service, safe="")}', payload, caller))

    def log_in(self, username: str, password: str, caller: Caller) -> Deferred[Mapping[str, Any]]:
        payload = {'username': username, 'password': password, 'client_address': caller.address}
        return Deferred.fromCoroutine(self._post(LOGIN, payload, caller))

    async def _call_each(self, path: str, payload: Mapping[str, Any], caller: Caller) -> list[Any]:
        body, headers = msgspec.json.encode(payload), self._headers(caller)
        exchanges = [
            Deferred.fromCoroutine(self._exchange(server.rstrip('/') + path, body, headers)).addTimeout(
                self.timeout, self.clock
            )
            for server in self.servers
        ]
        answers = [answer for is_ok, answer in await DeferredList(exchanges, consumeErrors=True) if is_ok]
        if not answers:
            raise ApiError(0, [f'No server of the cluster can be reached: {", ".join(self.servers)}'])
        found, errors = [], []
        for answer in answers:
            try:
                found.append(parse_response(*answer))
            except ApiError as error:
                errors.append(error)
        if not found:
            raise errors[0]
        return found

    async def _post(self, path: str, payload: Mapping[str, Any], caller: Caller) -> Any:
        body, headers = msgspec.json.encode(payload), self._headers(caller)
        for step in range(len(self.servers)):
            number = (self._last + step) % len(self.servers)
            server = self.servers[number].rstrip('/')
            exchange = Deferred.fromCoroutine(self._exchange(server + path, body, headers))
            try:
                answer = await exchange.addTimeout(self.timeout, self.clock)
            except (ConnectError, DNSLookupError) as error:
                self._log.info('{server} cannot be reached: {error}', server=server, error=error)
                continue
            except (ResponseFailed, ResponseNeverReceived, TimeoutError):
                raise ApiError(0, [
                    f'{server} did not answer within {self.timeout:g} seconds, or closed the connection: '
                    'what you sent may have been done'
                ]) from None  # fmt: skip
            self._last = number
            return parse_response(*answer)
        raise ApiError(0, [f'No server of the cluster can be reached: {", ".join(self.servers)}'])

    async def _exchange(self, url: str, body: bytes, headers: Headers) -> tuple[int, bytes, str]:
        response = await self.client.post(url, data=body, headers=headers)
        content = await response.content()
        return response.code, content, (response.headers.getRawHeaders('retry-after') or [''])[0]

    def _headers(self, caller: Caller) -> Headers:
        headers = {'Content-Type': 'application/json', 'X-Zato-Deadline-Ms': str(int(self.timeout * 1000))}
        if caller.token:
            headers['X-Zato-Session'] = caller.token
        if caller.is_passive:
            headers['X-Zato-Session-Passive'] = '1'
        if caller.address:
            headers['X-Forwarded-For'] = caller.address
        return Headers({name: [value] for name, value in headers.items()})


def parse_response(status: int, content: bytes, retry_after: str = '') -> Any:
    """Return the response element of an internal service's response, which is the only element besides zato_env. A
    response that is not JSON is returned as text. Raises ApiError for a status of 400 or more."""
    try:
        document: Any = msgspec.json.decode(content or b'null')
    except msgspec.DecodeError:
        document = content.decode('utf-8', 'replace')
    if status >= 400:
        raise _error(status, document, retry_after)
    if not isinstance(document, dict) or 'zato_env' not in document:
        return document
    found = [value for name, value in document.items() if name != 'zato_env']
    return found[0] if len(found) == 1 else None


def _error(status: int, document: Any, retry_after: str) -> ApiError:
    env = document.get('zato_env') if isinstance(document, dict) else None
    if not isinstance(env, dict) or 'details' not in env:
        return ApiError(status, [f'The server responded with {status}'], retry_after=retry_after)
    details, cid = env['details'], str(env.get('cid', ''))
    if status == 500:
        return ApiError(status, [f'{details}: the log of the server has the traceback under cid {cid}'], cid=cid)
    texts = [str(each) for each in details] if isinstance(details, list) else _SEPARATOR.split(str(details))
    return ApiError(status, texts, cid=cid, retry_after=retry_after)
