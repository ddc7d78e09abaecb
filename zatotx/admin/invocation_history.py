"""The history of the services that users of this web admin have invoked in their sessions. It is kept in memory only,
because payloads may be confidential, and is deleted when the session ends."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

MAX_SESSIONS = 200
MAX_INVOCATIONS = 20  # per session
MAX_TEXT = 20_000  # characters of a payload or a response that are kept


@frozen(kw_only=True)
class PastInvocation:
    """One service invocation and its result."""

    number: int  # 1, 2, 3 … in the session
    at: float  # Unix time
    service: str
    payload: str = field(repr=False)
    data_format: str
    is_ok: bool
    status: int
    response: str = field(repr=False)
    milliseconds: float


@define
class InvocationHistory:
    """Keeps the most recent invocations of each session, with the latest first."""

    clock: IReactorTime  # monotonic
    now: Callable[[], float]  # Unix time
    _sessions: OrderedDict[str, list[PastInvocation]] = field(factory=OrderedDict, init=False)
    _last_number: int = field(default=0, init=False)

    def add(self, token: str, **fields: object) -> PastInvocation:
        """Record an invocation of the session with that token. `fields` are those of PastInvocation, except number and
        time."""
        self._last_number += 1
        made = PastInvocation(number=self._last_number, at=self.now(), **fields)  # type: ignore[arg-type]  # checked by attrs
        rows = self._sessions.setdefault(_key(token), [])
        rows.insert(0, made)
        del rows[MAX_INVOCATIONS:]
        self._sessions.move_to_end(_key(token))
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return made

    def of(self, token: str, service: str) -> list[PastInvocation]:
        """Return the invocations of a service in a session, the latest first."""
        return [row for row in self._sessions.get(_key(token), ()) if row.service == service]

    def forget(self, token: str) -> None:
        """Forget a session that has ended."""
        self._sessions.pop(_key(token), None)


def shorten(text: str) -> str:
    """Return the first MAX_TEXT characters of a text."""
    return text if len(text) <= MAX_TEXT else f'{text[:MAX_TEXT]}…'


def _key(token: str) -> str:
    return sha256(token.encode()).hexdigest()
