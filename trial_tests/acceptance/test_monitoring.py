"""What a running server shows of itself: metrics under many scrapes, levels and forms of its logs, who stalls it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.rawhttp import Answer
from trial_tests.support.served import one_server
from trial_tests.support.waiting import until

CONTRIB = Path(__file__).resolve().parents[2] / 'contrib'
SERVICES = '''
    import logging
    import time

    from zatotx import BadRequest, Service

    def nap():
        time.sleep(0.3)  # the line that stalls: 8

    class Chatty(Service):
        name = 'sight.chatty'

        async def handle(self):
            self.logger.debug('a fine point')
            self.logger.info('paid', extra={'amount': 3})
            self.metrics.incr('sight.paid', 3)
            logging.getLogger('some.library').warning('from below')
            self.response.payload = {'ok': True}

    class Stalls(Service):
        name = 'sight.stalls'

        async def handle(self):
            nap()
            self.response.payload = {'ok': True}

    class Outer(Service):
        name = 'sight.outer'

        async def handle(self):
            self.response.payload = await self.invoke('sight.stalls', {})

    class HoldsTheLock(Service):
        name = 'sight.holds'

        def handle(self):
            self.metrics.timing('sight.summed', 0.7)
            self.response.payload = {'sum': sum(range(30_000_000))}  # 36

    class Refuses(Service):
        name = 'sight.refuses'

        async def handle(self):
            raise BadRequest(self.cid, 'no')
'''
CHANNELS = '''
    channel_rest:
      - {name: "sight\\"1\\"", url_path: "/sight/chatty", service: sight.chatty}
      - {name: sight.refuses, url_path: "/sight/refuses", service: sight.refuses}
'''


def extend(broker: Broker) -> None:
    broker.serve('sight.py', SERVICES)
    broker.configure(CHANNELS)


class Sighted(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = one_server().extend('sight', extend)

    def text(self) -> str:
        answer = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin())
        self.assertEqual(answer.status, 200)
        return answer.body.decode()

    def metrics(self, name: str = '') -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """The figures, or only those of that name: parsing all of them takes a tenth of a second."""
        lines = [line for line in self.text().splitlines(keepends=True) if line.startswith(name)]
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(''.join(lines))
            for sample in family.samples
        }

    def metric(self, name: str, /, **labels: str) -> float:
        return self.metrics(name)[name, frozenset(labels.items())]

    def together(self, *acts: Callable[[], None]) -> None:
        threads = [threading.Thread(target=act) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class MetricsTests(Sighted):
    def test_conventions(self) -> None:
        """Prometheus' own parser reads it; each family has its help and type and stands there once."""
        text = self.text()
        families = list(text_string_to_metric_families(text))
        names = [family.name for family in families]
        self.assertEqual(len(names), len(set(names)))
        for family in families:
            self.assertTrue(family.documentation, family.name)
            self.assertIn(family.type, ('counter', 'gauge', 'histogram'), family.name)
            self.assertRegex(family.name, '^(zatotx|process)_')
        self.assertEqual(self.metric('zatotx_metrics_failed'), 0)

    def test_parts(self) -> None:
        """Whatever a server consists of has its figures there."""
        found = self.metrics()
        none: frozenset[tuple[str, str]] = frozenset()
        self.assertEqual((found['zatotx_redis_up', none], found['zatotx_odb_up', none]), (1, 1))
        self.assertGreaterEqual(found['zatotx_redis_connections_total', none], 1)
        for name in ('zatotx_redis_calls_total', 'zatotx_odb_calls_total', 'zatotx_odb_duration_seconds_count',
                     'zatotx_reactor_stall_seconds_count', 'zatotx_workers',
                     'process_resident_memory_bytes', 'process_cpu_seconds_total'):  # fmt: skip
            self.assertGreater(found[name, none], 0, name)
        self.assertIn(('zatotx_gc_pause_seconds_count', none), found)
        until(lambda: self.metric('zatotx_config_revision') == self.metric('zatotx_odb_revision'), 'one revision')
        (labels,) = [dict(labels) for name, labels in found if name == 'zatotx_build_info']
        self.assertEqual((labels['node'], set(labels)), ('server1', {'version', 'python', 'node', 'cluster'}))

    def test_channels_and_errors(self) -> None:
        """A channel's requests and answers, and a service's errors by kind, are exact once the answers are out."""
        channel, refusing = ({'kind': 'http-soap', 'channel': name} for name in ('sight"1"', 'sight.refuses'))
        before = self.metrics()

        def more(name: str, /, **labels: str) -> float:
            key = name, frozenset(labels.items())
            return self.metrics(name)[key] - before.get(key, 0)

        for _ in range(5):
            self.assertEqual(self.broker.ask('POST', '/sight/chatty').status, 200)
        for _ in range(3):
            self.assertEqual(self.broker.ask('POST', '/sight/refuses').status, 400)
        until(lambda: more('zatotx_channel_answers_total', **refusing, status='4xx') == 3, 'three refusals')
        self.assertEqual(more('zatotx_channel_requests_total', **channel), 5)
        self.assertEqual(more('zatotx_channel_answers_total', **channel, status='2xx'), 5)
        self.assertEqual(more('zatotx_channel_duration_seconds_count', **channel), 5)
        self.assertEqual(self.metric('zatotx_channel_in_flight', **channel), 0)
        self.assertEqual(more('zatotx_service_errors_by_kind_total', service='sight.refuses', kind='BadRequest'), 3)

    def test_user_metrics(self) -> None:
        """`self.metrics` of a service, on the reactor or in a thread, is in the same text."""
        self.broker.ask('POST', '/sight/chatty')
        self.assertGreaterEqual(self.metric('zatotx_user_counter_total', name='sight.paid'), 3)
        self.broker.invoke('sight.holds')
        self.assertGreaterEqual(self.metric('zatotx_user_timing_seconds_count', name='sight.summed'), 1)

    def test_deleted_channels_vanish(self) -> None:
        """The figures of a channel that is deleted are gone; those of the others stay."""
        created = self.broker.invoke('zato.http-soap.create', json.dumps({
            'cluster_id': 1, 'name': 'sight.short', 'url_path': '/sight/short', 'service': 'sight.chatty',
            'connection': 'channel', 'transport': 'plain_http', 'is_active': True, 'is_internal': False,
        }).encode()).json()['zato_http_soap_create_response']  # fmt: skip
        labels = frozenset({('kind', 'http-soap'), ('channel', 'sight.short')})
        until(lambda: ('zatotx_channel_requests_total', labels) in self.metrics('zatotx_channel_'), 'its figures')
        self.broker.invoke('zato.http-soap.delete', json.dumps({'cluster_id': 1, 'id': created['id']}).encode())
        until(lambda: ('zatotx_channel_requests_total', labels) not in self.metrics('zatotx_channel_'), 'their end')
        self.metric('zatotx_channel_requests_total', kind='http-soap', channel='sight.refuses')

    def test_scraped_fifty_at_once(self) -> None:
        """Fifty scrapes at once are all answered in full, and others are served meanwhile."""
        texts: list[Answer] = []
        pings: list[tuple[int, float]] = []
        done = threading.Event()

        def scrape() -> None:
            texts.append(self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()))

        def ping() -> None:
            while not done.is_set():
                began = time.monotonic()
                status = self.broker.ask('GET', '/zato/ping').status
                pings.append((status, time.monotonic() - began))

        pinging = threading.Thread(target=ping)
        pinging.start()
        self.together(*[scrape] * 50)
        done.set()
        pinging.join()
        self.assertEqual([answer.status for answer in texts], [200] * 50)
        for answer in texts:
            self.assertIn(b'\nzatotx_service_calls_total{service="zato.ping"} ', answer.body)
        self.assertEqual({status for status, _ in pings}, {200})
        self.assertLess(max(seconds for _, seconds in pings), 30)


