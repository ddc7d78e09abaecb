"""Rate limits on running servers: exact across two of them, live, and with Redis frozen or away."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.crewed import crewed
from trial_tests.support.rawhttp import Answer, basic, connected, request_bytes
from trial_tests.support.served import two_servers
from trial_tests.support.waiting import until

SERVICE = '''
from zatotx import Service


class Echo(Service):
    name = 'rates.echo'

    async def handle(self):
        self.response.payload = {'served': True}


class Text(Service):
    name = 'rates.text'

    async def handle(self):
        self.response.payload = '<served/>'
'''
ENVELOPE = b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><text/></e:Body></e:Envelope>'
USERS = {'anna': 'anna pass', 'bert': 'bert pass'}
CHANNELS = """
security:
  - {name: anna, type: basic_auth, username: anna, password: anna pass}
  - {name: bert, type: basic_auth, username: bert, password: bert pass}
groups:
  - {name: both, members: [anna, bert]}
rate_limit:
  - {name: exact, limit: 40/1d}
  - {name: quick, limit: 2/4s}
  - {name: caller, limit: 3/1d, per: principal}
  - {name: address, limit: 3/1d, per: address}
  - {name: guesses, limit: 2/1d, per: address, exact: false}
  - {name: once, limit: 1/1d}
  - {name: changing, limit: 2/1d}
  - {name: local, limit: 3/1d}
  - {name: open, limit: 3/1d, when_redis_is_away: open}
  - {name: closed, limit: 3/1d, when_redis_is_away: closed}
channel_rest:
  - {name: r.exact, url_path: /r/exact, service: rates.echo, data_format: json, rate_limits: [exact]}
  - {name: r.quick, url_path: /r/quick, service: rates.echo, data_format: json, rate_limits: [quick]}
  - {name: r.caller, url_path: /r/caller, service: rates.echo, groups: [both], rate_limits: [caller]}
  - {name: r.caller2, url_path: /r/caller2, service: rates.echo, groups: [both], rate_limits: [caller]}
  - {name: r.address, url_path: /r/address, service: rates.echo, rate_limits: [address]}
  - {name: r.guesses, url_path: /r/guesses, service: rates.echo, security: anna, rate_limits: [guesses]}
  - {name: r.json, url_path: /r/json, service: rates.echo, data_format: json, rate_limits: [once]}
  - {name: r.xml, url_path: /r/xml, service: rates.text, data_format: xml, rate_limits: [once]}
  - {name: r.changing, url_path: /r/changing, service: rates.echo, rate_limits: [changing]}
  - {name: r.local, url_path: /r/local, service: rates.echo, rate_limits: [local]}
  - {name: r.open, url_path: /r/open, service: rates.echo, rate_limits: [open]}
  - {name: r.closed, url_path: /r/closed, service: rates.echo, rate_limits: [closed]}
channel_soap:
  - {name: r.soap, url_path: /r/soap, soap_action: text, service: rates.text, rate_limits: [once]}
