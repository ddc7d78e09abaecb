"""Outgoing REST connections of a real server: configured, called by its services, seen from outside."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.http_peer import HttpPeer
from trial_tests.support.ports import free_port
from trial_tests.support.served import one_server
from trial_tests.support.waiting import until

SERVICES = '''
    from zatotx import BadStatus, Model, Service, ServiceUnavailable
    from dataclasses import dataclass

    @dataclass(init=False)
    class Said(Model):
        method: str
        target: str

    def told(response):
        return {'status': response.status_code, 'data': response.data, 'cid': response.cid}

    class Calls(Service):
        name = 'out.calls'

        async def handle(self):
            connection, method, options = self.request.payload
            self.response.payload = told(await getattr(self.out.rest[connection], method)(**options))

    class CallsInThread(Service):
        name = 'out.calls.thread'

        def handle(self):
            connection, method, options = self.request.payload
            self.response.payload = told(getattr(self.out.rest[connection], method)(**options))

    class CallsZatosWay(Service):
        name = 'out.calls.zato'

        def handle(self):
            params = {'id': 7, 'q': 'x'}
            conn = self.outgoing.plain_http.get('CRM').conn
            got = conn.get(self.cid, params)
            sent = self.outgoing.plain_http['CRM'].conn.post(self.cid, {'a': 1}, params={'id': 8}, headers={'X-A': 'b'})
            short = self.rest['CRM'].conn.get(self.cid, params={'id': 9})
            status = conn.send(self.cid, 'text', {'id': 9}).status_code
            self.response.payload = [got.data, sent.data, short.data, status, params]

    class CallsWithModel(Service):
        name = 'out.calls.model'

        async def handle(self):
            said = (await self.out.rest['Echo'].get(model=Said)).data
            self.response.payload = {'model': type(said).__name__, 'target': said.target}

    class Careful(Service):
        name = 'out.careful'

        async def handle(self):
            try:
                (await self.out.rest['Fails'].get()).raise_for_status()
            except BadStatus as error:
                self.response.payload = {'said': error.msg, 'text': error.response.text}

    class Careless(Service):
        name = 'out.careless'

        def handle(self):
            self.out.rest['Fails'].get().raise_for_status()

    class Streams(Service):
        name = 'out.streams'

        async def handle(self):
            self.response.stream(await self.out.rest['Large'].get(stream=True))

    class StreamsInThread(Service):
        name = 'out.streams.thread'

        def handle(self):
            with_for = sum(len(piece) for piece in self.out.rest['Large'].get(stream=True))
            self.response.payload = {'bytes': with_for}

    class Hop(Service):
        name = 'out.hop'

        async def handle(self):
            answer = await self.out.rest['Self'].post({'left': 1})
            self.response.payload = {'here': [self.cid, self.deadline.remaining], 'there': answer.data}

    class There(Service):
        name = 'out.there'

        def handle(self):
            self.response.payload = [self.cid, self.deadline.remaining, self.request.headers.get('traceparent', '')]
'''
OUTGOING = {'connection': 'outgoing', 'transport': 'plain_http'}
TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'


class _World:
    """What the tests of this file share beside the server."""

    peer: HttpPeer
    nobody: int


def document(broker: Broker, peer: HttpPeer, nobody: int) -> str:
    """All there is in enmasse's words."""
    here = f'http://127.0.0.1:{peer.port}'
    services = re.findall(r"name = '(out\.[\w.]+)'", SERVICES)
    rest = 'security: null, data_format: json, timeout: 5'
    channels = [f'  - {{name: {name}, url_path: /{name}, service: {name}, {rest}}}' for name in services]
    return '\n'.join(['''
security:
  - {name: CRM.user, type: basic_auth, username: crm, password: "s3cret pass"}
outgoing_rest:''', f'''
  - {{name: CRM, host: "{here}", url_path: "/customers/{{id}}", data_format: json, timeout: 10, pool_size: 20,
     security: CRM.user, retry: {{attempts: 3, backoff: 0.01}}, circuit_breaker: {{failures: 50, reset: 10}}}}
  - {{name: Echo, host: "{here}", url_path: /echo, data_format: json, security: null}}
  - {{name: Mute, host: "{here}", url_path: /mute, timeout: 0.5, security: null}}
  - {{name: Patient, host: "{here}", url_path: /mute, timeout: 60, security: null}}
  - {{name: Nobody, host: "http://127.0.0.1:{nobody}", security: null}}
  - {{name: Fails, host: "{here}", url_path: /fails, security: null}}
  - {{name: Broken, host: "{here}", url_path: /fails, security: null, circuit_breaker: {{failures: 2, reset: 600}}}}
  - {{name: Large, host: "{here}", url_path: /large, security: null}}
  - {{name: Stored, host: "{here}", url_path: /stored, delivery: guaranteed, data_format: json, security: null}}
  - {{name: Wrong, host: "http://127.0.0.1:{broker.port()}", url_path: /no-such-path, delivery: guaranteed,
     security: null}}
  - {{name: Asleep, host: "{here}", is_active: false, security: null}}
  - {{name: Self, host: "http://127.0.0.1:{broker.port()}", url_path: /out.there, data_format: json, security: null}}
channel_rest:''', *channels]) + '\n'


