"""Services type-check with mypy in strict mode, without plugins."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SERVICE = '''
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from zatotx import BadRequest, Event, Int, Model, NotFound, Service, Text


@dataclass(init=False)
class Customer(Model):
    customer_id: int
    name: str = ''


class Balance(msgspec.Struct):
    amount: float
    currency: str = 'EUR'


class GetBalance(Service):
    name = 'crm.get-balance'
    input = Int('customer_id'), Text('-currency')
    output = Balance

    async def handle(self) -> None:
        self.metrics.incr('crm.calls')
        self.metrics.incr('crm.calls', 2)
        self.metrics.gauge('crm.depth', 3)
        self.metrics.timing('crm.seconds', 0.5)
        self.logger.info('asked for %s by %s', self.request.input.customer_id, self.principal.username)
        answer = await self.out.rest['CRM'].get(params={'id': self.request.input.customer_id})
        other = await self.outgoing.soap['Bank'].conn.client().service.GetBalance('x')
        names = await self.invoke('crm.other', {'a': 1}, timeout=5)
        if self.deadline.remaining < 1 or not names:
            raise NotFound(self.cid, 'nobody')
        if self.request.http.method == 'POST' and self.request.headers.get('X-A', '') == 'b':
            raise BadRequest(self.cid, str(self.request.http.GET.get('a')))
        self.response.headers['X-A'] = self.channel.name
        self.response.status_code = 201
        self.response.payload = Balance(amount=answer.data['amount'] + other)
        self.logger.info(self.user_config.crm.main.key, self.time.utcnow())
        self.environ['a'] = self.usage
        self.log_input('got')

    @staticmethod
    def before_add_to_store(logger: object) -> bool:
        return True


class Watch(Service):
    async def handle(self) -> None:
        self.response.events(self.changes())

    async def changes(self) -> AsyncIterator[Event]:
        yield Event('x')


class InThread(Service):
    def handle(self) -> None:
        self.response.payload.text = self.invoke(GetBalance)
        self.response.payload = Customer.from_dict({'customer_id': 1}).to_dict()
        for file in self.request.files.values():
            self.logger.info(file.filename, self.out.rest['CRM'].get().data)


class Wrong(Service):
    async def handle(self) -> None:
        self.metrics.incr(3)  # error: arg-type
        self.metrics.count('x')  # error: attr-defined
        self.response.status = 201  # error: attr-defined
        self.cid + 1  # error: operator
        self.logger.info()  # error: call-arg
        self.deadline.left  # error: attr-defined
'''
FOUND = re.compile(r'crm\.py:(\d+): error: .*\[([\w-]+)\]')


class TypeTests(SynchronousTestCase):
    def test_without_plugins(self) -> None:
        """Attributes of services are typed, so correct code passes and each mistake is found."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / 'crm.py').write_text(SERVICE)
        command = [sys.executable, '-m', 'mypy', '--strict', '--config-file=', '--cache-dir=cache', 'crm.py']
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=300)
        expected = [(str(number), line.partition('# error: ')[2])
                    for number, line in enumerate(SERVICE.splitlines(), 1) if '# error: ' in line]
        self.assertEqual(FOUND.findall(done.stdout), expected, done)
