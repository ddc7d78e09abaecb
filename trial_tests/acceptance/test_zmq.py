"""ZeroMQ in a real server and real connectors: configuration, live edits, placement, ping, metrics, findings."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from typing import Any

import zmq
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.connectors import Connector, start_all
from trial_tests.support.ports import free_port
from trial_tests.support.waiting import allowed, until
from trial_tests.support.zmq_peers import PeerProcess

PATIENCE = 60_000  # milliseconds
SERVICES = '''
import os

from zatotx import Service


class Relay(Service):
    """ Sends what comes in on, with the process that did it. """
    name = 'zmq.relay'

    async def handle(self):
        text = self.request.payload['text']
        await self.out.zmq['zmq.results'].send({'text': text.upper(), 'pid': os.getpid()})


class Ask(Service):
    name = 'zmq.ask'

    async def handle(self):
        self.response.payload = (await self.out.zmq['zmq.asking'].send(self.request.raw_request)).decode()


class Blocking(Service):
    """ As services of Zato do it. """
    name = 'zmq.def'

    def handle(self):
        self.outgoing.zmq.send(self.request.raw_request, 'zmq.results')


class Reply(Service):
    name = 'zmq.reply'

    def handle(self):
        self.response.payload = {'total': sum(self.request.payload['numbers'])}


class Store(Service):
    name = 'zmq.store'

    async def handle(self):
        self.response.payload = await self.out.zmq['zmq.stored'].send(self.request.payload)


class Fails(Service):
    name = 'zmq.fails'

    async def handle(self):
        raise ValueError('no')
'''
_connectors: list[Connector] = []


def build() -> Broker:
    """A server and two connectors."""
    broker = create()
    broker.start()
    broker.serve('zmq_services.py', SERVICES)
    _connectors[:] = start_all(Connector(broker, number, grace=2) for number in (1, 2))
    return broker


class ZmqTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = shared('zmq', build)
        self.connectors = _connectors
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.addCleanup(self.context.destroy, 0)
        self.results, self.results_address = self.bound(zmq.PULL)
        self.configure(outgoing_zmq=[{'name': 'zmq.results', 'address': self.results_address}])

    def bound(self, socket_type: int) -> tuple[Any, str]:
        """A socket of a peer that listens, and its address."""
        made = self.context.socket(socket_type)
        made.linger, made.rcvtimeo, made.sndtimeo = 0, PATIENCE, PATIENCE
        address = f'tcp://127.0.0.1:{free_port()}'
        made.bind(address)
        return made, address

    def connected(self, socket_type: int, address: str) -> Any:
        """A socket of a peer that connects."""
        made = self.context.socket(socket_type)
        made.linger, made.rcvtimeo, made.sndtimeo = 0, PATIENCE, PATIENCE
        made.connect(address)
        return made

    def configure(self, **sections: Any) -> None:
        """Import these objects."""
        self.broker.configure(json.dumps(sections))

    def channel(self, name: str, address: str, **fields: Any) -> None:
        """Import a channel, which is deleted at the end of the test."""
        given = {'name': name, 'address': address, 'service': 'zmq.relay', 'data_format': 'json', **fields}
        self.configure(channel_zmq=[given])
        self.addCleanup(self.broker.invoke, 'zato.channel.zmq.delete', json.dumps({'name': name}).encode())

    def metrics(self, connector: Connector) -> dict[str, float]:
        """The figures of a node."""
        lines = connector.ask('/zato/metrics').body.decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(' ') for line in lines if line[:1] != '#')}

    def test_push_and_pull(self) -> None:
        """Two connectors compete for the messages of a PUSH peer: each message is processed once; both take part. Live
        edits, metrics, ping and export work."""
        peer, address = self.bound(zmq.PUSH)
        self.channel('zmq.in', address)
        label = '{channel="zmq.in"}'
        until(lambda: all(self.metrics(each).get(f'zatotx_zmq_channel_peers{label}') == 1 for each in self.connectors),
              'both connectors')
        for number in range(200):
            peer.send(b'{"text": "message %d"}' % number)
        received = [json.loads(self.results.recv()) for _ in range(200)]
        self.assertEqual(Counter(each['text'] for each in received),
                         Counter(f'MESSAGE {number}' for number in range(200)))  # fmt: skip
        self.assertEqual(len({each['pid'] for each in received}), 2)
        total = 'zatotx_channel_requests_total{channel="zmq.in",kind="zmq"}'
        self.assertEqual(sum(self.metrics(each)[total] for each in self.connectors), 200)
        self.channel('zmq.in', address, service='zmq.def')
        peer.send(b'{"text": "as it is"}')
        self.assertEqual(self.results.recv(), b'{"text": "as it is"}')
        said = self.broker.must('service', 'invoke', str(self.broker.path), 'zato.outgoing.zmq.ping', '--payload',
                                '{"name": "zmq.results"}')  # fmt: skip
        self.assertIn(f'Connected to {self.results_address}: 1 connected peers, 0 messages in the queue', said)
        exported = self.broker.must('enmasse', str(self.broker.path), '--export')
        self.assertIn('zmq.results', exported)
        self.assertIn(address, exported)

    def test_sub_runs_once(self) -> None:
        """A SUB channel runs in one connector, so that each message is processed once; when that one dies, the other
        one takes over within 10 seconds."""
        publisher, address = self.bound(zmq.PUB)
        self.channel('zmq.ticks', address, socket_type='SUB', sub_key='ticks ')

        def published(text: str) -> int:
            """Publish until one is processed: the process that did it."""
            end = time.monotonic() + 30
            while time.monotonic() < end:
                publisher.send(b'ticks {"text": "%s"}' % text.encode())
                if self.results.poll(200):
                    found: dict[str, Any] = json.loads(self.results.recv())
                    if found['text'] == text.upper():
                        return int(found['pid'])
            raise AssertionError(f'{text} is not processed')

        pid = published('first')
        for number in range(20):
            publisher.send(b'ticks {"text": "tick %d"}' % number)
        texts: list[str] = []
        while len(texts) < 20 or self.results.poll(300):
            text = json.loads(self.results.recv())['text']
            texts += [text] if text != 'FIRST' else []  # several may have been published
        self.assertEqual(texts, [f'TICK {number}' for number in range(20)])
        victim = next(each for each in self.connectors if each.pid == pid)
        began = time.monotonic()
        victim.kill()
        other = published('second')
        self.assertLess(time.monotonic() - began, allowed(10))
        self.assertNotEqual(other, pid)
        victim.start()

    def test_request_and_reply(self) -> None:
        """A REP channel answers REQ clients, also those in services; CURVE keys are secret in exports."""
        address = f'tcp://127.0.0.1:{free_port()}'
        public, secret = self.keys()
        client_public, client_secret = self.keys()
        self.channel('zmq.rep', address, socket_type='REP', socket_method='bind', service='zmq.reply',
                     nodes=['connector1'], curve_secret_key=secret, curve_client_keys=[client_public])  # fmt: skip
        self.configure(outgoing_zmq=[{'name': 'zmq.asking', 'address': address, 'socket_type': 'REQ',
                                      'curve_secret_key': client_secret, 'curve_server_key': public}])
        answer = self.broker.invoke('zmq.ask', b'{"numbers": [1, 2, 3]}')
        self.assertEqual((answer.status, json.loads(answer.body)), (200, {'total': 6}))
        exported = self.broker.must('enmasse', str(self.broker.path), '--export')
        self.assertNotIn(secret, exported)
        self.assertNotIn(client_secret, exported)
        self.assertIn(public, exported)

    def test_services_of_zato(self) -> None:
        """Zato's services create, list, edit and delete channels and connections with its fields."""
        _, address = self.bound(zmq.PUSH)
        common = {'cluster_id': 1, 'name': 'zmq.made', 'is_active': True, 'address': address}
        channel = {**common, 'socket_type': 'PULL', 'sub_key': '', 'service': 'zmq.relay', 'data_format': 'json'}
        for prefix, fields in (('channel', channel), ('outgoing', {**common, 'socket_type': 'PUSH'})):
            made = self.api(f'zato.{prefix}.zmq.create', fields)
            listed = self.api(f'zato.{prefix}.zmq.get-list', {'cluster_id': 1})
            (found,) = [each for each in listed if each['name'] == 'zmq.made']
            self.assertEqual((found['address'], found['socket_type']), (address, fields['socket_type']))
            self.api(f'zato.{prefix}.zmq.edit', {**fields, 'id': made['id'], 'is_active': False})
            self.api(f'zato.{prefix}.zmq.delete', {'id': made['id']})
            listed = self.api(f'zato.{prefix}.zmq.get-list', {'cluster_id': 1})
            self.assertEqual([each for each in listed if each['name'] == 'zmq.made'], [])

    def test_dead_letter(self) -> None:
        """A message whose service fails for the last time can be replayed."""
        peer, address = self.bound(zmq.PUSH)
        self.channel('zmq.poison', address, service='zmq.fails', retry={'attempts': 2, 'backoff': 0.1})
        peer.send(b'{"text": "poison"}')

        def listed() -> list[Any]:
            text = self.broker.must('dead-letter', 'list', str(self.broker.path), '--format', 'json')
            return [each for each in json.loads(text) if each['service'] == 'zmq.fails']

        until(lambda: listed(), 'the dead letter')
        (letter,) = listed()
        self.assertEqual(letter['attempts'], 2)

    def test_mistakes(self) -> None:
        """All mistakes of a document are reported at once, with their places."""
        said = self.broker.imported(json.dumps({
            'channel_zmq': [{'name': 'a', 'address': 'udp://x', 'service': 'no.such', 'socket_type': 'PUSH'}],
            'outgoing_zmq': [{'name': 'b', 'address': 'tcp://x:1', 'curve_secret_key': 'short'}],
        }))  # fmt: skip
        self.assertEqual(said.code, 1)
        for expected in ('udp://x must have the form tcp://HOST:PORT', 'no.such', 'socket_type', 'curve_secret_key'):
            self.assertIn(expected, said.text)
        self.assertNotIn('short', said.text.replace('shorter', ''))

    def test_drain(self) -> None:
        """A connector that is stopped while messages come loses none that it has received: it processes them first."""
        address = f'tcp://127.0.0.1:{free_port()}'
        self.channel('zmq.bound', address, socket_method='bind', nodes=['connector2'])
        peer = self.connected(zmq.PUSH, address)
        for number in range(50):
            peer.send(b'{"text": "%d"}' % number)
        first = [self.results.recv() for _ in range(10)]
        connector = self.connectors[1]
        self.assertEqual(connector.stop(), 0)
        connector.start()
        rest = [self.results.recv() for _ in range(40)]
        self.assertEqual(sorted(int(json.loads(each)['text']) for each in first + rest), list(range(50)))

    def test_guaranteed(self) -> None:
        """With guaranteed delivery a message is kept while the peer is away, and sent when the peer is there."""
        address = f'tcp://127.0.0.1:{free_port()}'
        self.configure(outgoing_zmq=[{'name': 'zmq.stored', 'address': address, 'delivery': 'guaranteed',
                                      'timeout': 1}])  # fmt: skip
        answer = self.broker.invoke('zmq.store', b'"kept"')
        self.assertEqual(answer.status, 200, answer.body)
        peer = self.context.socket(zmq.PULL)
        peer.linger, peer.rcvtimeo = 0, PATIENCE
        peer.bind(address)
        self.assertEqual(peer.recv(), b'kept')

    def test_frozen_peer(self) -> None:
        """While a peer is frozen and sends wait, the server answers others; the sends end typed at their timeout."""
        address = f'tcp://127.0.0.1:{free_port()}'
        peer = PeerProcess('REP', address)
        self.addCleanup(peer.kill)
        self.configure(outgoing_zmq=[{'name': 'zmq.asking', 'address': address, 'socket_type': 'REQ', 'timeout': 1}])
        answer = self.broker.invoke('zmq.ask', b'"x"')
        self.assertEqual((answer.status, answer.body.strip(b'"')), (200, b'OK'))
        os.kill(peer.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        answer = self.broker.invoke('zmq.ask', b'"x"')
        self.assertEqual(answer.status, 504)
        self.assertIn('Outgoing connection zmq.asking (zmq) gave no reply within 1 s', answer.body.decode())
        self.assertLess(time.monotonic() - began, allowed(1.1 + 1))
        self.assertIn('zmq.asking (zmq): its last call failed', self.broker.run('doctor', str(self.broker.path)).text)
        os.kill(peer.process.pid, signal.SIGCONT)
        self.assertEqual(self.broker.invoke('zmq.ask', b'"x"').status, 200)

    def api(self, service: str, fields: dict[str, Any]) -> Any:
        """What a zato.* service answers."""
        answer = self.broker.invoke(service, json.dumps(fields).encode())
        self.assertEqual(answer.status, 200, answer.body)
        document = json.loads(answer.body)
        return next(value for key, value in document.items() if key != 'zato_env')

    def keys(self) -> tuple[str, str]:
        """A pair of keys by the command."""
        words = self.broker.must('crypto', 'zmq-key').split()
        return words[1], words[3]