"""


def extend(broker: Broker) -> None:
    """Add a channel for each test."""
    broker.serve('rates.py', SERVICE)
    broker.configure(CHANNELS)


class ServersCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = two_servers().extend('rates', extend)

    def ask(self, path: str, *, server: int = 1, source: str = '', user: str = '', password: str = '', **more: Any
            ) -> Answer:
        """One request on a connection of its own."""
        fields = {**(basic(user, password or USERS[user]) if user else {}), **more}
        with connected(self.broker.port(server), source=source) as connection:
            connection.send(request_bytes('GET', path, fields))
            return connection.answer()

    def statuses(self, count: int, path: str, **options: Any) -> list[int]:
        return [self.ask(path, **options).status for _ in range(count)]


def at_once(count: int, ask: Callable[[int], int]) -> Counter[int]:
    """So many requests by sixteen clients: how often each status came."""
    with ThreadPoolExecutor(16) as clients:
        return Counter(clients.map(ask, range(count)))


class ExactTests(ServersCase):
    def test_two_servers_share_a_limit(self) -> None:
        """Of 160 requests that hit both at once just as many are served as may be, not one more or less; each answer
        says how it stands."""
        found = at_once(160, lambda number: self.ask('/r/exact', server=1 + number % 2).status)
        self.assertEqual(found, Counter({200: 40, 429: 120}))
        for server in (1, 2):
            answer = self.ask('/r/exact', server=server)
            self.assertEqual(answer.field('ratelimit-policy'), '"exact";q=40;w=86400')
            self.assertRegex(answer.field('ratelimit'), r'^"exact";r=0;t=\d+$')
            self.assertEqual([answer.field(f'ratelimit-{name}') for name in ('limit', 'remaining')], ['40', '0'])
            self.assertTrue(1000 < int(answer.field('retry-after')) <= 2160, answer.field('retry-after'))

    def test_coming_back_when_told(self) -> None:
        """Is what Retry-After promises."""
        self.assertEqual(self.ask('/r/quick').status, 200)
        refused = until(lambda: (answer := self.ask('/r/quick')).status == 429 and answer, 'a refusal')
        assert refused
        self.assertIn(refused.field('retry-after'), ('1', '2'))
        until(lambda: self.ask('/r/quick', server=2).status == 200, 'room for one more')

    def test_the_shape_of_a_refusal(self) -> None:
        """In the format of the channel, with its cid."""
        for path in ('/r/json', '/r/xml'):
            self.assertEqual(self.ask(path).status, 200)
        refused = self.ask('/r/json')
        self.assertEqual((refused.status, refused.field('content-type')), (429, 'application/json'))
        env = refused.json()['zato_env']
        self.assertEqual((env['result'], env['cid']), ('ZATO_ERROR', refused.field('x-zato-cid')))
        self.assertIn('rate limit once', env['details'])
        refused = self.ask('/r/xml')
        self.assertEqual((refused.status, refused.field('content-type')), (429, 'application/xml'))
        self.assertIn(f'<cid>{refused.field("x-zato-cid")}</cid>'.encode(), refused.body)
        self.assertIn(b'<details>Too many requests: rate limit once', refused.body)
        fields = {'SOAPAction': '"text"', 'Content-Type': 'text/xml'}
        served, refused = (self.broker.ask('POST', '/r/soap', fields=fields, body=ENVELOPE) for _ in range(2))
        self.assertEqual((served.status, refused.status, served.field('ratelimit-remaining')), (200, 429, '0'))
        self.assertIn(b'<faultstring>Too many requests: rate limit once', refused.body)
        self.assertTrue(refused.field('retry-after'))


class SubjectTests(ServersCase):
    def test_two_users(self) -> None:
        """Have three requests each, on both servers and both channels together."""
        self.assertEqual(self.statuses(2, '/r/caller', user='anna'), [200, 200])
        self.assertEqual(self.statuses(2, '/r/caller2', user='anna', server=2), [200, 429])
        self.assertEqual(self.statuses(4, '/r/caller', user='bert', server=2), [200, 200, 200, 429])
        self.assertEqual(self.ask('/r/caller').status, 401)

    def test_two_addresses(self) -> None:
        """Likewise."""
        self.assertEqual(self.statuses(4, '/r/address'), [200, 200, 200, 429])
        self.assertEqual(self.statuses(4, '/r/address', source='127.0.0.2', server=2), [200, 200, 200, 429])

    def test_who_guesses(self) -> None:
        """Is soon told nothing any more, right or wrong; others are served."""
        wrong = self.statuses(3, '/r/guesses', user='anna', password='wrong')
        self.assertEqual(wrong, [401, 401, 429])
        self.assertEqual(self.ask('/r/guesses', user='anna').status, 429)
        self.assertEqual(self.ask('/r/guesses', user='anna', source='127.0.0.2').status, 200)


class ChangeTests(ServersCase):
    def test_live(self) -> None:
        """A limit that is raised holds on both servers when the import returns; one that is in use cannot go; refusals
        are counted."""
        self.assertEqual(self.statuses(3, '/r/changing'), [200, 200, 429])
        self.broker.configure('rate_limit: [{name: changing, limit: 4/1d}]')
        self.assertEqual(self.statuses(2, '/r/changing') + self.statuses(3, '/r/changing', server=2),
                         [200, 200, 200, 200, 429])  # fmt: skip
        refused = self.broker.invoke('zato.rate-limit.delete', b'{"name": "changing"}')
        self.assertEqual(refused.status, 409)
        self.assertIn("used by REST channel 'r.changing'", refused.details.replace('channel_rest', 'REST channel'))
        metrics = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        self.assertIn('zatotx_channel_rate_limited_total{channel="r.changing",kind="http-soap"} 1.0', metrics)

    def test_exported(self) -> None:
        """And imported again without a difference."""
        document = self.broker.must('enmasse', str(self.broker.path), '--export')
        found = yaml.safe_load(document)
        self.assertIn({'name': 'once', 'limit': '1/1d'}, found['rate_limit'])
        self.assertIn(['both'], [channel.get('groups') for channel in found['channel_rest']])
        found['security'] = [user for user in found['security'] if user['name'] in USERS]
        file = self.broker.write('exported.yaml', yaml.safe_dump(found))
        passwords = {f'ZATOTX_{user.upper()}_PASSWORD': password for user, password in USERS.items()}
        said = self.broker.run('enmasse', str(self.broker.path), '--import', '--input', str(file), '--dry-run',
                               '--replace', env=passwords)  # fmt: skip
        self.assertEqual(said.code, 0, said.text)
        self.assertNotIn('rate_limit', said.out)

    def test_mistakes(self) -> None:
        """All at once, by section, object and field."""
        said = self.broker.imported("""
            rate_limit:
              - {name: wrong, limit: 10, burst: 0, per: user}
            channel_rest:
              - {name: c, url_path: /c, service: rates.echo, rate_limits: [nothing, nothing]}
        """)
        self.assertEqual(said.code, 1)
        for place in ("rate_limit 'wrong': limit", 'burst', 'per: must be one of', 'rate_limits'):
            self.assertIn(place, said.text)


class RedisCase(ServersCase):
    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Redis says nothing."""
        (pid,) = [pid for pid in self.broker.pids('redis')
                  if 'valkey-server' in Path(f'/proc/{pid}/cmdline').read_text()]  # fmt: skip
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def until_exact(self) -> None:
        """Redis counts again, on both servers: it is what closed channels wait for."""
        for server in (1, 2):
            until(lambda server=server: self.ask('/r/closed', server=server).status != 503, 'Redis')  # type: ignore[misc]