class ContribTests(Sighted):
    """contrib/: what operators copy."""

    def promtool(self, *args: str, text: str = '') -> None:
        done = subprocess.run(['promtool', *args], input=text, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr.strip()), (0, ''), done.stdout)

    def dashboard(self) -> list[str]:
        """The expressions of its panels."""
        panels = json.loads((CONTRIB / 'grafana-dashboard.json').read_text())['panels']
        self.assertEqual(len({panel['id'] for panel in panels}), len(panels))
        return [target['expr'] for panel in panels for target in panel.get('targets', ())]

    def alerts(self) -> list[str]:
        groups = yaml.safe_load((CONTRIB / 'zatotx-alerts.yml').read_text())['groups']
        return [rule['expr'] for group in groups for rule in group['rules']]

    def test_the_text(self) -> None:
        """Prometheus' own linter finds nothing to say of a scrape."""
        text = self.text()
        ours = [line for line in text.splitlines(True) if 'process_' not in line]  # those are named by the library
        self.promtool('check', 'metrics', text=''.join(ours))

    def test_only_metrics_that_exist(self) -> None:
        """Every metric that the dashboard and the alerts ask for is in the scrape of a real server."""
        self.broker.ask('POST', '/sight/refuses')  # kinds of errors are there once there were errors
        exist = {name for name, _ in self.metrics()} | {'zatotx_certificate_expiry_timestamp_seconds'}  # of TLS alone
        asked = set(re.findall(r'(?:zatotx|process)_\w+', ' '.join((*self.dashboard(), *self.alerts()))))
        self.assertGreater(len(asked), 25)
        self.assertEqual(asked - exist, set())

    def test_expressions(self) -> None:
        """Prometheus understands every expression of the dashboard, the alerts, and the example of a configuration."""
        variables = {'$__rate_interval': '5m', '$job': '.*', '$instance': '.*', '$service': '.*'}
        rules = []
        for number, expr in enumerate(self.dashboard()):
            for name, value in variables.items():
                expr = expr.replace(name, value)
            rules.append({'record': f'panel:{number}', 'expr': expr})
        file = Path(self.mktemp())
        file.write_text(yaml.safe_dump({'groups': [{'name': 'panels', 'rules': rules}]}))
        self.promtool('check', 'rules', str(file))
        self.promtool('check', 'rules', str(CONTRIB / 'zatotx-alerts.yml'))
        self.promtool('check', 'config', '--syntax-only', str(CONTRIB / 'prometheus.yml'))

    def test_how_it_is_scraped(self) -> None:
        """The example asks for what a server answers: the path, and Basic auth as the administrator."""
        (job,) = yaml.safe_load((CONTRIB / 'prometheus.yml').read_text())['scrape_configs']
        self.assertEqual((job['metrics_path'], job['basic_auth']['username']), ('/zato/metrics', 'admin.invoke'))
        self.assertEqual(self.broker.ask('GET', job['metrics_path']).status, 401)


