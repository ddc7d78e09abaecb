"""Tests of the calculations in the benchmarks."""

from __future__ import annotations

import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import msgspec
import yaml
from twisted.trial.unittest import SynchronousTestCase

from bench import (
    blocking,
    hostile,
    hostile_logins,
    in_memory,
    instructions,
    lb_in_memory,
    load,
    overload,
    pipelines,
    run,
    subjects,
    throughput,
    zmq,
)
from bench.figures import Row, in_turns, table
from bench.load import Request, Result
from bench.openloop import OpenLoop
from trial_tests.support import pings
from trial_tests.support.blocking_operations import Stalls
from trial_tests.support.pings import Pings


def result(rate: float) -> Result:
    """A one-second run at the given rate."""
    return Result(requests=int(rate), micros=1_000_000, p50=1, p99=2)


class FigureTests(SynchronousTestCase):
    def test_a_floor_and_a_ceiling(self) -> None:
        """A minimum is met at or above the bar, and a maximum at or below it."""
        floor = Row(what='a', figure='', value=0.6, bar=0.6, at_least=True)
        ceiling = Row(what='b', figure='', value=1.3, bar=1.3)
        self.assertTrue(floor.met and ceiling.met)
        self.assertFalse(msgspec.structs.replace(floor, value=0.59).met)
        self.assertFalse(msgspec.structs.replace(ceiling, value=1.31).met)

    def test_runs_take_turns_and_the_median_counts(self) -> None:
        """Runs alternate (A, B, A, B, …), and the median run of each is the result."""
        order: list[str] = []
        rates = {'a': iter((5.0, 1.0, 3.0)), 'b': iter((20.0, 10.0, 90.0))}

        def measure(name: str) -> Result:
            order.append(name)
            return result(next(rates[name]))

        found = in_turns(3, {'a': lambda: measure('a'), 'b': lambda: measure('b')}, lambda text: None)
        self.assertEqual(''.join(order), 'ababab')
        self.assertEqual({name: one.rate for name, one in found.items()}, {'a': 3.0, 'b': 20.0})

    def test_the_table_shows_what_is_missed(self) -> None:
        """The table shows value, bar and verdict of each row."""
        text = table([Row(what='echo', figure='30,000/s : 60,000/s', value=0.5, bar=0.6, at_least=True, unit=' x')])
        self.assertIn('| echo | 30,000/s : 60,000/s | 0.50 x | >= 0.60 x | NO  |', text)


class PipelineTests(SynchronousTestCase):
    def test_both_do_the_same_work(self) -> None:
        """A short run measures both clients on one server and checks every reply."""
        row = pipelines.measure(rounds=1, seconds=0.05, say=lambda text: None)
        self.assertGreater(row.value, 0)

    def test_messages_of_zeromq(self) -> None:
        """A short run measures a channel and txZMQ with peers of their own."""
        (row,) = zmq.measure(rounds=1, say=lambda text: None, count=100)
        self.assertGreater(row.value, 0)
        self.assertRegex(row.figure, r'^[0-9,]+/s : [0-9,]+/s$')


class HostileLoginTests(SynchronousTestCase):
    def test_the_worst_login_counts(self) -> None:
        """One slow login misses the bar, and so does a rejected login, however fast the rejection was."""
        for took, met in (([0.1, 4.9], True), ([0.1, 5.1, 0.1], False)):
            self.assertEqual([row.met for row in hostile_logins.rows(took)], [met])
        with socket.create_server(('127.0.0.1', 0)) as refusing:
            def refuse() -> None:
                client, _ = refusing.accept()
                client.sendall(b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n')
                client.close()
            answering = Thread(target=refuse)
            answering.start()
            self.assertGreater(hostile_logins.first_login(refusing.getsockname()[1], 0), hostile_logins.BAR)
            answering.join()


class OverloadTests(SynchronousTestCase):
    def test_goodput_and_memory_have_their_bars(self) -> None:
        """Reduced goodput, high memory and growing memory each miss their bar; a stable server meets all three."""
        megabyte = 1_000_000
        well = overload.rows(1_000, 10_000, 950, [90 * megabyte, *[100 * megabyte] * 8])
        self.assertTrue(all(row.met for row in well))
        worse = overload.rows(1_000, 10_000, 700, [90 * megabyte, *range(100 * megabyte, 200 * megabyte, megabyte)])
        self.assertEqual([row.met for row in worse], [False] * 3)

    def test_the_loop_is_open_and_bounded(self) -> None:
        """It sends requests without waiting for responses, and counts unsent requests and closed connections."""
        listening = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listening.close)
        clients: list[socket.socket] = []

        def serve() -> None:
            for number in range(3):
                client, _ = listening.accept()
                clients.append(client)
                client.recv(1000)
                if number == 0:
                    client.sendall(b'HTTP/1.1 200 OK\r\nContent-')
                    client.sendall(b'Length: 2\r\n\r\n{}')
                elif number == 1:
                    client.close()  # the third one never answers

        server = Thread(target=serve, daemon=True)
        server.start()
        loop = OpenLoop(listening.getsockname()[1], b'GET / HTTP/1.1\r\n\r\n', 3)
        loop.grace = 0.1
        outcome = loop.run(100, 0.5)
        server.join(10)
        for client in clients:
            client.close()
        self.assertEqual((outcome.due, outcome.broken), (50, 1))
        self.assertGreater(outcome.unsent, 0)
        self.assertEqual(set(outcome.statuses), {'200'})


