"""Services that use Redis in a running environment: both forms, a lock, a frozen Redis."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.redis import spoken
from trial_tests.support.served import one_server
from trial_tests.support.waiting import allowed

SERVICES = '''
from zatotx import Service


class Execute(Service):
    name = 'kv.execute'

    async def handle(self):
        self.response.payload = {'reply': await self.kvdb.execute(*self.request.payload['words'])}


class Plain(Service):
    name = 'kv.plain'

    def handle(self):
        with self.kvdb.conn.pipeline() as pipe:
            pipe.set('kv.plain', 'é').expire('kv.plain', 60)
            replies = pipe.execute()
        script = self.kvdb.register_script("return redis.call('GET', KEYS[1])")
        self.response.payload = [replies, self.kvdb.conn.get('kv.plain'), script(keys=['kv.plain']),
                                 list(self.kvdb.conn.scan_iter(match='kv.plain'))]


class Book(Service):
    """Reads, waits and writes: without a lock, concurrent calls lose bookings."""
    name = 'kv.book'

    async def handle(self):
        from twisted.internet import reactor
        from twisted.internet.task import deferLater
        async with self.lock('kv.balance', block=30):
            balance = int(await self.kvdb.get('kv.balance') or 0)
            await deferLater(reactor, 0.02)
            await self.kvdb.set('kv.balance', balance + 1)


class Cached(Service):
    name = 'kv.cached'

    async def handle(self):
        def loader():
            return 'loaded'
        self.response.payload = [await self.cache.load('kv:loaded', loader, 60), await self.cache.get('kv:rest'),
                                 (await self.translate('CRM', 'country', 'PL', 'ERP', 'ctry')).value2]


class BookPlain(Service):
    name = 'kv.book-plain'

    def handle(self):
        with self.lock('kv.balance', 20, 30):
            self.kvdb.conn.set('kv.balance', int(self.kvdb.conn.get('kv.balance') or 0) + 1)
'''


class ServiceRedisTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = one_server()
        if not getattr(self.broker, 'has_redis_services', False):
            self.broker.serve('kv_services.py', SERVICES)
            self.broker.has_redis_services = True  # type: ignore[attr-defined]

    @property
    def redis_path(self) -> Path:
        return next((self.broker.path / 'redis').rglob('*.sock'))

    def call(self, name: str, payload: Any = None) -> Any:
        answer = self.broker.invoke(name, json.dumps(payload or {}).encode())
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json() if answer.body else None

    def execute(self, *words: object) -> Any:
        return self.broker.invoke('kv.execute', json.dumps({'words': words}).encode())

    def test_both_forms(self) -> None:
        """Async and `def` services, with a transaction and a script that Redis allows."""
        self.assertEqual(self.execute('SET', 'kv.a', 5).json(), {'reply': 'OK'})
        self.assertEqual(spoken(self.redis_path, 'GET', 'kv.a'), '5')
        self.assertEqual(self.call('kv.plain'), [[True, True], 'é', 'é', ['kv.plain']])

    def test_refused(self) -> None:
        """No command of a service reaches the cluster: the log says why."""
        answer = self.execute('FLUSHALL')
        self.assertEqual(answer.status, 500)
        self.broker.logged('CommandRefusedError', 'FLUSHALL is not available to services')
        self.assertEqual(self.execute('EVAL', "return redis.call('FLUSHALL')", 0).status, 500)

    def test_lock(self) -> None:
        """Concurrent bookings of async and `def` services are all counted."""
        spoken(self.redis_path, 'DEL', 'kv.balance')
        names = ['kv.book', 'kv.book-plain'] * 6
        threads = [threading.Thread(target=self.call, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(spoken(self.redis_path, 'GET', 'kv.balance'), str(len(names)))

    def rest(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        content = b'' if body is None else json.dumps(body).encode()
        answer = self.broker.ask(method, f'/zato/cache/{path}', fields=self.broker.admin(), body=content)
        self.assertEqual(answer.status, status, answer.body)
        return answer.json()

    def test_cache_and_translation(self) -> None:
        """Caches over HTTP and in services, and a data dictionary from an enmasse file."""
        row = '{system1: CRM, key1: country, value1: PL, system2: ERP, key2: ctry, value2: "616"}'
        self.broker.configure(f'data_dictionary:\n  - {row}\n')
        entry = self.rest('POST', 'kv:rest', {'value': {'a': [1]}, 'expiry': 60})
        self.assertEqual((entry['value'], entry['expiry'], entry['hits']), ({'a': [1]}, 60.0, 0))
        self.assertEqual(self.call('kv.cached'), ['loaded', {'a': [1]}, '616'])
        self.assertEqual(self.rest('GET', 'kv:rest')['hits'], 2)
        self.assertEqual(self.rest('GET', 'get/by-prefix/kv:'), {'kv:rest': {'a': [1]}, 'kv:loaded': 'loaded'})
        self.assertEqual(self.rest('GET', 'get/contains-all?text=kv&text=rest'), {'kv:rest': {'a': [1]}})
        self.assertEqual(self.rest('POST', 'set/contains/rest', {'value': 5}), ['kv:rest'])
        self.assertEqual(self.rest('POST', 'expire/by-suffix/rest?expiry=9'), ['kv:rest'])
        self.assertEqual(self.rest('GET', 'kv:rest')['value'], 5)
        self.rest('GET', 'kv:rest?cache=other', status=404)
        self.assertEqual(self.rest('DELETE', 'kv:rest'), {})
        self.rest('DELETE', 'kv:rest', status=404)
        self.assertEqual(self.rest('DELETE', 'delete/contains-any', {'text': ['loaded', 'x']}), ['kv:loaded'])
        self.rest('GET', 'get/by-regex/x', status=404)
        self.rest('GET', 'delete/by-prefix/x', status=405)
        self.rest('POST', 'kv:rest', {'expiry': 5}, status=400)
        self.rest('POST', 'kv:rest', {'value': 1, 'expiry': 'x'}, status=400)
        self.assertEqual(self.broker.ask('GET', '/zato/cache/kv:rest').status, 401)
        self.assertEqual(self.broker.ask('GET', '/zato/cache/kv:rest', fields=self.broker.pubapi()).status, 401)

    def test_frozen(self) -> None:
        """With a frozen Redis, a call ends in 504 within [kvdb] timeout + 10 %, and HTTP goes on meanwhile."""
        self.assertEqual(self.execute('PING').status, 200)
        pid = int(spoken(self.redis_path, 'INFO', 'server').partition('process_id:')[2].split()[0])
        os.kill(pid, signal.SIGSTOP)
        try:
            ended: list[tuple[int, float]] = []
            began = time.monotonic()

            def ask() -> None:
                ended.append((self.execute('GET', 'kv.a').status, time.monotonic() - began))

            thread = threading.Thread(target=ask)
            thread.start()
            slowest = 0.0
            while thread.is_alive():
                asked = time.monotonic()
                self.assertEqual(self.broker.ask('GET', '/zato/ping').status, 200)
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.02)
        finally:
            os.kill(pid, signal.SIGCONT)
        (status, took), = ended
        self.assertEqual(status, 504)
        self.assertTrue(4.9 <= took <= allowed(5.0), took)
        self.assertLess(slowest, allowed(1.0))
        end = time.monotonic() + 30
        while self.execute('PING').status != 200:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