def extend(broker: Broker) -> None:
    _World.peer, _World.nobody = HttpPeer(), free_port()
    broker.serve('out.py', SERVICES)
    broker.configure(document(broker, _World.peer, _World.nobody))


class ServerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = one_server().extend('out-rest', extend)
        self.peer = _World.peer

    def call(self, connection: str, method: str = 'get', *, thread: bool = False, **options: Any) -> Any:
        """A service calls a connection; its answer."""
        service = 'out.calls.thread' if thread else 'out.calls'
        return self.asked(service, [connection, method, options])

    def asked(self, service: str, payload: Any = None, **fields: str) -> Any:
        body = b'' if payload is None else json.dumps(payload).encode()
        return self.broker.ask('POST', f'/{service}', fields=fields, body=body or b'{}')

    def api(self, service: str, **payload: Any) -> Any:
        """A zato.* service, invoked by an administrator."""
        answer = self.broker.invoke(service, json.dumps(payload).encode())
        self.assertEqual(answer.status, 200, answer.body)
        return next(value for key, value in answer.json().items() if key != 'zato_env')


    def listed(self) -> dict[str, Any]:
        """All outgoing REST connections by name, as zato.http-soap.get-list has them."""
        return {row['name']: row for row in self.api('zato.http-soap.get-list', cluster_id=1, **OUTGOING)}


class GuaranteedTests(ServerCase):
    def test_the_peer_takes_it_later(self) -> None:
        """A call returns 202 when it is stored; a peer that is busy gets it again, with the same key."""
        self.peer.busy = 1
        answer = self.call('Stored', 'post', thread=True, data={'a': 'ž'})
        self.assertEqual((answer.json()['status'], answer.json()['data']), (202, None))
        until(lambda: self.peer.count['/stored'] >= 2, 'the second request')
        fields = self.peer.asked['/stored']
        self.assertEqual(self.peer.bodies['/stored'].decode(), '{"a":"ž"}')
        self.assertEqual(fields['content-type'], 'application/json')
        self.assertRegex(fields['idempotency-key'], '^[0-9a-f]{24}$')

    def test_the_peer_rejects_it(self) -> None:
        """A status that says that the call is wrong makes a dead letter at once, with the call in it."""
        self.assertEqual(self.call('Wrong', 'post', data='text').json()['status'], 202)

        def found() -> Any:
            listed = self.broker.must('dead-letter', 'list', str(self.broker.path), '--format', 'json')
            return [row for row in json.loads(listed) if row['service'] == 'zato.outgoing.deliver']

        (row,) = until(found, 'the dead letter')
        self.assertIn('Outgoing connection Wrong (rest) answered 404', row['cause'])
        self.assertEqual(row['attempts'], 1)
        self.broker.must('dead-letter', 'purge', str(self.broker.path), row['id'])


class CallTests(ServerCase):
    def test_both_kinds_of_services(self) -> None:
        """An async service awaits what a def service simply gets."""
        for thread in (False, True):
            answer = self.call('CRM', 'put', thread=thread, data={'a': 'ž'}, params={'id': 'x y', 'q': 1})
            self.assertEqual(answer.status, 200, answer.body)
            found = answer.json()
            self.assertEqual((found['status'], found['data']['method'], found['data']['target']),
                             (200, 'PUT', '/customers/x%20y?q=1'))  # fmt: skip
            self.assertEqual(found['data']['body'], '{"a":"ž"}')
            self.assertEqual(found['cid'], answer.field('x-zato-cid'))

    def test_zatos_way(self) -> None:
        """A module written for Zato 2.0 or 3.2; params are left as they were."""
        got, sent, short, status, params = self.asked('out.calls.zato').json()
        self.assertEqual((got['method'], got['target']), ('GET', '/customers/7?q=x'))
        self.assertEqual((sent['method'], sent['target'], sent['body']), ('POST', '/customers/8', '{"a":1}'))
        self.assertEqual((short['target'], status, params), ('/customers/9', 200, {'id': 7, 'q': 'x'}))
        self.assertEqual(self.peer.asked['/customers/8']['x-a'], 'b')

    def test_who_we_are(self) -> None:
        """A basic_auth definition, which channels verify by its hash, is shown to the peer in clear."""
        self.call('CRM', params={'id': 1})
        self.assertEqual(self.peer.asked['/customers/1']['authorization'], 'Basic Y3JtOnMzY3JldCBwYXNz')
        self.assertTrue(self.peer.asked['/customers/1']['x-zato-component'].startswith('server1@'))

    def test_models(self) -> None:
        """A Model of Zato on the way back."""
        self.assertEqual(self.asked('out.calls.model').json(), {'model': 'Said', 'target': '/echo'})

    def test_retries(self) -> None:
        """Nothing of them is seen by the service."""
        self.peer.busy = 2
        before = self.peer.count['/customers/2']
        self.assertEqual(self.call('CRM', params={'id': 2}).json()['status'], 200)
        self.assertEqual(self.peer.count['/customers/2'] - before, 3)

    def test_next_hop(self) -> None:
        """Another server goes on with the cid, the trace and what is left of the time."""
        answer = self.asked('out.hop', None, **{'X-Zato-CID': 'abcdefabcdef', 'traceparent': TRACE})
        here, there = answer.json()['here'], answer.json()['there']
        self.assertEqual((here[0], there[0]), ('abcdefabcdef', 'abcdefabcdef'))
        self.assertTrue(0 < there[1] < 5, there)
        trace, span = TRACE.split('-')[1:3]
        self.assertEqual(there[2].split('-')[1], trace)
        self.assertNotEqual(there[2].split('-')[2], span)

    def test_streams(self) -> None:
        """A large answer goes through in pieces, to the client or to a def service's `for`."""
        answer = self.asked('out.streams')
        self.assertEqual((answer.status, len(answer.body)), (200, 1_000_000))
        self.assertEqual(self.asked('out.streams.thread').json(), {'bytes': 1_000_000})


