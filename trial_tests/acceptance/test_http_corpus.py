"""The corpora of others at a real server: on paths that nobody has, and with one channel that takes every path."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.corpora import http1_cases, json_cases, with_host
from trial_tests.support.rawhttp import Connection, NoAnswer, connected, request_bytes
from trial_tests.support.served import one_server
from trial_tests.unit.wire.test_http1_corpus import LEGAL_HERE, NOT_SPOKEN, REFUSED_HERE

_CATCH_ALL = '''
channel_rest:
  - {name: corpus.root, url_path: /, service: acc.raw, security: null, is_active: true}
  - {name: corpus.all, url_path: "/{rest:path}", service: acc.raw, security: null, is_active: true}
'''
_QUIET = 0.7  # seconds without an answer after which a case is taken for unfinished
_PATIENT = 6.0  # likewise, where that came out wrong


def verdict(port: int, data: bytes, quiet: float = _QUIET) -> tuple[list[int], bool]:
    """The statuses these bytes are answered with, and whether the server closes the connection. An unfinished request
    is ended by the client after `quiet` seconds: it has no status where the server says nothing then."""
    with connected(port, quiet) as connection:
        connection.send(data)
        statuses = _statuses(connection)
        if connection.is_closed(0.2 if statuses and statuses[-1] < 400 else quiet):
            return statuses, True
        connection.end_of_sending()
        late = _statuses(connection)
        return statuses + late, bool(late) and late[-1] >= 400 and connection.is_closed()


def verdicts(
    port: int, cases: dict[str, bytes], wrong: Callable[[str, list[int], bool], bool]
) -> dict[str, tuple[list[int], bool]]:
    """The verdict on each case; most of the time is silence, so many are asked at once. Where it is `wrong`, as when a
    busy machine has not answered yet, it is sought once more with patience."""
    with ThreadPoolExecutor(16) as pool:
        found = dict(zip(cases, pool.map(lambda data: verdict(port, data), cases.values()), strict=True))
        again = [name for name, (statuses, closed) in found.items() if wrong(name, statuses, closed)]
        return found | dict(zip(again, pool.map(lambda name: verdict(port, cases[name], _PATIENT), again), strict=True))


def _statuses(connection: Connection) -> list[int]:
    found: list[int] = []
    try:
        while True:
            answer = connection.answer()
            found.append(answer.status)
            if answer.field('connection').lower() == 'close':
                return found
    except NoAnswer:
        return found


def faulty(name: str, statuses: list[int], closed: bool) -> bool:
    """Whether an invalid request was taken, or was a fault of ours, or was refused on a connection that stays open."""
    expected = NOT_SPOKEN.get(name, (400,))[0]
    return any(not 400 <= status < 500 and status != expected for status in statuses) or bool(statuses and not closed)


class CorpusTests(SynchronousTestCase):
    def each_invalid(self, port: int, *, with_hosts: bool) -> dict[str, tuple[list[int], bool]]:
        """The verdict on each invalid case, as it stands or with a Host put in where none was sent."""
        cases = http1_cases('invalid')
        self.assertEqual(len(cases), 74)
        sent = {name: with_host(data) if with_hosts else data for name, data in cases.items()}
        return verdicts(port, sent, lambda name, *found: name not in LEGAL_HERE and faulty(name, *found))

    def faults(self, found: dict[str, tuple[list[int], bool]]) -> dict[str, tuple[list[int], bool]]:
        """Which were taken, or were a fault of ours, or were refused on a connection that stays open."""
        return {name: verdict for name, verdict in found.items() if faulty(name, *verdict)}


class NobodysPathTests(CorpusTests):
    def setUp(self) -> None:
        self.port = one_server().port()  # which serves none of the paths of the corpus

    def test_no_invalid_request_is_answered_2xx_or_5xx(self) -> None:
        """4xx and a closed connection for each of the 74, 501 and 505 where something is not spoken; those that are
        legal here are an ordinary 404."""
        found = self.faults(self.each_invalid(self.port, with_hosts=False))
        self.assertLessEqual(set(found), set(LEGAL_HERE), found)
        for statuses, _ in found.values():
            self.assertEqual(set(statuses), {404}, found)

    def test_every_valid_request_is_accepted(self) -> None:
        """With a Host where HTTP/1.1 wants one: 404, as nobody has such a path, the written exceptions aside."""
        cases = {name: with_host(data) for name, data in http1_cases('valid').items()}

        def expected(name: str) -> int:
            refused = REFUSED_HERE.get(name)
            return refused[0] if refused and name != '099' else 404  # 099 is cut short, yet its head says enough

        found = verdicts(self.port, cases, lambda name, statuses, _: set(statuses) != {expected(name)})
        for name, (statuses, _) in found.items():
            if not cases[name].startswith((b'OPTIONS *', b'CONNECT')):  # which name no path
                self.assertEqual(set(statuses), {expected(name)}, name)
            self.assertTrue(max(statuses) < 500 or set(statuses) == {expected(name)}, name)


class EveryPathTests(CorpusTests):
    """With channels for every path outside /zato/."""

    def setUp(self) -> None:
        broker = one_server()
        self.port = broker.port()
        self.addCleanup(self.delete_channels, broker)
        broker.configure(_CATCH_ALL)

    def delete_channels(self, broker: Broker) -> None:
        """Remove what others must not meet: even an inactive channel for every path answers requests with 404."""
        for name in ('corpus.root', 'corpus.all'):
            body = json.dumps({'name': name, 'connection': 'channel', 'transport': 'plain_http'}).encode()
            self.assertEqual(broker.invoke('zato.http-soap.delete', body).status, 200)

    def test_invalid_requests_reach_no_service(self) -> None:
        """Where any path leads to a service, the 74 still do not, those aside that are legal here."""
        for with_hosts in (False, True):
            found = self.faults(self.each_invalid(self.port, with_hosts=with_hosts))
            self.assertLessEqual(set(found), set(LEGAL_HERE), found)

    def test_valid_requests_reach_the_service(self) -> None:
        """2xx for each, the written exceptions aside, and targets that name no path."""
        cases = {name: with_host(data) for name, data in http1_cases('valid').items()}
        found = verdicts(self.port, cases, lambda name, said, _: name not in REFUSED_HERE and set(said) != {200})
        for name, (statuses, _) in found.items():
            if name not in REFUSED_HERE and not cases[name].startswith((b'OPTIONS *', b'CONNECT')):
                self.assertEqual(set(statuses), {200}, name)


class JsonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.port = one_server().port()

    def statuses(self, prefix: str) -> dict[str, int]:
        """The status of the echo for each JSON text of that kind, over one connection."""
        found = {}
        with connected(self.port) as connection:
            for name, data in json_cases(prefix).items():
                connection.send(request_bytes('POST', '/acc/echo', {'Content-Type': 'application/json'}, data))
                found[name] = connection.answer().status
        return found

    def test_json_that_must_be_accepted_is(self) -> None:
        """95 of 95."""
        found = self.statuses('y_')
        self.assertEqual((len(found), set(found.values())), (95, {200}), found)

    def test_json_that_must_be_refused_is(self) -> None:
        """188 of 188: 400, and the connection lives on. (An empty body is no JSON either.)"""
        found = self.statuses('n_')
        self.assertEqual(len(found), 188)
        self.assertEqual({name: status for name, status in found.items() if status != 400}, {})

    def test_json_that_may_be_either_is_no_fault(self) -> None:
        """35: 200 or 400."""
        found = self.statuses('i_')
        self.assertEqual(len(found), 35)
        self.assertLessEqual(set(found.values()), {200, 400}, found)
