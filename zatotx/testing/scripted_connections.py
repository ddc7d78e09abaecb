"""Scripted outgoing connections. They are available as `self.outgoing` in the test, and as `self.out` in the
service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.outgoing import IOutgoingConnections, IServiceCall
from zatotx.testing import scripted_soap
from zatotx.testing.connection_api_signatures import method_signatures_by_kind, outgoing_method_signatures
from zatotx.testing.connection_results import Response, complete_response
from zatotx.testing.scripted_calls import Call, CallMatcher, ConnectionScript, Scripts, canonical_kind
from zatotx.testing.scripted_files import open_scripted

# Positional arguments after the cid in Zato's calls of an HTTP connection.
_ZATO_HTTP = dict.fromkeys(('post', 'put', 'patch', 'send'), ('data', 'params'))


class OutgoingScripts:
    """The object `self.outgoing` in a test, with which connections of every kind are scripted:
    `self.outgoing.rest['CRM'].answers(…)`."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def __getattr__(self, kind: str) -> KindScripts:
        if kind.startswith('_'):
            raise AttributeError(kind)
        return KindScripts(self._scripts, kind)


class KindScripts:
    """The scripts of the connections of one kind in a test."""

    def __init__(self, scripts: Scripts, kind: str) -> None:
        self._scripts, self._kind = scripts, kind

    def __getitem__(self, name: str) -> ConnectionScript:
        return ConnectionScript(self._scripts.script_for(self._kind, name), CallMatcher())


@implementer(IOutgoingConnections)
class ScriptedOutgoing:
    """The outgoing connections of the node in a test. A connection exists for every kind and name, and follows its
    script."""

    def __init__(self, scripts: Scripts, clock: IReactorTime) -> None:
        self.scripts, self.clock = scripts, clock

    def namespace(self, name: str, call: IServiceCall) -> Any:
        return KindDouble(self, canonical_kind(name), call)

    def unavailable_reason(self, name: str) -> str:
        """Explain why a kind is missing; never called, as every kind exists."""
        return f'connections of kind {name} are not scripted'

    def ping(self, object_type: str, name: str) -> Deferred[str]:
        """Succeed; the zato.* services that call this do not exist in tests."""
        return succeed(f'{name} is scripted')


class KindDouble:
    """The test double of `self.out.<kind>` in a service."""

    def __init__(self, outgoing: ScriptedOutgoing, kind: str, call: IServiceCall) -> None:
        self._outgoing, self._kind, self._call = outgoing, kind, call

    def __getitem__(self, name: str) -> ConnectionDouble:
        script = self._outgoing.scripts.existing_script(self._kind, name)
        if script is not None:
            script.check(self._call.cid)
        return ConnectionDouble(self._outgoing, (self._kind, name), self._call)

    def get(self, name: str) -> ConnectionDouble:
        """Return a connection; Zato's form of `[name]`."""
        return self[name]

    def send(self, message: Any, name: str, *args: Any, **options: Any) -> Any:
        """Send a message; Zato's form of `[name].send(message, …)`."""
        keywords = dict(zip(outgoing_method_signatures(self._kind).positional[1:], args, strict=False))
        return self[name].send(message, *args[len(keywords):], **keywords, **options)