class LogTests(Sighted):
    def test_levels_while_it_runs(self) -> None:
        """`zatotx log level` is heard without a restart: a service's debug lines come and go, with its name and the
        cid, and what a library says that it uses has them too."""
        broker, path = self.broker, str(self.broker.path)

        def chat(cid: str) -> None:
            self.assertEqual(broker.ask('POST', '/sight/chatty', fields={'X-Zato-CID': cid}).status, 200)
            broker.logged(f'WARNING - sight.chatty:{cid} (some.library) - from below')

        chat('levels-before')
        broker.must('log', 'level', path, 'debug', '--of', 'sight')
        found = json.loads(broker.must('log', 'levels', path, '--format', 'json'))
        self.assertEqual((found['sight'], found['']), ('debug', 'info'))
        chat('levels-within')
        broker.must('log', 'level', path, '', '--of', 'sight')
        self.assertNotIn('sight', broker.must('log', 'levels', path))
        chat('levels-after')
        fine = re.findall(r'DEBUG - sight\.chatty:(\S+) - a fine point', broker.log(name='server.log'))
        self.assertEqual(fine, ['levels-within'])
        broker.logged("set the level of 'sight' to 'debug'", 'zato.logging.set-level:')

    def test_wrong_level(self) -> None:
        """A level that does not exist is refused in one sentence that names those there are."""
        said = self.broker.run('log', 'level', str(self.broker.path), 'loud')
        self.assertEqual(said.code, 1)
        self.assertIn("'loud' is not one of trace1, debug, info, warning, error, critical", said.err)


