"""The two ends of a scripted connection: `self.outgoing` in the test, `self.out` in the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.outgoing import ICall, IOutgoing
from zatotx.testing import soap
from zatotx.testing.api_signature import ApiSignature
from zatotx.testing.doubles import HTTP_KINDS, Response, answered
from zatotx.testing.script import Call, ConnectionScript, Matcher, Scripts, canonical_form


@cache
def signatures() -> Mapping[str, ApiSignature]:
    """What connections of the installed kinds have, by name of `self.out`; those of other kinds have every method."""
    from zatotx.connectors.kind_registry import find_kinds  # loads TLS: importing the test kit stays quick

    return {name: signature for found in find_kinds() if found.kind.doubles
            for name, signature in found.load(found.kind.doubles).items()}  # fmt: skip


# What follows the cid in Zato's calls of an HTTP connection, and the connection's name in its sends.
_ZATO_HTTP = dict.fromkeys(('post', 'put', 'patch', 'send'), ('data', 'params'))
_ZATO_SEND: Mapping[str, tuple[str, ...]] = {
    'amqp': ('exchange', 'routing_key', 'properties', 'headers'),
    'ibm_mq': ('queue', 'delivery_mode', 'expiration', 'priority', 'max_chars_printed'),
}


class Scripting:
    """`self.outgoing` in a test: `self.outgoing.rest['CRM'].answers(…)`, whatever the kind."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def __getattr__(self, kind: str) -> KindScripting:
        if kind.startswith('_'):
            raise AttributeError(kind)
        return KindScripting(self._scripts, kind)


class KindScripting:
    """The connections of one kind, in a test."""

    def __init__(self, scripts: Scripts, kind: str) -> None:
        self._scripts, self._kind = scripts, kind

    def __getitem__(self, name: str) -> ConnectionScript:
        return ConnectionScript(self._scripts.of(self._kind, name), Matcher())


@implementer(IOutgoing)
class ScriptedOutgoing:
    """The outgoing connections of a test's node: every kind and name, each as it is scripted."""

    def __init__(self, scripts: Scripts, clock: IReactorTime) -> None:
        self.scripts, self.clock = scripts, clock

    def kind(self, name: str, call: ICall) -> Any:
        return KindDouble(self, canonical_form(name), call)

    def why_not(self, name: str) -> str:
        """Never asked: there is every kind."""
        return f'connections of kind {name} are not scripted'

    def ping(self, object_type: str, name: str) -> Deferred[str]:
        """Tests have no zato.* services that would ask."""
        return succeed(f'{name} is scripted')


class KindDouble:
    """`self.out.<kind>` of a service under test."""

    def __init__(self, outgoing: ScriptedOutgoing, kind: str, call: ICall) -> None:
        self._outgoing, self._kind, self._call = outgoing, kind, call

    def __getitem__(self, name: str) -> ConnectionDouble:
        script = self._outgoing.scripts.known(self._kind, name)
        if script is not None:
            script.check(self._call.cid)
        return ConnectionDouble(self._outgoing, (self._kind, name), self._call)

    def get(self, name: str) -> ConnectionDouble:
        """Zato's form of `[name]`."""
        return self[name]

    def send(self, message: Any, name: str, *args: Any, **options: Any) -> Any:
        """Zato's form of `[name].send(message, …)`."""
        named = dict(zip(_ZATO_SEND.get(self._kind, ()), args, strict=False))
        return self[name].send(message, *args[len(named):], **named, **options)


class ConnectionDouble:
    """`self.out.<kind>[<name>]` of a service under test: every method is there and does what the script says. One of
    REST or SOAP has those that the real one has, with the same arguments."""

    def __init__(self, outgoing: ScriptedOutgoing, target: tuple[str, str], call: ICall) -> None:
        self._outgoing, self._target, self._call = outgoing, target, call

    @property
    def conn(self) -> Any:
        """Zato's way to an HTTP connection's methods, which take the cid first; of other kinds the connection."""
        return ZatoHTTP(self) if self._target[0] in HTTP_KINDS else self

    def __getattr__(self, method: str) -> Any:
        if method.startswith('_'):
            raise AttributeError(method)
        kind = self._target[0]
        if kind == soap.SOAP and method == 'client':
            return self._client()
        shape = signatures().get(kind)
        if shape is not None:
            shape.must_have(method, shape.methods)

        def call(*args: Any, **kwargs: Any) -> Any:
            if shape is not None:
                shape.must_take(method, args, kwargs)
            return self._called(method, args, kwargs)

        return call

    def _called(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        outgoing, asker = self._outgoing, self._call

        async def play() -> Any:
            call = Call.of(self._target, method, args, kwargs)
            given = await outgoing.scripts.play(call, asker.service).run(call, asker.cid, outgoing.clock)
            title = outgoing.scripts.of(*self._target).title
            shown = answered(given, title, asker.cid, kwargs)
            return soap.read(shown, title, asker.cid) if self._target[0] == soap.SOAP else shown

        return asker.result(play)

    def _client(self) -> soap.ClientDouble:
        asker = self._call

        async def given(value: Any) -> Any:
            return value

        return soap.ClientDouble(self._operated, lambda value: asker.result(partial(given, value)))

    def _operated(self, operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        outgoing, asker = self._outgoing, self._call

        async def play() -> Any:
            call = Call.of(self._target, operation, args, kwargs)
            given = await outgoing.scripts.play(call, asker.service).run(call, asker.cid, outgoing.clock)
            shown = soap.read(given, outgoing.scripts.of(*self._target).title, asker.cid)
            return soap.to_record(shown.data) if isinstance(shown, Response) else shown

        return asker.result(play)


class ZatoHTTP:
    """`.conn` of an HTTP connection: `conn.get(cid, params)`, `conn.post(cid, data, params, headers=…)`."""

    def __init__(self, connection: ConnectionDouble) -> None:
        self._connection = connection

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith('_'):
            raise AttributeError(method)
        kind = self._connection._target[0]
        shape = signatures()[kind]
        shape.must_have(method, shape.zato_methods)
        if kind == soap.SOAP and method == 'client':
            return self._connection._client
        names = _ZATO_HTTP.get(method, ('params',))

        def call(cid: str, *args: Any, **options: Any) -> Any:
            named = dict(zip(names, args, strict=False))
            more = args[len(named):]
            shape.must_take(method, more, {**named, **options})
            return self._connection._called(method, more, {**named, **options})

        return call
