"""A full disk: what needs none goes on, what needs one says so, log lines lost are counted, and it heals by itself.

The disk of a running server is "full" by its limit on the size of files, which anybody may lower: every write of the
process is refused by the kernel, to logs, spool, work/ and SQLite alike.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Answer
from trial_tests.support.served import one_server
from trial_tests.support.waiting import until

MIB = 2**20


class DiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = one_server()
        (self.pid,) = self.broker.pids()
        self.before = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        self.addCleanup(self.free)

    def fill(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, self.before[1]))

    def free(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, self.before)

    def post(self, path: str, body: bytes, **fields: str) -> Answer:
        return self.broker.ask('POST', path, fields={'Content-Type': 'application/json', **fields}, body=body)

    def lost(self) -> float:
        """What the metrics say of log lines."""
        text = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        (line,) = (line for line in text.splitlines() if line.startswith('zatotx_log_lines_lost_total'))
        return float(line.split()[1])

    def test_requests_go_on(self) -> None:
        """Small bodies need no disk, in a thread or not; a log line that finds no room costs nobody anything, and is
        counted; afterwards the log says that lines are missing, and goes on."""
        before = self.lost()
        self.fill()
        for number in range(50):
            for path in ('/acc/echo', '/acc/thread'):
                answer = self.post(path, b'{"a": 1}', **{'X-Zato-CID': f'full.disk.{number}'})
                self.assertEqual((answer.status, answer.json()), (200, {'a': 1}))
        self.assertEqual(self.post('/acc/raises', b'{}').status, 500)
        until(lambda: self.lost() - before >= 100, 'the count of the lines lost')
        self.assertNotIn('full.disk.49', self.broker.log())
        self.free()
        until(lambda: self.post('/acc/echo', b'{}', **{'X-Zato-CID': 'healed.disk'}).status == 200
              and 'healed.disk' in self.broker.log(), 'a log that goes on')  # fmt: skip
        self.assertIn('missing here', self.broker.log(name='http_access.log'))

    def test_a_body_that_finds_no_room_is_503(self) -> None:
        """With a sentence and Retry-After; bodies that fit in memory are taken meanwhile, and large ones again when
        there is room."""
        self.fill()
        refused = self.post('/acc/raw', b'x' * 5 * MIB)
        self.assertEqual((refused.status, refused.field('retry-after').isdigit()), (503, True))
        self.assertIn('cannot be stored', refused.details)
        self.assertEqual(self.post('/acc/raw', b'x' * 1000).body, b'1000')
        self.free()
        self.assertEqual(self.post('/acc/raw', b'x' * 5 * MIB).body, str(5 * MIB).encode())

    def test_a_deployment_that_finds_no_room_fails_with_a_sentence(self) -> None:
        """What ran before runs on; tried again when there is room, it is deployed."""
        def source(text: str) -> Any:
            return self.broker.write('disk.py', f"""
                from zatotx import Service
                class Said(Service):
                    name = 'disk.said'
                    async def handle(self):
                        self.response.payload = {text!r}
            """)

        self.assertEqual(self.broker.deploy(source('before')).code, 0)
        self.fill()
        began = time.monotonic()
        said = self.broker.deploy(source('after'))
        self.assertEqual(said.code, 1, said.text)
        self.assertNotIn('Traceback', said.text)
        self.assertLess(time.monotonic() - began, 100)
        self.assertEqual(self.broker.invoke('disk.said').body, b'before')
        self.free()
        until(lambda: self.broker.deploy(source('after')).code == 0, 'a deployment')
        self.assertEqual(self.broker.invoke('disk.said').body, b'after')