class FrozenTests(RedisCase):
    def test_frozen(self) -> None:
        """Each limit by its own setting, the first request of each within moments: counted on each server alone, not at
        all, or nobody is let in. When Redis goes on, so do the limits."""
        with self.frozen():
            self.assertEqual(self.statuses(4, '/r/local'), [200, 200, 200, 429])
            self.assertEqual(self.statuses(4, '/r/local', server=2), [200, 200, 200, 429])
            self.assertEqual(self.statuses(5, '/r/open'), [200] * 5)
            refused = self.ask('/r/closed')
            self.assertEqual((refused.status, refused.field('retry-after')), (503, '1'))
            self.assertIn('rate limits of channel r.closed cannot be checked', refused.details)
        self.until_exact()
        # Two requests reached Redis, one of each server, and are counted by it in the end.
        self.assertEqual(self.statuses(2, '/r/local'), [200, 429])


class AwayTests(RedisCase):
    def test_away(self) -> None:
        """The same where Redis is stopped; findings say which limits hold less, and nothing once it is back."""
        redis = str(self.broker.path / 'redis')
        self.broker.must('stop', redis)
        try:
            until(lambda: self.ask('/r/closed').status == 503, 'the loss')
            self.assertEqual(self.statuses(5, '/r/open', server=2), [200] * 5)
            found = self.findings()
            for words in ('are counted per server', 'are not enforced (open)', 'reject all requests'):
                self.assertEqual(len([one for one in found if words in one]), 1, (words, found))
        finally:
            self.broker.must('start', redis)
            self.broker.until_recovered(1, 2)
        self.until_exact()
        self.assertEqual([one for one in self.findings() if 'rate limit' in one], [])

    def findings(self) -> list[str]:
        answer = self.broker.invoke('zato.health.findings').json()
        (found,) = [value['findings'] for name, value in answer.items() if name != 'zato_env']
        return [str(one) for one in found]


class WorkersTests(SynchronousTestCase):
    def test_workers_share_local_limits(self) -> None:
        """A limit that is not exact holds for both workers of a server together, whichever of them takes a request."""
        broker = crewed()
        broker.configure("""
            rate_limit: [{name: w.own, limit: 30/1d, exact: false}]
            channel_rest:
              - {name: w.limited, url_path: /w/limited, service: w.who, data_format: json, rate_limits: [w.own]}
        """)
        served: set[int] = set()

        def ask(number: int) -> int:
            answer = broker.ask('GET', '/w/limited')
            if answer.status == 200:
                served.add(answer.json()['pid'])
            return answer.status

        self.assertEqual(at_once(120, ask), Counter({200: 30, 429: 90}))
        self.assertTrue(served)
