"""Routing by the request's head: channel, cid, deadline, trace, and errors."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Message
from zatotx.plugins.http.server.route_table import BUILTIN_ENDPOINTS, build_table
from zatotx.plugins.http.test.server_doubles import ScriptedExchange, Server, channel, get, post

CHANNELS = [
    channel(1),
    channel(2, name='orders', url_path='/orders/{id}', method='GET', service='crm.orders', timeout=5.0,
            security='api.user', params_pri='msg-over-channel-params'),
    channel(4, name='any', url_path='/any/{x}', method=None),
    channel(5, name='one', url_path='/any/{other}', method='PATCH'),
    channel(3, name='off', url_path='/off', is_active=False),
]


class ReceptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange, channels=CHANNELS)
        self.client = self.server.connect()

    def inbound(self, request: bytes) -> Message:
        self.assertEqual(self.client.ask(request).status, 200)
        return self.exchange.delivered[-1].inbound

    def refused(self, request: bytes, status: int) -> tuple[dict[bytes, bytes], str]:
        """Return headers and details of an error response; nothing is delivered."""
        answer = self.server.connect().ask(request)
        self.assertEqual(answer.status, status)
        self.assertEqual(self.exchange.delivered, [])
        return answer.headers, json.loads(answer.body)['zato_env']['details']

    def test_what_the_exchange_gets(self) -> None:
        """The dispatcher gets the whole request, and the channel's specification."""
        inbound = self.inbound(get('/orders/caf%C3%A9?a=1', 'X-Two: 1', 'x-two: 2'))
        view = inbound.http
        assert view is not None
        self.assertEqual((view.method, view.target, view.path), ('GET', b'/orders/caf%C3%A9?a=1', '/orders/café'))
        self.assertEqual((view.query, dict(view.params), view.version), (b'a=1', {'id': 'café'}, (1, 1)))
        self.assertEqual((view.headers[b'x-two'], view.peer), (b'1, 2', '192.168.1.1'))
        spec = inbound.channel
        self.assertEqual((spec.name, spec.kind, spec.service), ('orders', 'http-soap', 'crm.orders'))
        self.assertEqual((spec.security, spec.data_format, spec.timeout), ('api.user', 'json', 5.0))
        self.assertEqual((spec.params_pri, inbound.service), ('msg-over-channel-params', 'crm.orders'))

    def test_repeated_requests(self) -> None:
        """Requests with one head get cids, bodies and deadlines of their own; the head is evaluated anew when the
        routes have changed, and when another head came in between."""
        one = self.inbound(post('/echo', body=b'[1]'))
        self.server.clock.advance(1)
        two = self.inbound(post('/echo', body=b'[2]'))
        self.assertEqual((one.body, two.body, one.http), (b'[1]', b'[2]', two.http))
        self.assertNotEqual(one.cid, two.cid)
        self.assertEqual(two.deadline, one.deadline + 1)
        self.assertEqual(self.inbound(get('/orders/1')).service, 'crm.orders')
        self.assertEqual(self.inbound(post('/echo', body=b'[3]')).service, one.service)
        self.server.site.router.routes, _ = build_table([channel(1, service='another')])
        changed = self.inbound(post('/echo', body=b'[4]'))
        self.assertEqual((changed.service, changed.body), ('another', b'[4]'))

    def test_repeated_requests_wait_for_their_turn(self) -> None:
        """A repeated unsafe request in the same read is dispatched after the response to the one before."""
        self.inbound(post('/echo', body=b'[0]'))
        self.exchange.at_once = None
        self.client.send(post('/echo', body=b'[1]') + post('/echo', body=b'[2]'))
        self.assertEqual([each.inbound.body for each in self.exchange.delivered], [b'[0]', b'[1]'])
        self.exchange.delivered[-1].answer(b'one')
        self.assertEqual([each.inbound.body for each in self.exchange.delivered], [b'[0]', b'[1]', b'[2]'])
        self.exchange.delivered[-1].answer(b'two')
        self.assertEqual([answer.body for answer in self.client.answers()], [b'one', b'two'])

    def test_unknown_paths(self) -> None:
        """An unknown path gets 404 in Zato's format."""
        self.assertEqual(self.refused(get('/nowhere'), 404)[1], 'URL not found')

    def test_the_server_as_a_whole(self) -> None:
        """`OPTIONS *` gets 204, and the connection continues."""
        for version in ('1.1', '1.0'):
            answer = self.client.ask(get('*', 'Connection: keep-alive', method='OPTIONS', version=version))
            self.assertEqual((answer.status, answer.body), (204, b''))
        self.assertEqual(self.exchange.delivered, [])
        self.assertFalse(self.client.closed)

    def test_what_is_not_spoken(self) -> None:
        """Unknown methods, major versions and transfer codings are rejected with their own statuses."""
        self.refused(get(method='FOO'), 501)
        self.refused(get(version='2.0'), 505)
        self.refused(get('/echo', 'Transfer-Encoding: gzip, chunked', method='POST'), 501)

    def test_wrong_methods(self) -> None:
        """A wrong method gets 405 with Allow and Zato's message."""
        headers, details = self.refused(post('/orders/1'), 405)
        self.assertEqual(headers[b'allow'], b'GET, HEAD')
        self.assertEqual(details, 'Method `POST` is not allowed here')

    def test_trace(self) -> None:
        """A channel for any method rejects TRACE, which would show a client's fields to its scripts; the dispatcher
        gets the methods of other channels of the path."""
        headers, _ = self.refused(get('/any/1').replace(b'GET', b'TRACE', 1), 405)
        self.assertEqual(headers[b'allow'], b'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT')
        self.assertEqual(self.inbound(get('/any/1')).channel.excluded_methods, ('PATCH',))
        self.assertEqual(self.inbound(get('/orders/1')).channel.excluded_methods, ())

    def test_inactive_channels(self) -> None:
        """An inactive channel gets 404 with the reason."""
        self.assertEqual(self.refused(get('/off'), 404)[1], 'Inactive channel')

    def test_paths_that_are_no_text(self) -> None:
        """Paths that are not UTF-8 get 400."""
        self.refused(get('/orders/%FF'), 400)

    def test_compressed_bodies(self) -> None:
        """Unknown and multiple content codings get 415; identity is allowed."""
        self.refused(post('/echo', b'{}', 'Content-Encoding: gzip, gzip'), 415)
        headers, _ = self.refused(post('/echo', b'{}', 'Content-Encoding: br'), 415)
        self.assertEqual(headers[b'accept-encoding'], b'gzip, deflate, identity')
        self.inbound(post('/echo', b'{}', 'Content-Encoding: identity'))

    def test_the_callers_cid_is_kept(self) -> None:
        """A caller's cid of 8 to 64 safe characters is returned; any other is replaced."""
        answer = self.client.ask(post('/echo', b'{}', 'X-Zato-CID: caller-0001'))
        self.assertEqual(answer.headers[b'x-zato-cid'], b'caller-0001')
        self.assertEqual(self.exchange.delivered[0].inbound.cid, 'caller-0001')
        for bad in ('short', 'x' * 65, 'with space', 'caf\xe9-cafe'):
            answer = self.client.ask(post('/echo', b'{}', f'X-Zato-CID: {bad}'))
            self.assertRegex(answer.headers[b'x-zato-cid'].decode(), '^[0-9a-f]{24}$')

    def test_the_trace_is_continued(self) -> None:
        """A trace is continued with a new span; an invalid one is not."""
        parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        trace = self.inbound(post('/echo', b'{}', f'traceparent: {parent}')).trace
        self.assertEqual(trace[:36], parent[:36])
        self.assertNotEqual(trace[36:52], parent[36:52])
        self.assertEqual(self.inbound(post('/echo', b'{}', 'traceparent: 00-nonsense-01')).trace, '')
        self.assertEqual(self.inbound(post()).trace, '')

    def test_deadlines(self) -> None:
        """The deadline is the earlier one of the channel's timeout and the caller's; at built-in endpoints, that of the
        caller up to ten minutes."""
        now = self.server.clock.seconds()
        self.assertEqual(self.inbound(get('/orders/1')).deadline, now + 5)
        self.assertEqual(self.inbound(get('/orders/1', 'X-Zato-Deadline-Ms: 1500')).deadline, now + 1.5)
        self.assertEqual(self.inbound(get('/orders/1', 'X-Zato-Deadline-Ms: 86400000')).deadline, now + 5)
        builtin = '/zato/api/invoke/zato.ping'
        self.assertEqual(self.inbound(post(builtin, b'{}')).deadline, now + 60)
        self.assertEqual(self.inbound(post(builtin, b'{}', 'X-Zato-Deadline-Ms: 300000')).deadline, now + 300)
        self.assertEqual(self.inbound(post(builtin, b'{}', 'X-Zato-Deadline-Ms: 86400000')).deadline, now + 600)

    def test_deadlines_that_are_none(self) -> None:
        """A deadline that is no whole number of milliseconds from 1 to a day gets 400."""
        for bad in ('0', '-5', '1.5', 'soon', '86400001', '1' * 30):
            self.refused(post('/echo', b'{}', f'X-Zato-Deadline-Ms: {bad}'), 400)


class DoorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.client = Server(self.exchange, channels=[]).connect()

    def behind(self, path: str, method: str = 'GET') -> Message:
        self.assertEqual(self.client.ask(get(path, method=method)).status, 200)
        return self.exchange.delivered[-1].inbound

    def test_doors_are_there_without_any_channel(self) -> None:
        """Built-in endpoints exist without any channel, for every method."""
        for path, service, security in (
            ('/zato/ping', 'zato.ping', None),
            ('/zato/live', 'zato.health.live', None),
            ('/zato/ready', 'zato.health.ready', None),
            ('/zato/metrics', 'zato.metrics.get', 'admin.invoke'),
            ('/zato/admin/invoke', 'zato.service.invoke', 'admin.invoke'),
        ):
            for method in ('GET', 'POST', 'DELETE'):
                inbound = self.behind(path, method)
                self.assertEqual((inbound.service, inbound.channel.security), (service, security))

    def test_doors_that_name_a_service(self) -> None:
        """If the path names the service, the name is no parameter of that service."""
        for path, security, internal in (
            ('/zato/api/invoke/crm.get-balance', 'admin.invoke', False), ('/zato/json/crm.get-balance', 'pubapi', True)
        ):
            inbound = self.behind(path)
            assert inbound.http is not None
            self.assertEqual((inbound.service, dict(inbound.http.params)), ('crm.get-balance', {}))
            self.assertEqual((inbound.channel.security, inbound.channel.internal_only), (security, internal))

    def test_probes_are_always_open(self) -> None:
        """Health endpoints are served while the node starts and drains, and do not count as in flight."""
        names = {spec.name for spec in BUILTIN_ENDPOINTS.values() if spec.serves_while_draining}
        self.assertEqual(names, {'zato.ping', 'zato.live', 'zato.ready', 'zato.metrics'})


class TableTests(SynchronousTestCase):
    def test_channels_that_cannot_be_reached_are_left_out(self) -> None:
        """One invalid channel is reported, and all others are served."""
        table, mistakes = build_table([
            channel(1), channel(2, name='bad', url_path='/a/{'), channel(3, name='twin', url_path='/echo'),
        ])
        self.assertEqual(len(mistakes), 2)
        self.assertIn("'bad'", mistakes[0])
        self.assertIn("'twin' is left out: 'echo'", mistakes[1])
        match = table.find('POST', b'/echo')
        self.assertEqual(match.target.spec.name, 'echo')  # type: ignore[union-attr]  # which is asserted here