class FaultTests(ServerCase):
    def refused(self, connection: str, status: int, details: str, **options: Any) -> None:
        for thread in (False, True):
            answer = self.call(connection, thread=thread, **options)
            self.assertEqual((answer.status, answer.details), (status, details))

    def test_no_answer(self) -> None:
        """504, whose details name the connection."""
        self.refused('Mute', 504, 'Outgoing connection Mute (rest) gave no answer within 0.5 s')

    def test_longer_than_the_request_has(self) -> None:
        """A connection that would wait for a minute: the request has five seconds, and 504 names it all the same."""
        for thread in (False, True):
            answer = self.broker.ask('POST', '/out.calls.thread' if thread else '/out.calls',
                                     fields={'X-Zato-Deadline-Ms': '2000'}, body=b'["Patient", "get", {}]')
            self.assertEqual(answer.status, 504)
            said = r'^Outgoing connection Patient \(rest\) gave no answer within [01](\.\d+)? s$'
            self.assertRegex(answer.details, said)

    def test_nobody_there(self) -> None:
        """503."""
        self.refused('Nobody', 503, 'Outgoing connection Nobody (rest) cannot be used: nobody is at its address')

    def test_cut_off(self) -> None:
        """503 with Retry-After; metrics, findings and doctor tell of it."""
        for _ in range(2):
            self.assertEqual(self.call('Broken').json()['status'], 500)
        answer = self.call('Broken')
        self.assertEqual((answer.status, answer.details), (
            503, 'Outgoing connection Broken (rest) cannot be used: it is cut off by its circuit breaker',
        ))  # fmt: skip
        self.assertTrue(500 < int(answer.field('retry-after')) <= 600)
        metrics = self.metrics()
        self.assertIn('zatotx_outgoing_circuit_open{connection="Broken",type="rest"} 1.0', metrics)
        self.assertIn('zatotx_outgoing_circuits_opened_total{connection="Broken",type="rest"} 1.0', metrics)
        self.assertIn('zatotx_outgoing_circuit_open{connection="Echo",type="rest"} 0.0', metrics)
        self.assertIn('Broken (rest) is cut off by its circuit breaker, after 2 failures in a row',
                      self.broker.run('doctor', str(self.broker.path)).text)  # fmt: skip

    def test_unknown_and_inactive(self) -> None:
        """404 names it."""
        self.refused('Nope', 404, "There is no outgoing connection 'Nope' of kind rest")
        self.refused('Asleep', 404, '[Asleep] is inactive')

    def test_statuses(self) -> None:
        """An answer of 500 is an answer; raise_for_status makes 502 of it, where nobody catches that."""
        sentence = 'Outgoing connection Fails (rest) answered 500 Internal Server Error'
        self.assertEqual(self.asked('out.careful').json(), {'said': sentence, 'text': 'broken'})
        answer = self.asked('out.careless')
        self.assertEqual((answer.status, answer.details), (502, sentence))

    def test_missing_parameters(self) -> None:
        """A mistake of the service: 500, and the log says what is missing."""
        self.assertEqual(self.call('CRM').status, 500)
        self.broker.logged('params has no id')

    def metrics(self) -> str:
        return self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()

    def test_counted(self) -> None:
        """Calls, errors by their kind, durations."""
        self.call('Echo')
        self.call('Nobody')

        def found() -> bool:
            text = self.metrics()
            return all(line in text for line in (
                'zatotx_outgoing_errors_by_kind_total{connection="Nobody",kind="ServiceUnavailable",type="rest"}',
                'zatotx_outgoing_duration_seconds_count{connection="Echo",type="rest"}',
            ))  # fmt: skip

        self.assertTrue(until(found, 'the figures'))


