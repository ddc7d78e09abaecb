"""AMQP and connectors in real environments: two connectors share the work, one dies, one drains, and channels change
while messages flow."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import rabbitmq
from trial_tests.support.amqp_chaos import AmqpChaos
from trial_tests.support.amqp_kill_points import KillPoints
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.connectors import Connector
from trial_tests.support.rabbitmq import definition
from trial_tests.support.waiting import allowed, until

TAKEOVER = 10.0  # seconds until another connector runs what a dead one ran
SERVICES = '''
    import os

    from twisted.internet.defer import Deferred
    from zatotx import Service

    class Forward(Service):
        """ Sends each message on, with the name of its node. """
        name = 'amqp.forward'

        async def handle(self):
            body = {'body': self.request.raw_request.decode(), 'node': os.getcwd(),
                    'pid': os.getpid()}
            await self.out.amqp['amqp.results'].send(body, routing_key=self.request.headers['result'])

    class Slow(Service):
        name = 'amqp.slow'

        async def handle(self):
            waiting = Deferred()
            from twisted.internet import reactor
            reactor.callLater(1.0, waiting.callback, None)
            await waiting
            await self.out.amqp['amqp.results'].send('done', routing_key=self.request.headers['result'])

    class Fails(Service):
        name = 'amqp.fails'

        async def handle(self):
            raise RuntimeError('it fails')

    class Shout(Service):
        name = 'amqp.shout'

        async def handle(self):
            self.response.payload = {'text': self.request.payload['text'].upper()}

    class Ask(Service):
        """ Calls another service over AMQP. """
        name = 'amqp.ask'

        async def handle(self):
            reply = await self.out.amqp['amqp.results'].call({'text': 'hello'}, routing_key='amqp.rpc')
            self.response.payload = reply.data

    class Sync(Service):
        """ Zato's form, in a thread. """
        name = 'amqp.sync'

        def handle(self):
            self.outgoing.amqp.send(self.request.payload, 'amqp.results', '', self.request.payload['queue'])

    class Stored(Service):
        name = 'amqp.stored'

        async def handle(self):
            self.response.payload = await self.out.amqp['amqp.guaranteed'].send('kept', routing_key='amqp.later')