class BlockingTests(SynchronousTestCase):
    def test_pings_and_stalls_have_their_bars(self) -> None:
        """A slow ping misses its bar, and so does a long stall; the table has a line for each operation."""
        fine = blocking.Measured(title='a', zato='blocks', idle=1, busy=5, stall=50, bar=5)
        slow, stalled = msgspec.structs.replace(fine, busy=5.1), msgspec.structs.replace(fine, stall=100)
        self.assertEqual([[row.met for row in one.rows()] for one in (fine, slow, stalled)],
                         [[True, True], [False, True], [True, False]])  # fmt: skip
        self.assertIn('| a | blocks | 1.00 ms | 5.10 ms | <= 50 ms |', blocking.table([fine, slow]))

    def test_calls_of_a_frozen_peer_have_their_bar(self) -> None:
        """A call that ends more than 10 % after its timeout misses its bar."""
        fine = blocking.Measured(title='a', zato='blocks', idle=1, busy=5, stall=50, bar=5, slowest=5.5)
        late = msgspec.structs.replace(fine, slowest=5.6)
        self.assertEqual([[row.met for row in one.rows()] for one in (fine, late)],
                         [[True, True, True], [True, True, False]])  # fmt: skip

    def test_the_longest_stall_is_a_new_one(self) -> None:
        """Stalls before the measurement do not count."""
        before = Stalls({0.05: 7, 0.1: 7, 5.0: 8, float('inf'): 8})
        after = Stalls({0.05: 9, 0.1: 10, 5.0: 11, float('inf'): 11})
        self.assertEqual(after.longest_since(before), 0.1)

    def test_pings_without_answers_count(self) -> None:
        """A server that closes its connections answers no ping: each counts as the longest."""
        with socket.create_server(('127.0.0.1', 0)) as closing:
            def close() -> None:
                for _ in range(20):
                    closing.accept()[0].close()

            server = Thread(target=close)
            server.start()
            self.patch(pings, 'PATIENCE', 0.2)
            with Pings(closing.getsockname()[1], 100) as asked:
                server.join()
        self.assertTrue(asked.times)
        self.assertEqual(set(asked.times), {200.0})


class HostileTests(SynchronousTestCase):
    def test_memory_and_pings_have_their_bars(self) -> None:
        """Two slow pings of a hundred miss the bar, and one does not; a megabyte above the limit misses its bar."""
        watch = hostile.Watch()
        watch.pings, watch.growth = [*[5.0] * 99, 400.0], 96.0
        self.assertEqual([row.met for row in watch.rows('a', 96)], [True, True])
        watch.pings, watch.growth = [*[5.0] * 98, 400.0, 400.0], 97.0
        self.assertEqual([row.met for row in watch.rows('a', 96)], [False, False])


class LoadTests(SynchronousTestCase):
    def test_the_script_holds_any_text(self) -> None:
        """Quotes, backslashes, line ends and non-ASCII characters are escaped in Lua strings."""
        text = load._script(Request(path='/"x\\', body='a"\n\\é'), (), Path('unused'))
        self.assertIn('wrk.path = "/\\034x\\092"', text)
        self.assertIn('wrk.body = "a\\034\\010\\092\\195\\169"', text)

    def test_the_rate_is_answers_by_measured_time(self) -> None:
        """The rate is based on the measured duration, not on the requested one."""
        self.assertEqual(Result(requests=300, micros=1_500_000, p50=1, p99=1).rate, 200.0)