class ConfigurationTests(ServerCase):
    def test_the_api_of_zato(self) -> None:
        """zato.http-soap.* with connection=outgoing: made, listed, pinged, changed, deleted, each live when it
        returns."""
        url = f'http://127.0.0.1:{self.peer.port}'
        fields = {'url_path': '/made', 'security_id': 'ZATO_NONE', 'host': url, 'data_format': 'json', 'timeout': '5',
                  'method': '', 'ping_method': '', 'soap_action': '', 'soap_version': ''}  # as Zato's forms send them
        made = self.api('zato.http-soap.create', cluster_id=1, name='Made', is_active=True, is_internal=False, **fields,
                        **OUTGOING)
        self.assertEqual(self.call('Made').json()['data']['target'], '/made')
        listed = self.listed()
        row = listed['Made']
        self.assertEqual((row['host'], row['timeout'], row['pool_size']), (url, 5.0, 20))
        self.assertEqual(listed['CRM']['security_name'], 'CRM.user')
        self.assertEqual(listed['CRM']['retry'], {'attempts': 3, 'backoff': 0.01, 'methods': []})
        self.assertNotIn('tls_key', listed['CRM'])
        info = self.api('zato.http-soap.ping', id=made['id'])['info']
        self.assertRegex(info, r'^20\S+ \(UTC\) HEAD http://127\.0\.0\.1:\d+/made\nCode: 200\nResponse time: 0:00:0')
        self.api('zato.http-soap.edit', id=made['id'], url_path='/changed', **OUTGOING)
        self.assertEqual(self.call('Made').json()['data']['target'], '/changed')
        self.api('zato.http-soap.delete', id=made['id'], **OUTGOING)
        self.assertEqual(self.call('Made').status, 404)

    def test_a_ping_of_nobody(self) -> None:
        """Says why it cannot be said."""
        answer = self.broker.invoke('zato.http-soap.ping', b'{"id": %d}' % self.listed()['Nobody']['id'])
        self.assertEqual((answer.status, answer.details), (
            503, 'Outgoing connection Nobody (rest) cannot be used: nobody is at its address',
        ))  # fmt: skip

    def test_mistakes(self) -> None:
        """All at once, each with section, object and field; nothing is written."""
        said = self.broker.imported('''
            outgoing_rest:
              - {name: Bad, host: "ftp://x", url_path: "no/{slash", timeout: 0, security: nobody, colour: red,
                 retry: {attempts: 0, backof: 1}, circuit_breaker: {reset: -1}}
        ''')
        self.assertEqual(said.code, 1)
        for part in ("outgoing_rest 'Bad': host", 'url_path', 'timeout', "there is no security called 'nobody'",
                     'colour', 'retry.attempts', 'retry.backof: unknown, did you mean backoff?',
                     'circuit_breaker.reset'):
            self.assertIn(part, said.text)
        self.assertEqual(self.call('Bad').status, 404)

    def test_export(self) -> None:
        """What comes out goes in again and changes nothing; secrets come out as variables."""
        text = self.broker.must('enmasse', str(self.broker.path), '--export')
        exported = {one['name']: one for one in yaml.safe_load(text)['outgoing_rest']}
        crm = exported['CRM']
        self.assertEqual((crm['url_path'], crm['security']), ('/customers/{id}', 'CRM.user'))
        self.assertEqual((crm['retry'], crm['circuit_breaker']), ({'backoff': 0.01}, {'failures': 50}))
        some = [exported[name] for name in ('CRM', 'Echo', 'Broken', 'Asleep')]
        file = self.broker.write('again.yaml', yaml.safe_dump({'outgoing_rest': some}))
        again = self.broker.run('enmasse', str(self.broker.path), '--import', '--input', str(file), '--dry-run')
        self.assertEqual(again.code, 0, again.text)
        self.assertNotIn('~', again.text)
        self.assertNotIn('s3cret', text)

    def test_a_proxy_with_a_password(self) -> None:
        """Is shown to nobody."""
        self.broker.configure('''
            outgoing_rest:
              - {name: Proxied, host: "http://crm.invalid", proxy: "http://u:hidden-pass@127.0.0.1:9", security: null}
        ''')
        for text in (self.broker.must('enmasse', str(self.broker.path), '--export'),
                     str(self.listed()), self.call('Proxied').body.decode(), self.broker.log()):
            self.assertNotIn('hidden-pass', text)
