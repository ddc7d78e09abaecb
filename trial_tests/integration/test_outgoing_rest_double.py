"""Scripted connections of the testing kit and real ones: what a service's test sees is what happens later."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from twisted.internet.task import Clock

from trial_tests.support.calling import Asking, WithConnections, crm, started, stored
from trial_tests.support.ports import free_port
from zatotx import BadStatus, NotFound
from zatotx.plugins.http.rest.facade import RestCallOptions, RestConnection, RestConnectionZatoApi
from zatotx.plugins.http.rest.received_response import RestResponse, StreamedRestResponse
from zatotx.plugins.http.test.upstream_servers import says, silent
from zatotx.plugins.http.testing import SIGNATURES
from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.testing import connection_results
from zatotx.testing.scripted_calls import ConnectionScript, Scripts
from zatotx.testing.scripted_connections import OutgoingScripts, ScriptedOutgoing

JSON = b'Content-Type: application/json'
CALLS: tuple[Callable[[Any], Awaitable[Any]], ...] = (
    lambda out: out.get(params={'a': 1}),
    lambda out: out.post({'a': 1}, headers={'X-A': 'b'}, timeout=3),
    lambda out: out.call('PUT', 'text'),
    lambda out: out.conn.get('K1', {'a': 1}),
    lambda out: out.conn.post('K1', {'a': 1}, params={}, headers={}),
    lambda out: out.get(model=Customer),
)


class Customer(msgspec.Struct):
    id: int


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith('_')}


async def outcome(calling: Callable[[], Awaitable[Any]]) -> Any:
    """What a call comes to, as a service sees it."""
    try:
        response = await calling()
        found: dict[str, Any] = {name: getattr(response, name) for name in (
            'status_code', 'ok', 'reason', 'text', 'content', 'cid', 'connection_title',
        )}  # fmt: skip
        found['fields'] = [response.headers[name] for name in ('x-Field', 'CONTENT-type')]
        found['missing'] = response.headers.get('nope')
    except Exception as error:
        return type(error), str(error), getattr(error, 'cid', None)
    for name, look in (('data', lambda: response.data), ('json', response.json), ('status', response.raise_for_status)):
        try:
            found[name] = look()
        except Exception as error:
            found[name] = type(error), str(error) if name != 'json' else '', getattr(error, 'status_code', None)
    return found


class SameTests(WithConnections):
    def scripted(self, play: Callable[[Any], object]) -> Any:
        """`self.out.rest['CRM']` of a test that scripted it so."""
        scripts, clock = Scripts(), Clock()
        play(OutgoingScripts(scripts).rest['CRM'])
        return ScriptedOutgoing(scripts, clock).namespace('rest', Asking())['CRM']

    async def same(self, real: Any, play: Callable[[Any], object], call: Callable[[Any], Awaitable[Any]]) -> None:
        expected = await outcome(lambda: call(real))
        self.assertEqual(await outcome(lambda: call(self.scripted(play))), expected)

    async def test_answers(self) -> None:
        """Of any status and content, by all ways to call: the same response to the letter."""
        fields = {'X-Field': 'x', 'Content-Type': 'application/json'}
        for value, body in (({'id': 5}, b'{"id":5}'), ([{'id': 1}, {'id': 2}], b'[{"id":1},{"id":2}]'),
                            ({'id': 'x'}, b'{"id":"x"}')):  # fmt: skip
            for status in (200, 201, 404, 503):
                peer = self.listen(says(b'%d ' % status, body, JSON, b'X-Field: x'))
                for call in CALLS:
                    play = partial(ConnectionScript.answers, value=value, status=status, headers=fields)
                    await self.same(self.crm(peer), play, call)

    async def test_faults(self) -> None:
        """The same fault with the same words."""

        def get(out: Any) -> Any:
            return out.get()

        await self.same(self.crm(free_port()), lambda script: script.refuses(), get)
        broken = self.crm(self.listen(says(b'500 x')), circuit_breaker=CircuitBreakerSettings(failures=1, reset=60))
        await broken.get()
        await self.same(broken, lambda script: script.cut_off(), get)
        expected = await outcome(self.crm(self.listen(silent), timeout=0.2).get)
        scripts, clock = Scripts(), Clock()
        OutgoingScripts(scripts).rest['CRM'].times_out(0.2)
        calling = started(outcome(ScriptedOutgoing(scripts, clock).namespace('rest', Asking())['CRM'].get))
        clock.advance(0.3)
        self.assertEqual(self.successResultOf(calling), expected)

    def test_not_there(self) -> None:
        """Unknown and switched off."""
        node = self.node(stored(crm(1, is_active=False)))
        for name, play in (('CRM', 'is_inactive'), ('Nope', 'is_missing')):
            scripts = Scripts()
            getattr(OutgoingScripts(scripts).rest[name], play)()
            errors = [
                self.assertRaises(NotFound, door.__getitem__, name)
                for door in (
                    node.namespaces['rest'](Asking()),
                    ScriptedOutgoing(scripts, Clock()).namespace('rest', Asking()),
                )
            ]
            self.assertEqual((type(errors[0]), str(errors[0])), (type(errors[1]), str(errors[1])))

    async def test_streams(self) -> None:
        """Are read alike."""

        async def everything(out: Any) -> bytes:
            return b''.join([piece async for piece in await out.get(stream=True)])

        real = await everything(self.crm(self.listen(says(b'200 OK', b'abc'))))
        self.assertEqual(await everything(self.scripted(lambda script: script.answers('abc'))), real)

    def test_names(self) -> None:
        """A scripted connection, and its responses, have nothing that the real ones do not have; a mistake in a service
        is one in its test."""
        signature = SIGNATURES['rest']
        self.assertLessEqual(public(connection_results.Response) - {'of'}, public(RestResponse))
        self.assertLessEqual(public(connection_results.StreamedResponse) - {'of'}, public(StreamedRestResponse))
        self.assertEqual(set(signature.methods), public(RestConnection) - {'conn', 'treq'})
        self.assertEqual(set(signature.zato_methods), public(RestConnectionZatoApi))
        self.assertEqual(set(signature.options), set(RestCallOptions.__annotations__))
        for method in signature.methods:
            taken = list(inspect.signature(getattr(RestConnection, method)).parameters)[1:]
            own = ['method'] if method == 'call' else []
            self.assertEqual(taken, [] if method == 'ping' else [*own, *signature.positional, 'options'], method)
        out = self.scripted(lambda script: script.answers())
        for wrong in (lambda: out.gett, lambda: out.conn.gett):
            self.assertRaises(AttributeError, wrong)
        for bad in (lambda: out.get(verify=False), lambda: out.get(1, 2, 3, 4), lambda: out.ping(1),
                    lambda: out.conn.post('K', 'x', files=1)):  # fmt: skip
            self.assertRaises(TypeError, bad)

    def test_a_status_is_a_fault(self) -> None:
        """raise_for_status of both raises what services catch."""
        out = self.scripted(lambda script: script.answers_status(404, {'why': 1}))
        response = self.successResultOf(started(out.get()))
        fault = self.assertRaises(BadStatus, response.raise_for_status)
        self.assertEqual((fault.status_code, fault.response.data), (404, {'why': 1}))
