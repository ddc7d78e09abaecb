"""A real server with two workers: spread, deaths, replacement, signals, what is shared, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, Timer

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import SCRIPTS, Broker
from trial_tests.support.certificate import write_certificate
from trial_tests.support.clients import loaded, statuses
from trial_tests.support.crewed import (
    PATIENCE,
    alive,
    asked,
    crewed,
    go,
    hang,
    may_kill,
    parent,
    replaced,
    roster,
    seen_certificate,
    services,
    stopped_or_running,
    workers,
)
from trial_tests.support.rawhttp import Connection, NoAnswer, request_bytes
from trial_tests.support.waiting import until

WHO = request_bytes('GET', '/w/who')


class ServingTests(SynchronousTestCase):
    """While it serves."""

    def setUp(self) -> None:
        self.broker = crewed()
        self.port = self.broker.port()

    def test_what_is_there(self) -> None:
        """One parent, two workers, each with the server's directory in its command line; status and info name them; to
        the cluster it is one server."""
        self.assertEqual(sorted(self.broker.pids()), sorted([parent(self.broker), *workers(self.broker)]))
        status = json.loads(self.broker.must('status', str(self.broker.path), '--format', 'json'))
        (server,) = (part for part in status['components'] if part['name'] == 'server1')
        self.assertEqual((server['state'], server['pid']), ('running', parent(self.broker)))
        self.assertEqual([one['pid'] for one in server['workers']], workers(self.broker))
        self.assertIn('Workers of server1: ', self.broker.must('info', str(self.broker.path)))
        (rows,) = (rows for key, rows in self.broker.invoke('zato.server.get-list').json().items() if key != 'zato_env')
        self.assertEqual([row['name'] for row in rows], ['server1'])

    def test_both_serve(self) -> None:
        """Connections of many clients, kept and fresh, are spread over both workers."""
        fresh = Counter(asked(self.port)['pid'] for _ in range(60))
        self.assertEqual(sorted(fresh), sorted(workers(self.broker)))
        kept = [Connection(self.port) for _ in range(40)]
        for connection in kept:
            connection.send(WHO)
        spread = Counter(connection.answer().json()['pid'] for connection in kept)
        for connection in kept:
            connection.drop()
        self.assertGreater(min(spread[pid] for pid in workers(self.broker)), 4)

    def test_deployments_are_in_both(self) -> None:
        """When hot-deploy, enmasse or rollback returns, the next request has it, whichever worker takes it."""
        def versions() -> set[object]:
            return {asked(self.port)['version'] for _ in range(30)}

        self.broker.serve('w_services.py', services(self.broker, 2))
        self.assertEqual(versions(), {2})
        self.broker.must('service', 'rollback', str(self.broker.path), 'w.who')
        self.assertEqual(versions(), {1})
        self.broker.configure("""
            channel_rest:
              - {name: w.fresh, url_path: /w/fresh, service: w.who, security: null, data_format: json}
        """)
        served: set[object] = set()

        def both_served() -> bool:
            served.add(asked(self.port, '/w/fresh')['pid'])
            return len(served) == 2

        until(both_served, 'both workers', PATIENCE)

    def test_metrics_are_of_both(self) -> None:
        """Any worker gives the sums, exact at once; a worker that is killed takes nothing back that was shown."""
        may_kill(self.broker, 1)
        before = self.calls()
        for _ in range(25):
            asked(self.port)
        self.assertEqual({self.calls() for _ in range(8)}, {before + 25})
        gone = workers(self.broker)[0]
        os.kill(gone, signal.SIGKILL)
        self.assertEqual(self.calls(), before + 25)
        replaced(self.broker, gone)
        asked(self.port)
        self.assertEqual({self.calls() for _ in range(8)}, {before + 26})

    def calls(self) -> int:
        """Of w.who, as Prometheus is told."""
        answer = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin())
        self.assertEqual(answer.status, 200)
        found = re.search(r'^zatotx_service_calls_total\{service="w\.who"\} (\S+)', answer.body.decode(), re.M)
        return int(float(found[1])) if found else 0

    def test_limits_are_of_both(self) -> None:
        """A channel takes three at once, whichever workers they are on; the places of a killed worker are free
        again."""
        may_kill(self.broker, 2)
        inside = [Connection(self.port, PATIENCE) for _ in range(3)]
        try:
            for connection in inside:
                connection.send(request_bytes('GET', '/w/hangs'))
            until(lambda: in_flight(self.broker, 'w.hangs') == 3, 'three at once', PATIENCE)
            self.assertEqual([self.broker.ask('GET', '/w/hangs').status for _ in range(6)], [503] * 6)
            for pid in workers(self.broker):
                os.kill(pid, signal.SIGKILL)
                replaced(self.broker, pid)
            again = until(lambda: hang(self.broker), 'room', PATIENCE)
            assert again is not None
            inside.append(again)
        finally:
            for connection in inside:
                connection.drop()

    def test_programs_inherit_nothing(self) -> None:
        """A careless program that a service starts has no listening socket and no pipe of ours, in no worker."""
        found = [asked(self.port, '/w/descriptors')['found'] for _ in range(10)]
        strange = [target for targets in found if isinstance(targets, list) for target in targets
                   if 'socket:' in target or 'worker' in target or 'board' in target]
        self.assertEqual(strange, [])
        self.assertTrue(all(isinstance(targets, list) and len(targets) <= 4 for targets in found), found)

    def test_a_worker_is_killed_under_load(self) -> None:
        """Only what it had in hand fails; the others serve on; another one takes its place."""
        may_kill(self.broker, 1)
        gone = workers(self.broker)[0]
        with loaded(self.port, 'GET', '/w/who', clients=6, pause=0.005) as load:
            until(lambda: len(load.seen) > 50, 'load')
            os.kill(gone, signal.SIGKILL)
            replaced(self.broker, gone)
            until(lambda: len(load.seen) > 500, 'more load', PATIENCE)
        failed = [one for one in load.seen if not one.answer or one.answer.status != 200]
        self.assertLessEqual(len(failed), 6, statuses(load.seen))  # no client met it twice
        self.broker.logged(f'process {gone}', 'it was ended by signal 9; starting another one in 0.0 s')

    def test_a_worker_hangs(self) -> None:
        """It is stopped and runs no more: it is killed, nobody calls it ready, and another one serves in its place."""
        hung, other = workers(self.broker)
        os.kill(hung, signal.SIGSTOP)
        self.assertEqual(len(replaced(self.broker, hung)), 2)
        self.assertFalse(alive(hung))
        self.assertIn(other, workers(self.broker))
        self.broker.logged(f'process {hung}) has sent no heartbeat', 'is killed; starting another one in 0.0 s')
        self.assertEqual(asked(self.port)['version'], 1)

    def test_nobody_who_waits_is_lost(self) -> None:
        """Clients that are connected and accepted by nobody wait for the next worker, when all that there were die."""
        may_kill(self.broker, 2)
        frozen = workers(self.broker)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        waiting = [Connection(self.port, PATIENCE) for _ in range(10)]
        for connection in waiting:
            connection.send(WHO)
        for pid in frozen:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual([connection.answer().status for connection in waiting], [200] * 10)
        for connection in waiting:
            connection.drop()
        for pid in frozen:
            replaced(self.broker, pid)

    def test_the_pickup_directory_moves(self) -> None:
        """Who looks after it is killed: a file that is dropped at that moment is deployed by the other one, and what
        was deployed before is not deployed again."""
        may_kill(self.broker, 2)
        pickup = self.broker.directory() / 'pickup' / 'incoming' / 'services'
        source = self.broker.write('w_dropped.py', """
            from zatotx import Service

            class Dropped(Service):
                name = 'w.dropped.NUMBER'

                async def handle(self):
                    self.response.payload = 'here'
        """).read_text()
        (pickup / 'w_dropped.py').write_text(source.replace('NUMBER', '1'))
        self.invoked('w.dropped.1')
        for number in (2, 3):
            gone = int((self.broker.directory() / 'work' / 'duty-pickup.lock').read_text())
            os.kill(gone, signal.SIGKILL)
            (pickup / 'w_dropped.py').write_text(source.replace('NUMBER', str(number)))
            self.invoked(f'w.dropped.{number}')
            replaced(self.broker, gone)
        answer = self.broker.invoke('zato.hot-deploy.get-versions', b'{"name": "w_dropped.py"}').json()
        (versions,) = (rows for key, rows in answer.items() if key != 'zato_env')
        self.assertEqual([version['number'] for version in versions], [3, 2, 1])

    def invoked(self, service: str) -> None:
        """Wait until the service is there."""
        def answers() -> bool:
            try:
                return self.broker.invoke(service).status == 200
            except NoAnswer:  # of the worker that was killed
                return False

        until(answers, service, PATIENCE)

    def test_restart_under_load(self) -> None:
        """All workers are new, the parent and its sockets are not, and no request failed: neither of clients that keep
        their connections, nor of those that come anew, nor one that took its time."""
        before, keeper = workers(self.broker), parent(self.broker)
        slow: list[object] = []
        runner = Thread(target=lambda: slow.append(asked(self.port, '/w/slow')['pid']))
        fresh = Fresh(self.port)
        with loaded(self.port, 'GET', '/w/who', clients=4, pause=0.01) as load:
            fresh.start()
            with under_way(self.broker, [runner]):
                self.broker.must('restart', str(self.broker.directory()))
        runner.join(PATIENCE)
        self.assertEqual(statuses(load.seen).keys(), {'200'})
        self.assertEqual((fresh.stop(), len(slow)), ([], 1))
        self.assertGreater(len(load.seen), 20)
        self.assertEqual(parent(self.broker), keeper)
        self.assertEqual(set(before) & set(workers(self.broker)), set())
        self.assertEqual(len(workers(self.broker)), 2)
        self.assertIn(slow[0], before)

    def test_a_restart_that_cannot_be(self) -> None:
        """Settings that are wrong: the command says so and returns 1, the workers that run go on."""
        file = self.broker.directory() / 'config' / 'server.toml'
        good, before = file.read_text(), workers(self.broker)
        file.write_text(good.replace('[main]', '[main]\nnonsense = 1'))
        try:
            said = self.broker.run('restart', str(self.broker.directory()))
        finally:
            file.write_text(good)
        self.assertEqual(said.code, 1)
        self.assertIn('main.nonsense: no such setting', said.err)
        self.assertIn('the running ones continue', said.err)
        self.assertEqual(workers(self.broker), before)

    def test_reload(self) -> None:
        """SIGHUP to the parent, under load: new certificates for new connections, new levels of the log, in every
        worker; no request fails, no process is another one."""
        before, old = self.broker.pids(), seen_certificate(self.broker)
        with loaded(self.port, 'GET', '/w/who', clients=4, pause=0.01) as load:
            write_certificate(self.broker.directory() / 'config' / 'tls.pem')
            self.broker.set('log', level='debug')
            os.kill(parent(self.broker), signal.SIGHUP)
            until(lambda: all(seen_certificate(self.broker) != old for _ in range(12)), 'the new certificate', PATIENCE)
        self.assertEqual(statuses(load.seen).keys(), {'200'})
        until(lambda: self.broker.log(name='server.log').count('The log settings were reloaded')
              >= 3, 'all three to have read their settings', PATIENCE)  # fmt: skip
        self.assertEqual(self.broker.pids(), before)
        fresh = seen_certificate(self.broker)
        (self.broker.directory() / 'config' / 'tls.pem').write_text('nonsense')
        self.broker.set('log', level='nonsense')
        os.kill(parent(self.broker), signal.SIGHUP)
        self.broker.logged('The certificate of the listener', 'cannot be loaded, the old one stays', within=PATIENCE)
        self.broker.logged('The log settings are unchanged', 'nonsense', within=PATIENCE)
        self.assertEqual({seen_certificate(self.broker) for _ in range(6)}, {fresh})
        write_certificate(self.broker.directory() / 'config' / 'tls.pem')
        self.broker.set('log', level='info')
        os.kill(parent(self.broker), signal.SIGHUP)
        until(lambda: seen_certificate(self.broker) != fresh, 'a good certificate again', PATIENCE)


@contextmanager
def under_way(broker: Broker, runners: list[Thread]) -> Iterator[None]:
    """These threads, each of which asks w.slow: the block begins when all are being served, and they go on two seconds
    after that."""
    go(broker).unlink(missing_ok=True)
    for runner in runners:
        runner.start()
    until(lambda: in_flight(broker) >= len(runners), 'all of them under way', PATIENCE)
    timer = Timer(2.0, go(broker).touch)
    timer.start()
    yield
    timer.join()


def in_flight(broker: Broker, service: str = 'w.slow') -> float:
    """How many requests the service has."""
    text = broker.ask('GET', '/zato/metrics', fields=broker.admin()).body.decode()
    found = re.search(rf'^zatotx_service_in_flight\{{service="{service}"\}} (\S+)', text, re.M)
    return float(found[1]) if found else 0.0


class Fresh(Thread):
    """Asks again and again, each time on a new connection."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.failures: list[str] = []
        self.over = False

    def run(self) -> None:
        while not self.over:
            try:
                asked(self.port)
            except Exception as error:  # whatever a client may meet
                self.failures.append(repr(error))

    def stop(self) -> list[str]:
        """What failed."""
        self.over = True
        self.join(PATIENCE)
        return self.failures


