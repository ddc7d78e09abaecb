"""self.translate in async and `def` services, and formats of self.time that are stored in Redis."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx import Service
from zatotx.testing.service_test_case import ServiceTesting


class Async(Service):
    name = 'translate.async'

    async def handle(self) -> None:
        found = await self.translate('CRM', 'country', self.request.payload, 'ERP', 'ctry')
        self.response.payload = [found.value2, bool(found), str(found), found.repr, found.hex, len(found.sha256)]


class Plain(Service):
    name = 'translate.plain'

    def handle(self) -> None:
        found = self.translate('CRM', 'country', self.request.payload, 'ERP', 'ctry')
        self.response.payload = [found.value2, bool(found), str(found), found.repr, found.hex, len(found.sha256)]


class Times(Service):
    name = 'times.async'

    async def handle(self) -> None:
        await self.kvdb.set('kvdb:date-format:mine', 'DD.MM.YYYY')
        self.response.payload = [
            await self.time.utcnow('kvdb:mine'), self.time.utcnow('YYYY'), await self.time.today('kvdb:mine'),
            await self.time.reformat('02.01.2026', 'kvdb:mine', 'YYYY'),
            await self.time.reformat('2026-01-02', 'YYYY-MM-DD', 'kvdb:mine'), await self.time.yesterday('kvdb:mine'),
        ]  # fmt: skip


class TimesPlain(Service):
    name = 'times.plain'

    def handle(self) -> None:
        self.kvdb.conn.set('kvdb:date-format:mine', 'DD.MM.YYYY')
        self.response.payload = [self.time.utcnow('kvdb:mine'), self.time.reformat('02.01.2026', 'kvdb:mine', 'YYYY')]


class Unknown(Service):
    name = 'times.unknown'

    def handle(self) -> None:
        self.time.utcnow('kvdb:none')


class TranslationTests(ServiceTesting, SynchronousTestCase):
    services = (Async, Plain, Times, TimesPlain, Unknown)

    def test_both_forms(self) -> None:
        """A translation has its value and forms of it; without one, value2 is None and the result is false."""
        self.kit.add_translation('CRM', 'country', 'PL', 'ERP', 'ctry', '616')
        self.kit.add_translation('CRM', 'country', '5', 'ERP', 'ctry', '617')
        for service in (Async, Plain):
            self.assertEqual(self.call(service, 'PL').payload, ['616', True, '616', "'616'", '363136', 64])
            self.assertEqual(self.call(service, 5).payload[0], '617')
            self.assertEqual(self.call(service, 'XX').payload[:3], [None, False, ''])

    def test_stored_formats(self) -> None:
        """`kvdb:<name>` is a format stored in Redis, under Zato's key."""
        self.assertEqual(self.call(Times).payload,
                         ['01.01.2026', '2026', '01.01.2026', '2026', '02.01.2026', '31.12.2025'])  # fmt: skip
        self.assertEqual(self.call(TimesPlain).payload, ['01.01.2026', '2026'])
        with self.assertRaisesRegex(ValueError, "'kvdb:none' is not in Redis: set the key kvdb:date-format:none"):
            self.call(Unknown)