class ThroughputTests(SynchronousTestCase):
    def test_responses_that_a_peer_lost_are_shown_in_its_row(self) -> None:
        """The rows of the other peers do not depend on them, and the figure names how many failed, and how."""
        lost = msgspec.structs.replace(result(30_000), failures={'read': 0, 'timeout': 21})
        names = ('zatotx async', 'zatotx def', *throughput.PEERS)
        found = throughput.rows({**dict.fromkeys(names, result(20_000)), 'gunicorn': lost})
        self.assertEqual([row.value for row in found], [1.0, 1.0, 2 / 3, 1.0])
        self.assertEqual([row.figure.partition(' : ')[2] for row in found[1:3]],
                         ['20,000/s', '30,000/s (21 of 30,000 responses failed: 21 timeout)'])  # fmt: skip

    def test_only_what_is_tolerated_may_fail(self) -> None:
        """One failed response of our own server invalidates a run; of a peer's, up to the given share."""
        lost = msgspec.structs.replace(result(1_000), failures={'status': 10})
        self.patch(load, '_wrk', lambda *run: lost)
        self.assertEqual(load.run(1, subjects.echo(), seconds=1, tolerance=0.01).failed, 10)
        for tolerance in (0.0, 0.009):
            error = self.assertRaises(load.LoadError, load.run, 1, subjects.echo(), seconds=1, tolerance=tolerance)
            self.assertIn('10 of 1000 responses on port 1 failed: 10 status', str(error))


class SubjectTests(SynchronousTestCase):
    def test_each_of_many_channels_has_its_path(self) -> None:
        """Every tenth channel has a path pattern, and its path matches the pattern."""
        with tempfile.TemporaryDirectory() as folder:
            file, paths = subjects.many_channels(Path(folder), 20)
            channels = yaml.safe_load(file.read_text())['channel_rest']
        self.assertEqual(len({channel['name'] for channel in channels}), 20)
        for channel, path in zip(channels, paths, strict=True):
            self.assertEqual(channel['url_path'].replace('{item}', '7'), path)
        self.assertEqual(sum('{item}' in channel['url_path'] for channel in channels), 2)


class InstructionTests(SynchronousTestCase):
    def test_growth_beyond_the_tolerance_fails(self) -> None:
        """A guarded count that is 5 % above the committed one passes, one above that is named; others may grow."""
        committed = {'echo': 100_000, 'relay': 200_000, 'xml': 300_000, 'balancer': 90_000}
        passing = {'echo': 105_000, 'relay': 150_000, 'xml': 900_000, 'balancer': 90_000}
        self.assertEqual(instructions.excess(passing, committed), [])
        (sentence,) = instructions.excess({**passing, 'relay': 212_000}, committed)
        self.assertTrue(sentence.startswith('relay: 212,000 instructions per request are 6.0% more than the committed '
                                            '200,000; at most 5% are allowed.'), sentence)  # fmt: skip

    def test_only_counts_of_the_same_interpreter_are_compared(self) -> None:
        """Another minor version, or another build, has other counts for the same code: a sentence names both."""
        here = instructions.this_python()
        self.assertEqual(instructions.why_not_compared(here, here), '')
        for other in (msgspec.structs.replace(here, python='3.99'), msgspec.structs.replace(here, build='of tin')):
            sentence = instructions.why_not_compared(here, other)
            self.assertIn(f'of Python {other.python} ({other.build})', sentence)

    def test_all_subjects_are_committed(self) -> None:
        """Those that the measured program serves, each of which answers with what it was sent."""
        committed = instructions.read_committed()
        self.assertEqual(list(committed.instructions), [*in_memory.requests(), *lb_in_memory.SUBJECTS])
        marks: list[None] = []
        broker = in_memory.Broker()
        self.addCleanup(broker.close)
        in_memory.serve(broker, 1, lambda: marks.append(None))
        lb_in_memory.serve(1, lambda: marks.append(None))
        self.assertEqual(len(marks), 2 * len(committed.instructions))


class RunTests(SynchronousTestCase):
    def test_results_are_kept_for_people_and_for_programs(self) -> None:
        """A report writes a Markdown page named after the date, and latest.json with the same rows."""
        rows = [Row(what='echo', figure='1', value=1, bar=1)]
        folder = Path(self.mktemp())
        file = run.report(rows, 'two cores', datetime(2026, 11, 24, 9, tzinfo=UTC), folder)
        self.assertEqual(file.name, '2026-11-24.md')
        self.assertIn('two cores', file.read_text())
        latest = msgspec.json.decode((folder / 'latest.json').read_bytes())
        self.assertEqual((latest['machine'], latest['rows'][0]['what']), ('two cores', 'echo'))

    def test_what_cannot_be_measured_is_not_met(self) -> None:
        """A benchmark that fails yields a row that is not met."""
        def fails() -> list[Row]:
            raise load.LoadError('3 of 5 answers were errors')

        (row,) = run._rows('echo', fails)
        self.assertFalse(row.met)
        self.assertIn('3 of 5', row.figure)