class EndingTests(SynchronousTestCase):
    """How it starts and ends. Some tests leave the server stopped."""

    def setUp(self) -> None:
        self.broker = stopped_or_running()
        self.home = self.broker.directory()

    def twistd(self, *options: str) -> subprocess.Popen[str]:
        """The server as a process manager runs it."""
        self.stop()
        process = subprocess.Popen([str(SCRIPTS / 'twistd'), '-n', 'zato-server', '--dir', str(self.home), *options],
                                   cwd=self.home, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.addCleanup(self.ended, process)
        return process

    def stop(self) -> None:
        if self.broker.pids():
            self.broker.must('stop', str(self.home))

    def ended(self, process: subprocess.Popen[str]) -> str:
        """What it said until its end, which comes."""
        if process.poll() is None and process.stderr is not None and not process.stderr.closed:
            process.terminate()
        said: str = process.communicate(timeout=PATIENCE * 2)[1] if process.returncode is None else ''
        return said

    def serving(self, count: int = 2) -> list[int]:
        return until(lambda: (self.home / 'server.pid').exists() and (self.home / 'work' / 'workers.json').exists()
                     and len(found := workers(self.broker)) == count and found, 'all workers', PATIENCE) or []

    def test_gives_up(self) -> None:
        """5 deaths in 30 s: all is stopped, one sentence on stderr, exit code 1."""
        process = self.twistd()
        died: list[int] = []
        while len(died) < 5:
            (victim, *_) = until(lambda: [pid for pid in self.living() if pid not in died], 'a victim', PATIENCE)
            died.append(victim)
            os.kill(victim, signal.SIGKILL)
        said = process.communicate(timeout=PATIENCE * 2)[1]
        self.assertEqual(process.returncode, 1)
        self.assertIn('5 workers died within 30 s, the last one: it was ended by signal 9', said.splitlines()[-1])
        self.assertEqual(self.broker.pids(), [])
        self.assertIn('5 workers died within 30 s', self.broker.log(name='server.log'))

    def living(self) -> list[int]:
        """All workers, ready or not."""
        try:
            return [worker.pid for worker in roster(self.broker).workers if alive(worker.pid)]
        except (OSError, AssertionError, ValueError):
            return []

    def test_sigterm(self) -> None:
        """The parent drains all: what is under way is answered, exit code 0, nobody left."""
        process = self.twistd('--workers', '3')
        self.serving(3)
        answers: list[object] = []
        runners = [Thread(target=lambda: answers.append(asked(self.broker.port(), '/w/slow'))) for _ in range(6)]
        with under_way(self.broker, runners):
            process.terminate()
            process.communicate(timeout=PATIENCE * 2)
        for runner in runners:
            runner.join(PATIENCE)
        self.assertEqual((process.returncode, len(answers), self.broker.pids()), (0, 6, []))

    def test_a_killed_parent(self) -> None:
        """kill -9: its workers notice, finish what is under way and end by themselves; a new start works at once."""
        crewed()
        before, gone = workers(self.broker), parent(self.broker)
        answers: list[object] = []
        runners = [Thread(target=lambda: answers.append(asked(self.broker.port(), '/w/slow'))) for _ in range(4)]
        with under_way(self.broker, runners):
            os.kill(gone, signal.SIGKILL)
            self.broker.start()
        self.assertNotEqual(parent(self.broker), gone)
        self.assertEqual(set(before) & set(workers(self.broker)), set())
        for runner in runners:
            runner.join(PATIENCE)
        self.assertEqual(len(answers), 4)
        until(lambda: not any(alive(pid) for pid in before), 'the end of the orphans', PATIENCE)
        self.assertEqual(len(self.broker.pids()), 3)

    def test_cannot_start(self) -> None:
        """Another program has its port: one sentence, once, exit code 1, and nobody stays behind."""
        self.stop()
        with subprocess.Popen(['python3', '-c', 'import socket, sys, time; s = socket.create_server(("127.0.0.1", '
                               'int(sys.argv[1]))); print("up", flush=True); time.sleep(60)',
                               str(self.broker.port())], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            done = subprocess.run([str(SCRIPTS / 'twistd'), '-n', 'zato-server', '--dir', str(self.home)],
                                  cwd=self.home, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                  timeout=PATIENCE, check=False)
            other.kill()
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count('Address already in use'), 1, done.stderr)
        self.assertEqual(self.broker.pids(), [])

    def test_a_worker_cannot_start(self) -> None:
        """What all workers stumble over is said once, in their words."""
        self.stop()
        key = self.home / 'config' / 'secret.key'
        key.chmod(0o644)
        self.addCleanup(key.chmod, 0o600)
        said = self.broker.run('start', str(self.home))
        self.assertEqual(said.code, 1)
        self.assertIn(f"server1 cannot start: The secret key {key} can be read by others: 'chmod 600 {key}'", said.err)
        self.assertEqual(self.broker.pids(), [])

    def test_wrong_numbers(self) -> None:
        """Of workers: refused as wrong usage, or with the setting's name."""
        for given in ('0', 'two', '65'):
            done = subprocess.run([str(SCRIPTS / 'twistd'), '-n', 'zato-server', '--dir', str(self.home), '--workers',
                                   given], capture_output=True, text=True, timeout=PATIENCE, check=False)  # fmt: skip
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(f'--workers {given}: specify a number from 1 to 64', done.stdout + done.stderr)
        done = subprocess.run([str(SCRIPTS / 'twistd'), '-n', 'zato-server', '--dir', str(self.home), '--worker', '0'],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('--worker is only for the parent process', done.stderr)
