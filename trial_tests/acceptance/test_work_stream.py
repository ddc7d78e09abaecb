"""Asynchronous invocations and dead letters in real servers: self.invoke_async, retries, kill -9, `dead-letter`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.rawhttp import NoAnswer
from trial_tests.support.redis import spoken
from trial_tests.support.waiting import allowed, until

SERVICES = '''
import os
import time
from twisted.internet.task import deferLater
from zatotx import Service

DIRECTORY = {directory!r}

def note(name, *words):
    with open(os.path.join(DIRECTORY, name), 'a') as file:
        file.write(' '.join(map(str, words)) + chr(10))

class Note(Service):
    """ Appends a line to a file. """
    name = 'work.note'
    async def handle(self):
        payload = self.request.payload
        note(payload['file'], payload.get('n', ''), self.cid, self.channel, self.in_reply_to or '-')
        self.response.payload = {{'file': payload['file'] + '.callback', 'n': payload.get('n', '')}}

class Callback(Service):
    name = 'work.note-async-callback'
    async def handle(self):
        note('implicit', self.request.payload['file'], self.channel, self.in_reply_to)

class Slow(Service):
    """ Runs for some time. """
    name = 'work.slow'
    async def handle(self):
        from twisted.internet import reactor
        payload = self.request.payload
        note(payload['file'], payload['n'], os.getpid(), 'begin', time.time())
        await deferLater(reactor, payload['seconds'])
        note(payload['file'], payload['n'], os.getpid(), 'end', time.time())

class Fails(Service):
    """ Fails unless a file says otherwise. """
    name = 'work.fails'
    def handle(self):
        payload = self.request.payload
        note(payload['file'], time.time())
        if not os.path.exists(os.path.join(DIRECTORY, 'mended')) and not payload.get('mended'):
            raise RuntimeError('not yet')

class Poison(Service):
    """ Ends its process. """
    name = 'work.poison'
    async def handle(self):
        note('poison', time.time())
        os._exit(1)

class Collect(Service):
    """ Writes the report that it gets. """
    name = 'work.collect'
    async def handle(self):
        import json
        note('reports', json.dumps(self.request.payload))

class Adds(Service):
    name = 'work.adds'
    async def handle(self):
        from twisted.internet import reactor
        await deferLater(reactor, self.request.payload.get('seconds', 0))
        if self.request.payload.get('wrong'):
            raise RuntimeError('wrong')
        self.response.payload = {{'sum': self.request.payload['a'] + 1}}

class AddsToo(Adds):
    name = 'work.adds-too'

class Patterns(Service):
    """ Uses a pattern, from the reactor. """
    name = 'work.patterns'
    async def handle(self):
        arguments = dict(self.request.payload)
        pattern, form = arguments.pop('pattern'), arguments.pop('form', None)
        called = getattr(self.patterns, pattern)
        result = await (getattr(called, form) if form else called)(**arguments)
        if pattern == 'parallel' and not form:
            result = {{name: [one.ok, one.response, str(one.exception or '')] for name, one in result.items()}}
        self.response.payload = {{'result': result}}

class PatternsDef(Service):
    """ Uses parallel, from a thread. """
    name = 'work.patterns-def'
    def handle(self):
        found = self.patterns.parallel({{'work.adds': {{'a': 1}}, 'work.adds-too': {{'a': 2}}}})
        self.response.payload = {{name: one.response for name, one in found.items()}}

class Go(Service):
    """ Invokes asynchronously, from the reactor. """
    name = 'work.go'
    async def handle(self):
        arguments = dict(self.request.payload)
        service, payload = arguments.pop('service'), arguments.pop('payload')
        cids = [await self.invoke_async(service, dict(payload, n=n), **arguments)
                for n in range(arguments.pop('times', 1))]
        self.response.payload = {{'cids': cids}}

class GoDef(Service):
    """ Invokes asynchronously, from a thread. """
    name = 'work.go-def'
    def handle(self):
        arguments = dict(self.request.payload)
        self.response.payload = {{'cids': [self.invoke_async(arguments.pop('service'), **arguments)]}}
'''


def built(servers: int = 2, workers: int = 1) -> Broker:
    """Two servers, with the services."""
    broker = create(servers=servers, more=('--workers', str(workers)) if workers > 1 else ())
    broker.start()
    notes(broker).mkdir()
    broker.serve('work_services.py', SERVICES.format(directory=str(notes(broker))))
    if servers > 1:  # its five runs take half a minute, in which other tests run
        go(broker, 'work.fails', {'file': 'fails'})
    return broker


def notes(broker: Broker) -> Path:
    """Where the services write."""
    return broker.path.parent / 'notes'


def lines(broker: Broker, name: str) -> list[list[str]]:
    """The words of each line that the services wrote."""
    file = notes(broker) / name
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def go(broker: Broker, service: str, payload: dict[str, Any], *, caller: str = 'work.go', **arguments: Any) -> Any:
    """Let a service invoke another one asynchronously; returns the cids."""
    request = {'service': service, 'payload': payload, **arguments}
    answer = broker.invoke(caller, json.dumps(request).encode())
    assert answer.status == 200, answer.body
    return answer.json()['cids']


def dead_letters(broker: Broker, service: str = '') -> list[dict[str, Any]]:
    """`dead-letter list --format json`."""
    found: list[dict[str, Any]] = json.loads(broker.must('dead-letter', 'list', str(broker.path), '--format', 'json'))
    return [row for row in found if not service or row['service'] == service]


def if_long(found: list[list[str]], count: int) -> list[list[str]]:
    """Nothing until there are so many."""
    return found if len(found) >= count else []


def metric(broker: Broker, name: str, server: int) -> float:
    """The figure of a metric without labels."""
    text = broker.ask('GET', '/zato/metrics', fields=broker.admin(), server=server).body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + ' '))


def reports(broker: Broker, cid: str) -> list[dict[str, Any]]:
    """The reports of work.collect about the invocations of a cid."""
    file = notes(broker) / 'reports'
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [one for one in found if cid in (one.get('cid'), *(part['cid'] for part in one.get('data', {}).values()))]


class InvokeAsyncTests(SynchronousTestCase):
    """Two servers of one process each."""

    def setUp(self) -> None:
        self.broker = shared('work', built)

    def test_invoke_async(self) -> None:
        """From both kinds of services a call returns the cid at once, and the service runs once with it; its result
        goes to the implicit callback or to those that are named."""
        began = len(lines(self.broker, 'implicit'))
        (cid,) = go(self.broker, 'work.note', {'file': 'a'})
        until(lambda: lines(self.broker, 'a'), 'the run')
        self.assertEqual(lines(self.broker, 'a'), [['0', cid, 'invoke-async', '-']])
        found = until(lambda: lines(self.broker, 'implicit')[began:], 'the callback')
        self.assertEqual(found, [['a.callback', 'invoke-async-callback', cid]])
        (cid,) = go(self.broker, 'work.note', {'file': 'b'}, caller='work.go-def', callback=['work.note'], cid='x' * 12)
        self.assertEqual(cid, 'x' * 12)
        (line,) = until(lambda: lines(self.broker, 'b.callback'), 'the named callback')
        self.assertEqual(line[-2:], ['invoke-async-callback', cid])

    def test_for_one_server(self) -> None:
        """name@target runs on a server whose name matches; one that is unknown is an error."""
        go(self.broker, 'work.slow@server2', {'file': 'target', 'seconds': 0}, times=6)
        until(lambda: len(lines(self.broker, 'target')) == 12, 'the runs')
        pids = {words[1] for words in lines(self.broker, 'target')}
        self.assertLessEqual(pids, set(map(str, self.broker.pids('server2'))))
        request = {'service': 'work.note@server9', 'payload': {'file': 'x'}}
        answer = self.broker.invoke('work.go', json.dumps(request).encode())
        self.assertEqual(answer.status, 404)
        self.assertIn("No server matches the target 'server9'; there are server1, server2", answer.body.decode())

    def test_bad_calls(self) -> None:
        """An unknown service is an error of the caller, and nothing is written."""
        answer = self.broker.invoke('work.go', b'{"service": "work.nott", "payload": {}}')
        self.assertEqual(answer.status, 404)
        self.assertIn('work.note', answer.body.decode())

    def test_expiration(self) -> None:
        """A message whose caller gave an expiration does not run after it, and is counted; others never expire."""
        before = self.metric('zatotx_work_expired_total')
        go(self.broker, 'work.fails', {'file': 'expires'}, expiration=0.5)
        until(lambda: self.metric('zatotx_work_expired_total') > before, 'the expiration')
        self.assertLessEqual(len(lines(self.broker, 'expires')), 1)  # none if a loaded machine takes half a second

    def metric(self, name: str) -> float:
        return metric(self.broker, name, 1) + metric(self.broker, name, 2)

    def test_in_order(self) -> None:
        """Messages of one order key run one after another."""
        go(self.broker, 'work.slow', {'file': 'order', 'seconds': 0.02}, order_key='k', times=10)
        until(lambda: len(lines(self.broker, 'order')) == 20, 'the runs')
        self.assertEqual([(words[0], words[2]) for words in lines(self.broker, 'order')],
                         [(str(n), what) for n in range(10) for what in ('begin', 'end')])  # fmt: skip

    def test_command(self) -> None:
        """`service invoke --async` prints the cid and does not wait."""
        payload = json.dumps({'file': 'command'})
        cid = self.broker.must('service', 'invoke', str(self.broker.path), 'work.note', '--async', '--payload', payload)
        until(lambda: lines(self.broker, 'command'), 'the run')
        self.assertEqual(lines(self.broker, 'command')[0][-3], cid.strip())

    def pattern(self, pattern: str, **arguments: Any) -> Any:
        answer = self.broker.invoke('work.patterns', json.dumps({'pattern': pattern, **arguments}).encode())
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()['result']

    def test_parallel(self) -> None:
        """parallel returns the results and errors of all targets, in both kinds of services; with a callback, that one
        gets a report of each."""
        targets = {'work.adds': {'a': 1}, 'work.adds-too': {'a': 1, 'wrong': True}}
        found = self.pattern('parallel', targets=targets)
        self.assertEqual(found, {'work.adds': [True, {'sum': 2}, ''], 'work.adds-too': [False, None, 'wrong']})
        self.assertEqual(self.broker.invoke('work.patterns-def').json(),
                         {'work.adds': {'sum': 2}, 'work.adds-too': {'sum': 3}})  # fmt: skip
        cid = self.pattern('parallel', form='invoke', targets={'work.adds': {'a': 4}}, callback='work.collect')
        (report,) = until(lambda: reports(self.broker, cid), 'the report')
        self.assertEqual((report['source'], report['target'], report['response'], report['ok']),
                         ('work.patterns', 'work.adds', {'sum': 5}, True))  # fmt: skip

    def test_invoke_retry(self) -> None:
        """A service that fails is invoked again; in the background, the callback gets a report with the context, also
        of the last failure, which is a dead letter too."""
        wrong = {'a': 1, 'wrong': True}
        self.assertEqual(self.pattern('invoke_retry', target='work.adds', payload={'a': 1}), {'sum': 2})
        cid = self.pattern('invoke_retry', form='invoke', target='work.adds', payload=wrong, repeats=2, seconds=0.2,
                           async_fallback=True, callback='work.collect', context={'c': 1})  # fmt: skip
        (report,) = until(lambda: reports(self.broker, cid), 'the report')
        self.assertEqual((report['ok'], report['exception']), (False, 'RuntimeError: wrong'))
        self.assertEqual(report['context'], {'c': 1})
        (row,) = dead_letters(self.broker, 'work.adds')
        self.assertEqual(row['attempts'], 2)
        self.command('purge', row['id'])

    def test_repeated_failures(self) -> None:
        """A service that keeps failing runs five times with growing delays, and is a dead letter within 40 seconds:
        listed with the fields of the contract, found by doctor, edited, replayed, purged."""
        (row,) = until(lambda: dead_letters(self.broker, 'work.fails'), 'the dead letter', 90.0)
        first, last = (datetime.fromisoformat(row[name]).timestamp() for name in ('first_failed', 'last_failed'))
        self.assertTrue(0 < last - first < allowed(40), row)
        runs = [float(words[0]) for words in lines(self.broker, 'fails')]
        delays = [later - earlier for earlier, later in pairwise(runs)]
        self.assertEqual((len(runs), row['attempts']), (5, 5))
        self.assertEqual(delays, sorted(delays))
        self.assertEqual(list(row), ['id', 'service', 'payload', 'cause', 'attempts', 'first_failed', 'last_failed'])
        self.assertEqual((row['service'], row['payload']), ('work.fails', {'file': 'fails', 'n': 0}))
        self.assertEqual(row['cause'], 'RuntimeError: not yet')
        self.assertIn('1 message is a dead letter', self.broker.run('doctor', str(self.broker.path)).text)
        shown = json.loads(self.command('show', row['id'], '--format', 'json'))
        self.assertEqual(shown, row)
        fixed = {'file': 'fails', 'mended': True}
        self.command('edit', row['id'], '--payload', json.dumps(fixed))
        self.assertEqual(dead_letters(self.broker, 'work.fails')[0]['payload'], fixed)
        self.command('replay', row['id'])
        until(lambda: len(lines(self.broker, 'fails')) == 6, 'the replay')
        self.assertEqual(dead_letters(self.broker, 'work.fails'), [])
        again = self.broker.run('dead-letter', 'purge', str(self.broker.path), row['id'])
        self.assertEqual(again.code, 1)
        self.assertIn(f'There is no dead letter {row["id"]}', again.text)

    def command(self, action: str, *words: str) -> str:
        return self.broker.must('dead-letter', action, str(self.broker.path), *words)


class KillTests(SynchronousTestCase):
    """Two servers, one of which is killed."""

    def setUp(self) -> None:
        self.broker = shared('work', built)

    def test_killed(self) -> None:
        """The messages of a server that is killed run on the other one within ten seconds; those of the living one run
        once, however long they take."""
        go(self.broker, 'work.slow', {'file': 'killed', 'seconds': 11}, times=20)
        until(lambda: len(lines(self.broker, 'killed')) == 20, 'the runs')
        begun = {words[0]: words[1] for words in lines(self.broker, 'killed')}
        pids = set(map(str, self.broker.pids('server2')))
        lost = {n for n, pid in begun.items() if pid in pids}
        self.assertTrue(0 < len(lost) < 20, begun)
        killed = time.time()
        self.broker.kill('server2')
        again = until(lambda: if_long(self.begun('killed')[20:], len(lost)), 'the other server')
        self.assertEqual({words[0] for words in again}, lost)
        self.assertLess(max(float(words[3]) for words in again) - killed, allowed(10.0))
        until(lambda: sum(words[2] == 'end' for words in lines(self.broker, 'killed')) == 20, 'all ends', 60.0)
        runs = Counter(words[0] for words in self.begun('killed'))
        self.assertEqual({n for n, count in runs.items() if count > 1}, lost)
        self.broker.must('start', str(self.broker.path / 'server2'))

    def begun(self, name: str) -> list[list[str]]:
        """The lines of the runs that have begun."""
        return [words for words in lines(self.broker, name) if words[2] == 'begin']

    def test_fanout(self) -> None:
        """fanout gives all results to its final service, though the server that asked is killed meanwhile."""
        targets = {'work.adds': {'a': 1, 'seconds': 3}, 'work.adds-too': {'a': 2, 'seconds': 5}}
        request = {'pattern': 'fanout', 'form': 'invoke', 'targets': targets, 'on_final': 'work.collect'}
        answer = self.broker.invoke('work.patterns', json.dumps(request).encode(), server=2)
        self.assertEqual(answer.status, 200, answer.body)
        self.broker.kill('server2')
        cid = answer.json()['result']
        (report,) = until(lambda: reports(self.broker, cid), 'the report', 90.0)
        self.assertEqual({name: (one['ok'], one['response']) for name, one in report['data'].items()},
                         {'work.adds': (True, {'sum': 2}), 'work.adds-too': (True, {'sum': 3})})  # fmt: skip
        self.assertEqual((report['source'], report['on_final']), ('work.patterns', ['work.collect']))
        self.broker.must('start', str(self.broker.path / 'server2'))

    def test_wiped_redis(self) -> None:
        """After Redis lost its data, messages that run are finished, and new ones are delivered."""
        go(self.broker, 'work.slow', {'file': 'wiped', 'seconds': 3}, times=4)
        until(lambda: len(lines(self.broker, 'wiped')) == 4, 'the runs')
        (path,) = (self.broker.path / 'redis').rglob('*.sock')
        spoken(path, 'FLUSHALL')
        go(self.broker, 'work.slow', {'file': 'wiped', 'seconds': 0}, times=4)
        until(lambda: len(lines(self.broker, 'wiped')) == 16, 'all ends')

    def test_stopped(self) -> None:
        """A server that is stopped lets its messages finish; nothing runs twice."""
        go(self.broker, 'work.slow', {'file': 'stopped', 'seconds': 2}, times=10)
        until(lambda: len(lines(self.broker, 'stopped')) == 10, 'the runs')
        self.broker.must('restart', str(self.broker.path / 'server2'))
        until(lambda: len(lines(self.broker, 'stopped')) == 20, 'the ends')
        self.assertEqual(Counter(words[2] for words in lines(self.broker, 'stopped')), {'begin': 10, 'end': 10})

    def test_frozen_database(self) -> None:
        """While the ODB is locked no server can write its heartbeat, and none is taken for dead."""
        go(self.broker, 'work.slow', {'file': 'locked', 'seconds': 11}, times=10)
        until(lambda: len(lines(self.broker, 'locked')) == 10, 'the runs')
        (database,) = self.broker.path.glob('**/zatotx.db')
        with sqlite3.connect(database) as connection:
            connection.execute('BEGIN IMMEDIATE')
            time.sleep(8)
            connection.rollback()
        until(lambda: len(lines(self.broker, 'locked')) >= 20, 'the ends', 60.0)
        self.assertEqual(Counter(words[2] for words in lines(self.broker, 'locked')), {'begin': 10, 'end': 10})


class WorkerTests(SynchronousTestCase):
    """One server of two workers."""

    def setUp(self) -> None:
        self.broker = shared('work-workers', lambda: built(1, 2))

    def test_each_worker_consumes(self) -> None:
        """Messages run in all workers; those of a worker that is killed run again, at once when it is replaced."""
        go(self.broker, 'work.slow', {'file': 'workers', 'seconds': 3}, times=30)
        until(lambda: len(lines(self.broker, 'workers')) == 30, 'the runs')
        begun = {words[0]: words[1] for words in lines(self.broker, 'workers')}
        self.assertEqual(len(set(begun.values())), 2)
        victim = next(iter(begun.values()))
        os.kill(int(victim), signal.SIGKILL)
        until(lambda: len(self.ends('workers')) == 30, 'all ends', 60.0)
        runs = Counter(words[0] for words in lines(self.broker, 'workers') if words[2] == 'begin')
        lost = {n for n, pid in begun.items() if pid == victim}
        self.assertEqual({n for n, count in runs.items() if count > 1}, lost)

    def metric(self, name: str) -> float:
        with contextlib.suppress(NoAnswer, OSError):
            return metric(self.broker, name, 1)
        return 0.0

    def ends(self, name: str) -> list[list[str]]:
        return [words for words in lines(self.broker, name) if words[2] == 'end']

    def test_poison(self) -> None:
        """A message that ends every process it runs in becomes a dead letter; the server lives, and so do the messages
        beside it."""
        with contextlib.suppress(NoAnswer):  # its worker may be the first to run the message
            retries = {'form': 'invoke_async', 'target': 'work.poison', 'repeats': 3, 'seconds': 1}
            request = {'pattern': 'invoke_retry', **retries}
            self.broker.invoke('work.patterns', json.dumps(request).encode())
        go(self.broker, 'work.slow', {'file': 'beside', 'seconds': 0.5}, times=10)
        until(lambda: self.metric('zatotx_work_dead_letters_total'), 'the dead letter', 300.0)
        (row,) = dead_letters(self.broker, 'work.poison')
        self.assertEqual((row['attempts'], len(lines(self.broker, 'poison'))), (3, 3))
        self.assertIn('the process that ran it ended', row['cause'])
        until(lambda: len({words[0] for words in self.ends('beside')}) == 10, 'the others')
        self.assertEqual([one['service'] for one in dead_letters(self.broker)], ['work.poison'])
        self.broker.must('dead-letter', 'purge', str(self.broker.path), '--all')
        self.assertEqual(dead_letters(self.broker), [])