class WatchdogTests(Sighted):
    def stalled(self, service: str) -> str:
        answer = self.broker.invoke(service)
        self.assertEqual(answer.status, 200)
        return answer.field('x-zato-cid')

    def test_the_culprit(self) -> None:
        """Of nested services the one that stalls is named, with its file and line, in the log and by the server's
        findings, which `zatotx doctor` shows."""
        self.stalled('sight.outer')
        line = self.broker.logged("service 'sight.stalls' h", ' the reactor for ', 'sight.py:8:')
        self.assertNotIn('sight.outer', line)
        found = self.broker.invoke('zato.health.findings').body.decode()
        self.assertIn("service 'sight.stalls' held the reactor", found)
        self.assertIn('sight.py:8', found)
        for what in ('sight.outer', 'sight.chatty'):
            self.assertNotIn(what, found)
        said = self.broker.run('doctor', str(self.broker.path))
        self.assertIn("service 'sight.stalls' held the reactor", said.text)

    def test_a_thread_that_keeps_the_lock(self) -> None:
        """A `def` service that keeps the interpreter's lock stops everything, though it runs in a thread: it is
        named, if not each time: it may have gone on before anybody could look."""

        def named() -> str:
            self.stalled('sight.holds')
            line = r"service 'sight\.holds' held the reactor .* at sight\.py:38"
            return 'named' if re.search(line, self.broker.log()) else ''

        until(named, 'the service that keeps the lock')



LOGS = ('server.log', 'admin.log', 'http_access.log')


def build_workers() -> Broker:
    broker = create()
    broker.set('main', workers=2)
    broker.set('log', form='json')
    broker.start()
    broker.serve('sight.py', SERVICES)
    broker.configure(CHANNELS)
    return broker


