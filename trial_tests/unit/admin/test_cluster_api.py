"""The client of the cluster's API: reading responses, errors, and other servers."""

from __future__ import annotations

from typing import Any

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseNeverReceived

from trial_tests.support.cluster_api import PASSWORD, USERNAME, ClusterApiContract, MemoryClusterApi
from zatotx.admin.cluster_api import ApiError, Caller, HttpClusterApi, parse_response


class MemoryClusterApiTests(ClusterApiContract, TestCase):
    """The double."""

    def cluster_api(self) -> MemoryClusterApi:
        return MemoryClusterApi()

    def credentials(self) -> tuple[str, str]:
        return USERNAME, PASSWORD


class ResponseTests(SynchronousTestCase):
    def test_success(self) -> None:
        """The response element is returned, and text that is no JSON as text."""
        env = {'zato_env': {'result': 'ZATO_OK'}, 'zato_x_get_list_response': [1]}
        for content, expected in (
            (msgspec.json.encode(env), [1]), (b'{"a":1}', {'a': 1}), (b'', None), (b'# x', '# x'),
        ):
            self.assertEqual(parse_response(200, content), expected)

    def error(self, status: int, details: Any) -> ApiError:
        content = msgspec.json.encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': 'c1', 'details': details}})
        error: ApiError = self.assertRaises(ApiError, parse_response, status, content, '7')
        return error

    def test_errors(self) -> None:
        """Errors about fields are told apart from others; an unexpected error names the cid and the log."""
        error = self.error(400, '$.name: missing; $.retry.attempts: must be >= 1; x.py:3: bad')
        self.assertEqual((error.field_errors, error.messages),
                         ({'name': 'missing', 'retry.attempts': 'must be >= 1'}, ['x.py:3: bad']))
        self.assertEqual(self.error(429, 'Too many').retry_after, '7')
        self.assertIn('c1', self.error(500, 'An error has occurred').messages[0])
        self.assertEqual(self.error(409, ['one', 'two']).messages, ['one', 'two'])
        unknown = self.assertRaises(ApiError, parse_response, 502, b'<html>')
        self.assertEqual(unknown.messages, ['The server responded with 502'])


class ScriptedAgent:
    """An IAgent that answers with the outcomes of a script, by host and port."""

    def __init__(self, **script: Any) -> None:
        self.script = script
        self.requests: list[tuple[str, Any]] = []

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        host = uri.decode().split('/')[2].partition(':')[0]
        self.requests.append((host, headers))
        outcome = self.script[host]
        if isinstance(outcome, Exception):
            return fail(outcome)
        if outcome is None:
            return Deferred()
        raise AssertionError(f'{host} was not to be asked')


class ServerTests(SynchronousTestCase):
    def api(self, **script: Any) -> tuple[HttpClusterApi, ScriptedAgent, Clock]:
        agent: Any = ScriptedAgent(**script)
        clock = Clock()
        servers = [f'http://{host}:17010' for host in script]
        return HttpClusterApi(client=HTTPClient(agent), clock=clock, servers=servers, timeout=5.0), agent, clock

    def test_all_are_away(self) -> None:
        """If every server refuses connections, the error names them all."""
        refused = ConnectionRefusedError()
        api, agent, _ = self.api(one=refused, two=refused)
        error = self.failureResultOf(api.call('zato.ping', {}, Caller('1.x')), ApiError).value
        self.assertEqual((error.status, [host for host, _ in agent.requests]), (0, ['one', 'two']))
        self.assertIn('http://one:17010, http://two:17010', error.messages[0])

    def test_one_that_cuts(self) -> None:
        """A server that took the request and closes is not asked again, nor another one: it may have done it."""
        api, agent, _ = self.api(one=ResponseNeverReceived([]), two='never')
        error = self.failureResultOf(api.call('zato.x.create', {}, Caller('1.x')), ApiError).value
        self.assertEqual([host for host, _ in agent.requests], ['one'])
        self.assertIn('may have been done', error.messages[0])

    def test_one_that_is_silent(self) -> None:
        """A call ends at its timeout with an error that names the server."""
        api, _, clock = self.api(one=None)
        waiting = api.call('zato.x.create', {}, Caller('1.x'))
        clock.advance(4.9)
        self.assertNoResult(waiting)
        clock.advance(0.2)
        self.assertIn('http://one:17010 did not answer within 5 seconds',
                      self.failureResultOf(waiting, ApiError).value.messages[0])

    def test_what_is_sent(self) -> None:
        """The session, the browser's address and the deadline are in the header."""
        api, agent, _ = self.api(one=ConnectionRefusedError())
        self.failureResultOf(api.call('zato.ping', {}, Caller('1.secret', '192.0.2.7', is_passive=True)), ApiError)
        headers = agent.requests[0][1]
        sent = {name: headers.getRawHeaders(name)[0] for name in (
            'x-zato-session', 'x-forwarded-for', 'x-zato-deadline-ms', 'x-zato-session-passive')}
        self.assertEqual(sent, {'x-zato-session': '1.secret', 'x-forwarded-for': '192.0.2.7',
                                'x-zato-deadline-ms': '5000', 'x-zato-session-passive': '1'})
        self.assertNotIn('1.secret', repr(Caller('1.secret')))
