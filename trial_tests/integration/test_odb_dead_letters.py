"""Dead letters on real SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select, update
from twisted.internet.defer import gatherResults

from trial_tests.support.odb import CLUSTER, KEY, OdbCase, on_every_database, per_engine
from trial_tests.support.reactor import reactor
from zatotx.interfaces.dead_letters import DeadLetterFilter, IDeadLetterStore
from zatotx.model.errors import NotFound, ServiceUnavailable
from zatotx.model.work_message import WorkMessage, encode_work
from zatotx.odb import key_rotation
from zatotx.odb.config_store import open_store
from zatotx.odb.database import Database
from zatotx.odb.database_executor import CancellableCall
from zatotx.odb.offline_operations import open_database
from zatotx.odb.secrets import Secrets, new_key
from zatotx.odb.tables import dead_letter

ALL = DeadLetterFilter()


def letter(number: int, **fields: Any) -> WorkMessage:
    """A message that has failed."""
    made = {'service': 'crm.pay', 'payload': {'n': number}, 'attempts': 5, 'cause': 'boom', 'first_failed': 1.5,
            'last_failed': 100.25 + number, **fields}  # fmt: skip
    return WorkMessage(id=f'm{number}', cid=f'c{number}', **made)


@on_every_database
class DeadLetterTests(OdbCase):
    async def test_kept_as_they_are(self) -> None:
        """Dead letters come back unchanged, those that failed last first, by ids and by service; others are not found
        by names that a database takes for the same."""
        self.assertTrue(IDeadLetterStore.providedBy(self.store))
        store: Any = self.store
        letters = [letter(1, payload=b'\xff' * 70_000, cause='ż' * 70_000), letter(2, service='CRM.pay '), letter(3)]
        for one in letters:
            await store.store_dead_letter(one)
        self.assertEqual(await store.dead_letters(ALL), letters[::-1])
        self.assertEqual(await store.dead_letters(DeadLetterFilter(limit=1)), letters[2:])
        self.assertEqual(await store.dead_letters(DeadLetterFilter(service='crm.pay')), [letters[2], letters[0]])
        self.assertEqual(await store.dead_letters(DeadLetterFilter(ids=('m2', 'M1', 'm1'))), [letters[1], letters[0]])
        self.assertEqual(await store.count_dead_letters(), 3)

    async def test_one_for_each_message(self) -> None:
        """A message that is given up again replaces its dead letter, also by several nodes at once."""
        stores: list[Any] = [self.store, self.open()]
        await gatherResults([store.store_dead_letter(letter(1, attempts=n, last_failed=float(n)))
                             for n in range(1, 5) for store in stores])  # fmt: skip
        (found,) = await stores[0].dead_letters(ALL)
        self.assertEqual(found.id, 'm1')

    async def test_edited_and_removed(self) -> None:
        """An edit replaces the content; one that has failed again since it was read is not removed; an unknown one is
        NotFound."""
        store: Any = self.store
        first, second = letter(1), letter(2)
        for one in (first, second):
            await store.store_dead_letter(one)
        edited = msgspec.structs.replace(first, payload='new')
        await store.edit_dead_letter(edited)
        await store.store_dead_letter(msgspec.structs.replace(second, last_failed=200.0))
        self.assertEqual(await store.remove_dead_letters([edited, second, letter(7)]), 1)
        (left,) = await store.dead_letters(ALL)
        self.assertEqual((left.id, left.last_failed), ('m2', 200.0))
        with self.assertRaisesRegex(NotFound, "no dead letter 'm1'"):
            await store.edit_dead_letter(edited)

    @per_engine
    async def test_encrypted(self) -> None:
        """Nothing of a message is readable in the database, but its id and service. Rows of a former version, which are
        not encrypted, are read too, and encrypted when the key is rotated."""
        store: Any = self.store
        await store.store_dead_letter(
            letter(1, payload={'card': 'planted-number'}, headers={b'token': b'planted-token'}))
        await store.store_dead_letter(letter(2, payload='planted-old'))
        database = self.database()
        database.write(CancellableCall(), lambda connection, _: connection.execute(
            update(dead_letter).where(dead_letter.c.message_id == 'm2').values(
                document=encode_work(letter(2, payload='planted-old')))))  # fmt: skip
        self.assertIn(b'planted-old', self.documents(database)['m2'])
        payloads = [one.payload for one in await store.dead_letters(ALL)]
        self.assertEqual(payloads, ['planted-old', {'card': 'planted-number'}])
        self.assertNotIn(b'planted', self.documents(database)['m1'])
        new = new_key()
        rotated = open_database(self.url, f'{new} {KEY}', cluster=CLUSTER, types=self.types)
        self.addCleanup(rotated.close)
        self.patch(key_rotation, 'LETTERS', 1)
        self.assertEqual((key_rotation.rotate_key(rotated), key_rotation.rotate_key(rotated)), (2, 0))
        self.assertNotIn(b'planted', b''.join(self.documents(database).values()))
        opened = open_store(self.url, Secrets(new), reactor=reactor, cluster=CLUSTER, types=self.types)
        self.addCleanup(opened.close)
        with_new_key: Any = opened
        found = await with_new_key.dead_letters(ALL)
        self.assertEqual([(one.id, one.headers) for one in found], [('m2', {}), ('m1', {b'token': b'planted-token'})])
        with self.assertRaisesRegex(ServiceUnavailable, 'not the one that encrypted the ODB'):
            await store.dead_letters(ALL)

    def documents(self, database: Database) -> dict[str, bytes]:
        """What is stored, by message id."""
        query = select(dead_letter.c.message_id, dead_letter.c.document)
        return {row.message_id: bytes(row.document)
                for row in database.read(lambda connection, _: connection.execute(query).all())}  # fmt: skip