class WorkersTests(SynchronousTestCase):
    """A server with two worker processes, which writes JSON."""

    def setUp(self) -> None:
        self.broker = shared('sight-workers', build_workers)

    def objects(self, name: str) -> list[dict[str, Any]]:
        file = self.broker.directory() / 'logs' / name
        return [json.loads(line) for line in file.read_text('utf-8').splitlines()] if file.exists() else []

    def until_said(self, name: str, cid: str, level: str = '') -> dict[str, Any]:
        """The line of that request, and of that level if there is one."""

        def found() -> dict[str, Any]:
            said = (each for each in self.objects(name) if each.get('cid') == cid)
            return next((each for each in said if level in ('', each.get('level'))), {})

        return until(found, f'{level} of {cid} in {name}')

    def chat(self, *cids: str) -> None:
        """A request on a connection of its own for each cid: both workers get some."""
        for cid in cids:
            answer = self.broker.ask('POST', '/sight/chatty?api_key=hidden', fields={'X-Zato-CID': cid})
            self.assertEqual(answer.status, 200)

    def test_every_line_is_an_object(self) -> None:
        """Each line of each log, of both workers, is one object; those about a request carry its cid and service, a
        library's too, and a service's extras are fields."""
        cids = [f'json-line-{number}' for number in range(20)]
        for name in LOGS:
            (self.broker.directory() / 'logs' / name).unlink(missing_ok=True)
        self.chat(*cids)
        for cid in cids:
            access = self.until_said('http_access.log', cid)
            self.assertEqual((access['status'], access['path'], access['channel']),
                             (200, '/sight/chatty?api_key=***', r'sight\x221\x22'))
            said = [each for each in self.objects('server.log') if each.get('cid') == cid]
            self.assertEqual([(each['logger'], each['service'], each['message']) for each in said],
                             [('sight.chatty', 'sight.chatty', 'paid'), ('some.library', 'sight.chatty', 'from below')])
            self.assertEqual(said[0]['amount'], 3)
        for name in LOGS:
            for each in self.objects(name):
                self.assertIn('ts', each)

    def test_one_server_to_whoever_asks(self) -> None:
        """Whichever worker is asked, the figures are those of both, and so are the levels that were set."""
        def calls() -> float:
            answer = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin())
            self.assertEqual(answer.status, 200, answer.body)
            start = 'zatotx_service_calls_total{service="sight.chatty"} '
            lines = [line for line in answer.body.decode().splitlines() if line.startswith(start)]
            self.assertEqual(len(lines), 1)
            return float(lines[0].removeprefix(start))

        before = calls()
        self.chat(*[f'count-them-{number}' for number in range(30)])
        until(lambda: {calls() - before for _ in range(10)} == {30}, 'the sum of both, whoever is asked')
        self.broker.must('log', 'level', str(self.broker.path), 'debug', '--of', 'sight')
        cids = [f'debug-line-{number}' for number in range(20)]
        until(lambda: self.levels() == {'debug'}, 'both workers know')
        self.chat(*cids)
        for cid in cids:
            self.until_said('server.log', cid, 'DEBUG')
        self.broker.must('log', 'level', str(self.broker.path), '', '--of', 'sight')

    def levels(self) -> set[str]:
        """What several answers say of the level of sight: both workers are among them."""
        answers = [self.broker.invoke('zato.logging.get-levels').json() for _ in range(12)]
        rows = [answer['zato_logging_get_levels_response'] for answer in answers]
        return {next((row['level'] for row in each if row['name'] == 'sight'), '') for each in rows}

    def test_sighup(self) -> None:
        """A server that gets SIGHUP takes over the levels and the form of server.toml in all its workers, and goes on
        in new files where its own were moved away."""
        broker = self.broker
        logs = broker.directory() / 'logs'
        broker.set('log', form='text', level='warning')
        (logs / 'server.log').rename(logs / 'server.log.moved')
        self.hang_up()
        self.addCleanup(self.as_before)

        def taken_over() -> bool:
            cids = [f'sighup-{time.monotonic_ns()}-{number}' for number in range(12)]
            self.chat(*cids)
            lines = [line for line in broker.log(name='server.log').splitlines() if any(cid in line for cid in cids)]
            return len(lines) == 12 and all(' - WARNING - sight.chatty:' in line for line in lines)

        until(taken_over, 'twelve lines in the other form')

    def hang_up(self) -> None:
        os.kill(int((self.broker.directory() / 'server.pid').read_text()), signal.SIGHUP)

    def as_before(self) -> None:
        """JSON again in both workers, and nothing of the other form in the files that other tests read."""
        self.broker.set('log', form='json', level='info')
        self.hang_up()

        def both() -> bool:
            before = len(self.broker.log(name='http_access.log').splitlines())
            self.chat(*[f'as-before-{number}' for number in range(12)])
            lines = self.broker.log(name='http_access.log').splitlines()[before:]
            return len(lines) == 12 and all(line.startswith('{') for line in lines)

        until(both, 'JSON again')
        for name in ('server.log', 'http_access.log'):
            (self.broker.directory() / 'logs' / name).unlink()

    def test_the_culprit_in_a_worker(self) -> None:
        """Each worker has its own watchdog: a service that stalls one of them is named."""
        self.broker.invoke('sight.outer')
        self.broker.logged("service 'sight.stalls' h", ' the reactor for ', 'sight.py:8:')