class ConnectionDouble:
    """The test double of `self.out.<kind>[<name>]` in a service. It accepts calls of every method, and follows the
    script.

    REST and SOAP connections have only the methods and arguments of the real ones.
    """

    def __init__(self, outgoing: ScriptedOutgoing, target: tuple[str, str], call: IServiceCall) -> None:
        self._outgoing, self._target, self._call = outgoing, target, call

    @property
    def conn(self) -> Any:
        """The methods in Zato's form, with the cid as first argument; the connection itself if its kind has none."""
        return ZatoConnDouble(self) if outgoing_method_signatures(self._target[0]).zato_methods else self

    def __getattr__(self, method: str) -> Any:
        if method.startswith('_'):
            raise AttributeError(method)
        kind = self._target[0]
        if kind == scripted_soap.SOAP and method == 'client':
            return self._client()
        signature = method_signatures_by_kind().get(kind)
        if signature is not None:
            signature.check_method(method, signature.methods)

        def call(*args: Any, **kwargs: Any) -> Any:
            if signature is not None:
                signature.check_arguments(method, args, kwargs)
                if method in signature.contexts:
                    return ContextDouble(self)
                if method in signature.iterators:
                    return IteratorDouble(partial(self._run_script, method, args, kwargs))
                if method in signature.files:
                    return open_scripted(self._call, partial(self._run_script, method, args, kwargs), args, kwargs)
            return self._run_script(method, args, kwargs)

        return call

    def _run_script(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run the script for a call of a method."""
        outgoing, caller = self._outgoing, self._call

        async def run() -> Any:
            call = Call.of(self._target, method, args, kwargs)
            result = await outgoing.scripts.next_result(call, caller.service).run(call, caller.cid, outgoing.clock)
            title = outgoing.scripts.script_for(*self._target).title
            response = complete_response(result, title, caller.cid, kwargs)
            return (
                scripted_soap.read_scripted_response(response, title, caller.cid)
                if self._target[0] == scripted_soap.SOAP
                else response
            )

        return caller.run(run)

    def _client(self) -> scripted_soap.SoapClientDouble:
        """Return the `.client` of a SOAP connection."""
        caller = self._call

        async def returned(value: Any) -> Any:
            return value

        return scripted_soap.SoapClientDouble(
            self._run_operation, lambda value: caller.run(partial(returned, value))
        )

    def _run_operation(self, operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run the script for a call of a SOAP operation."""
        outgoing, caller = self._outgoing, self._call

        async def run() -> Any:
            call = Call.of(self._target, operation, args, kwargs)
            result = await outgoing.scripts.next_result(call, caller.service).run(call, caller.cid, outgoing.clock)
            response = scripted_soap.read_scripted_response(
                result, outgoing.scripts.script_for(*self._target).title, caller.cid
            )
            return scripted_soap.to_soap_record(response.data) if isinstance(response, Response) else response

        return caller.run(run)


class ContextDouble:
    """The test double of a connection's transaction. Calls within it follow the script of the connection."""

    def __init__(self, connection: ConnectionDouble) -> None:
        self._connection = connection

    async def __aenter__(self) -> ConnectionDouble:
        return self._connection

    async def __aexit__(self, *error: object) -> None:
        """Commit nothing, and let exceptions through."""

    def __enter__(self) -> ConnectionDouble:
        return self._connection

    def __exit__(self, *error: object) -> None:
        """Commit nothing, and let exceptions through."""


class IteratorDouble:
    """The test double of a result that is read item by item. The script provides all items as a list."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self._items: Iterator[Any] | None = None

    def __aiter__(self) -> IteratorDouble:
        return self

    async def __anext__(self) -> Any:
        if self._items is None:
            self._items = iter(await self._run())
        for item in self._items:
            return item
        raise StopAsyncIteration

    def __iter__(self) -> IteratorDouble:
        return self

    def __next__(self) -> Any:
        if self._items is None:
            self._items = iter(self._run())
        return next(self._items)

    async def aclose(self) -> None:
        """Stop reading."""

    def close(self) -> None:
        """Stop reading."""


class ZatoConnDouble:
    """The test double of the attribute `.conn` of an HTTP connection: `conn.get(cid, params)`, `conn.post(cid, data,
    params, headers=…)`."""

    def __init__(self, connection: ConnectionDouble) -> None:
        self._connection = connection

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith('_'):
            raise AttributeError(method)
        kind = self._connection._target[0]
        signature = method_signatures_by_kind()[kind]
        signature.check_method(method, signature.zato_methods)
        if kind == scripted_soap.SOAP and method == 'client':
            return self._connection._client
        names = _ZATO_HTTP.get(method, ('params',))

        def call(cid: str, *args: Any, **options: Any) -> Any:
            keywords = dict(zip(names, args, strict=False))
            remaining = args[len(keywords):]
            signature.check_arguments(method, remaining, {**keywords, **options})
            return self._connection._run_script(method, remaining, {**keywords, **options})

        return call