'''


def build() -> Broker:
    """A server, which runs AMQP channels that name it, and two connectors."""
    environment = create()
    environment.set('main', connector_kinds=['amqp'])
    environment.start()
    broker = rabbitmq.shared()
    for name in ('amqp.rpc', 'amqp.later'):
        broker.queue(name=name)
    environment.serve('amqp_services.py', SERVICES)
    environment.configure(json.dumps({
        'definition_amqp': [{'name': 'amqp.rabbit', 'heartbeat': 5, **definition(broker)}],
        'outgoing_amqp': [
            {'name': 'amqp.results', 'definition': 'amqp.rabbit', 'timeout': 20},
            {'name': 'amqp.guaranteed', 'definition': 'amqp.rabbit', 'delivery': 'guaranteed'},
        ],
    }))  # fmt: skip
    _connectors[:] = [Connector(environment, number).start() for number in (1, 2)]
    return environment


_connectors: list[Connector] = []


class WithConnectors(SynchronousTestCase):
    """A test that has the environment."""

    def setUp(self) -> None:
        self.environment = shared('amqp', build)
        self.broker = rabbitmq.shared()
        self.one, self.two = _connectors
        for connector in _connectors:
            if not connector.is_running:
                connector.start()
        self.queue, self.results = self.broker.queue(), self.broker.queue()

    def channel(self, service: str = 'amqp.forward', **fields: Any) -> dict[str, Any]:
        """The configuration of a channel of the test's queue, which runs on the connectors."""
        return {'name': f'amqp.{self.queue}', 'definition': 'amqp.rabbit', 'queue': self.queue, 'service': service,
                'nodes': ['connector1', 'connector2'], **fields}  # fmt: skip

    def configure(self, service: str = 'amqp.forward', **fields: Any) -> None:
        """Configure the channel."""
        self.environment.configure(json.dumps({'channel_amqp': [self.channel(service, **fields)]}))
        self.addCleanup(self.call, 'channel.amqp.delete', name=f'amqp.{self.queue}')

    def call(self, service: str, **payload: Any) -> Any:
        """Call an internal service: its response."""
        answer = self.environment.invoke(f'zato.{service}', json.dumps(payload).encode())
        self.assertEqual(answer.status, 200, answer.body)
        return next((value for key, value in answer.json().items() if key.endswith('_response')), None)

    def publish(self, *bodies: bytes, **properties: Any) -> None:
        """Publish to the test's queue."""
        self.broker.publish(self.queue, *bodies, headers={'result': self.results}, **properties)

    def received(self, count: int) -> list[dict[str, Any]]:
        """So many results."""
        found: list[dict[str, Any]] = []

        def all_there() -> bool:
            found.extend(json.loads(body) for body in self.broker.take_all(self.results))
            return len(found) >= count

        until(all_there, f'{count} results')
        self.assertEqual(len(found), count)
        return found

    def letters(self, service: str = 'amqp.fails') -> list[dict[str, Any]]:
        """The dead letters of a service."""
        path = str(self.environment.path)
        found = json.loads(self.environment.must('dead-letter', 'list', path, '--format', 'json'))
        return [letter for letter in found if letter['service'] == service]

    @contextmanager
    def consumers(self, count: int) -> Iterator[None]:
        """Wait for so many consumers of the queue."""
        until(lambda: self.broker.consumers(self.queue) == count, f'{count} consumers')
        yield


class CompetingTests(WithConnectors):
    def test_share_the_work(self) -> None:
        """Two connectors share the messages of a queue; a server takes none of them, but its services send."""
        self.configure(prefetch=1)
        with self.consumers(2):
            self.publish(*[b'%d' % number for number in range(40)])
        results = self.received(40)
        self.assertEqual({result['body'] for result in results}, {str(number) for number in range(40)})
        self.assertEqual({result['node'] for result in results}, {str(self.one.path), str(self.two.path)})

    def test_nothing_is_lost(self) -> None:
        """Connectors and the broker are killed while messages go through: all arrive, and none twice without a reason.
        Repeat a failure with the seed that it prints, in SEED; `make chaos` does the same with 20,000."""
        seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
        chaos = AmqpChaos(seed, messages=300, broker_events=1, connector_events=1)
        report = chaos.run_on(self.environment, self.broker, _connectors)
        self.assertEqual((report.lost, report.unexplained, report.dead, report.sent), ([], [], 0, 300), str(report))

    def test_kills_at_each_step(self) -> None:
        """A connector is killed at each step of a message: none is lost, none comes twice that was not redelivered.
        `make chaos` does so twenty times at each step, and prints a table."""
        for connector in _connectors:
            connector.stop()
        seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
        report = KillPoints(self.environment, self.broker, self.one, seed).run(times=1)
        self.assertEqual((report.problems, {row.kills for row in report.steps}), ([], {1}), str(report))

    def test_drain(self) -> None:
        """A connector that is stopped finishes what it has, takes no more, and exits with 0."""
        self.configure('amqp.slow', prefetch=1, nodes=['connector1'])
        with self.consumers(1):
            self.publish(b'1', b'2')
        until(lambda: self.broker.count(self.queue) == 1, 'delivery')
        self.assertEqual(self.one.stop(), 0)
        self.assertEqual(self.broker.count(self.queue), 1)
        self.assertEqual(self.broker.take_all(self.results), [b'done'])


class PlacementTests(WithConnectors):
    def test_one_node(self) -> None:
        """A channel of one node runs on one connector, and on the other one within seconds after that was killed."""
        self.configure(placement='one_node_of_cluster')
        with self.consumers(1):
            self.publish(b'before')
        (result,) = self.received(1)
        first = self.one if result['node'] == str(self.one.path) else self.two
        first.kill()
        began = time.monotonic()
        self.publish(b'after')
        (result,) = self.received(1)
        self.assertLess(time.monotonic() - began, allowed(TAKEOVER))
        self.assertNotEqual(result['node'], str(first.path))

    def test_live_changes(self) -> None:
        """A channel changes its node, is stopped and deleted while others go on, by Zato's services."""
        self.configure(nodes=['connector1'])
        with self.consumers(1):
            self.publish(b'x')
        self.assertEqual(self.received(1)[0]['node'], str(self.one.path))
        (row,) = [row for row in self.call('channel.amqp.get-list') if row['queue'] == self.queue]
        self.assertEqual((row['def_name'], row['service_name'], row['consumer_tag_prefix']),
                         ('amqp.rabbit', 'amqp.forward', 'zatotx'))  # fmt: skip
        self.call('channel.amqp.edit', id=row['id'], nodes=['connector2'])
        with self.consumers(1):
            self.publish(b'y')
        self.assertEqual(self.received(1)[0]['node'], str(self.two.path))
        self.call('channel.amqp.edit', id=row['id'], is_active=False)
        until(lambda: self.broker.consumers(self.queue) == 0, 'no consumer')

    def test_servers(self) -> None:
        """A server runs AMQP channels where its settings name the kind."""
        self.configure(nodes=['server1'])
        with self.consumers(1):
            self.publish(b'x')
        self.assertEqual(self.received(1)[0]['node'], str(self.environment.directory()))


class OutageTests(WithConnectors):
    def test_redis_and_odb_away(self) -> None:
        """Messages flow while Redis and the ODB are frozen; what fails meanwhile is kept by the broker, and becomes a
        dead letter when the ODB is back."""
        self.configure(prefetch=5)
        failing = self.broker.queue()
        self.environment.configure(json.dumps({'channel_amqp': [
            {**self.channel('amqp.fails', on_error='dead_letter'), 'name': f'amqp.{failing}', 'queue': failing},
        ]}))  # fmt: skip
        self.addCleanup(self.call, 'channel.amqp.delete', name=f'amqp.{failing}')
        with self.consumers(2):
            pass
        redis = int((self.environment.path / 'redis' / 'server.pid').read_text())
        os.kill(redis, signal.SIGSTOP)
        self.addCleanup(self.environment.until_recovered, 1)
        locked = sqlite3.connect(self.environment.path / 'odb' / 'zatotx.db', isolation_level=None)
        locked.execute('BEGIN EXCLUSIVE')
        try:
            self.publish(*[b'x'] * 20)
            self.received(20)
            self.broker.publish(failing, b'kept', message_id=f'letter-{failing}')
        finally:
            locked.close()
            os.kill(redis, signal.SIGCONT)
        (letter,) = until(self.letters, 'the dead letter')
        self.environment.must('dead-letter', 'purge', str(self.environment.path), letter['id'])


class ServiceTests(WithConnectors):
    def test_request_and_reply(self) -> None:
        """A service calls a service behind a queue, and gets its response."""
        self.environment.configure(json.dumps({'channel_amqp': [
            {'name': 'amqp.rpc', 'definition': 'amqp.rabbit', 'queue': 'amqp.rpc', 'service': 'amqp.shout',
             'data_format': 'json'},
        ]}))  # fmt: skip
        self.addCleanup(self.call, 'channel.amqp.delete', name='amqp.rpc')
        until(lambda: self.broker.consumers('amqp.rpc') == 3, 'consumers')
        self.assertEqual(self.environment.invoke('amqp.ask').json(), {'text': 'HELLO'})

    def test_thread(self) -> None:
        """Zato's form of sending works in a thread."""
        answer = self.environment.invoke('amqp.sync', json.dumps({'queue': self.results}).encode())
        self.assertEqual(answer.status, 200, answer.body)
        properties, body = self.broker.taken(self.results)
        self.assertEqual(json.loads(body), {'queue': self.results})
        self.assertTrue(properties.headers['X-Zato-Component'].startswith('server1@'))

    def test_dead_letter(self) -> None:
        """A message that fails for the last time is a dead letter, which is replayed by its id."""
        self.configure('amqp.fails', on_error='dead_letter', data_format='json')
        self.publish(b'{"a": 1}', message_id=f'letter-{self.queue}')
        (letter,) = until(self.letters, 'a dead letter')
        self.assertEqual(letter['attempts'], 1)
        self.environment.must('dead-letter', 'purge', str(self.environment.path), letter['id'])

    def test_bodies_that_are_no_json(self) -> None:
        """A body that is not in the data format of its channel, whatever its content type says, is a dead letter at
        once, without its service; those behind it are processed."""
        self.configure(data_format='json')
        for body, content_type in ((b'{"a": ', 'application/json'), (b'<a/>', 'application/xml'), (b'\xff', None)):
            self.publish(body, content_type=content_type, message_id=f'{body.hex()}-{self.queue}')
        self.publish(b'{}', content_type='text/plain')
        self.received(1)
        until(lambda: len(self.letters('amqp.forward')) == 3, 'the dead letters')
        letters = self.letters('amqp.forward')
        for letter in letters:
            self.assertEqual(letter['attempts'], 1)
            self.assertIn('JSON', letter['cause'])
        self.environment.must('dead-letter', 'purge', str(self.environment.path), *[one['id'] for one in letters])

    def test_guaranteed(self) -> None:
        """With guaranteed delivery a message is kept while the broker is away, and arrives when it is back."""
        self.broker.kill()
        try:
            answer = self.environment.invoke('amqp.stored')
            self.assertEqual(answer.status, 200, answer.body)
        finally:
            self.broker.start()
        _, body = self.broker.taken('amqp.later')
        self.assertEqual(body, b'kept')


class AdministrationTests(WithConnectors):
    def test_ping_and_metrics(self) -> None:
        """The administrator pings a connection, and reads the figures of a connector's channels at the connector."""
        response = self.call('outgoing.amqp.ping', name='amqp.results')
        self.assertIn('RabbitMQ', response['info'])
        self.configure()
        self.publish(b'x')
        (result,) = self.received(1)
        connector = self.one if result['node'] == str(self.one.path) else self.two
        text = connector.ask('/zato/metrics').body.decode()
        label = f'channel="amqp.{self.queue}"'
        self.assertTrue([line for line in text.splitlines() if label in line and 'zatotx_amqp_in_flight' in line])
        requests = [line for line in text.splitlines() if line.startswith('zatotx_channel_requests_total')
                    and f'amqp.{self.queue}' in line]  # fmt: skip
        self.assertEqual([line.split()[-1] for line in requests], ['1.0'])

    def test_doctor(self) -> None:
        """A channel that cannot run is a finding of its connector."""
        self.broker.delete(self.queue)
        self.configure(nodes=['connector1'])

        def finding() -> str:
            said = self.environment.run('doctor', str(self.environment.path))
            return next((line for line in said.text.splitlines() if self.queue in line), '')

        found = until(finding, 'the finding')
        self.assertIn('connector1', found)
        self.assertIn('the queue does not exist', found)

    def test_export(self) -> None:
        """An export has all of it, without the password, and imports back."""
        self.configure(declare={'type': 'classic', 'bindings': [{'exchange': 'amq.fanout'}]})
        said = self.environment.run('enmasse', str(self.environment.path), '--export')
        self.assertEqual(said.code, 0, said.text)
        self.assertIn('exchange: amq.fanout', said.out)
        self.assertNotIn(rabbitmq.PASSWORD, said.out)

    def test_passwords(self) -> None:
        """The password of a definition is changed by Zato's service."""
        definition_row = next(row for row in self.call('definition.amqp.get-list') if row['name'] == 'amqp.rabbit')
        self.assertNotIn(rabbitmq.PASSWORD, json.dumps(definition_row))
        self.call('definition.amqp.change-password', id=definition_row['id'], password1=rabbitmq.PASSWORD,
                  password2=rabbitmq.PASSWORD)  # fmt: skip

    def test_connectors_are_components(self) -> None:
        """The commands know connectors; a connector serves health and metrics, and no channel."""
        status = json.loads(self.environment.must('status', str(self.environment.path), '--format', 'json'))
        self.assertIn('connector1', json.dumps(status))
        self.assertEqual(self.one.ask('/zato/live').status, 200)
        self.assertEqual(self.one.ask('/zato/json/zato.ping').status, 404)
        info = json.loads(self.environment.must('info', str(self.environment.path), '--format', 'json'))
        self.assertEqual(info['cluster']['leader'], 'server1')  # connectors do not lead the scheduler
