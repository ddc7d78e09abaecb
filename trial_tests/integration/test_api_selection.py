"""zato.history.undo, zato.schema.get-yaml and get-matches: what the lists of the web admin need beside get-list."""

from __future__ import annotations

from typing import Any

from trial_tests.support.internals import USER, InternalTestCase

PREFIX = 'zato.security.basic-auth'


class SelectionTests(InternalTestCase):
    async def create(self, name: str) -> int:
        payload = {**USER, 'name': name, 'username': name, 'password': f'secret-{name}'}
        response = await self.one.call(f'{PREFIX}.create', payload)
        return int(response['zato_security_basic_auth_create_response']['id'])

    async def revision(self) -> int:
        return int((await self.one.odb.history(1))[0].revision)

    def find(self, name: str) -> Any:
        return self.one.config.snapshot.find('basic_auth', name)

    async def test_undo(self) -> None:
        """Deleted objects come back with their passwords, in one change, whatever else was changed since."""
        first, second = await self.create('first'), await self.create('second')
        before = self.find('first').value
        revisions = []
        for each in (first, second):
            await self.one.call(f'{PREFIX}.delete', {'id': each})
            revisions.append(await self.revision())
        await self.create('third')
        response = await self.one.call('zato.history.undo', {'revisions': ','.join(map(str, revisions))})
        self.assertEqual(response['zato_history_undo_response']['changed'], 2)
        self.assertEqual(self.find('first').value, before)
        self.assertTrue(self.find('second') and self.find('third'))

    async def test_changed_since(self) -> None:
        """An object that was changed again is named, and nothing changes."""
        await self.create('again')
        await self.one.call(f'{PREFIX}.delete', {'id': self.find('again').id})
        revision = await self.revision()
        await self.create('again')
        reply = await self.one.reply('zato.history.undo', {'revisions': str(revision)})
        self.assertEqual(reply.status, 409)
        self.assertIn(b'again', reply.body)

    async def test_wrong_input(self) -> None:
        """What is no revision is refused."""
        for revisions, status in (('', 400), ('x', 400), ('1,,', 404), ('99999', 404)):
            reply = await self.one.reply('zato.history.undo', {'revisions': revisions})
            self.assertIn(reply.status, (status, 404), revisions)

    async def test_yaml(self) -> None:
        """Only the chosen objects are exported, with placeholders for secrets; unknown ones are refused."""
        first, _ = await self.create('first'), await self.create('second')
        response = await self.one.call('zato.schema.get-yaml', {'type': 'basic_auth', 'ids': str(first)})
        text = response['zato_schema_get_yaml_response']['yaml']
        self.assertIn('name: first', text)
        self.assertIn('${ZATOTX_FIRST_PASSWORD}', text)
        self.assertNotIn('second', text)
        cases = ('basic_auth', '999', 404), ('channel_rest', str(first), 404), ('basic_auth', 'x', 400)
        for type_, ids, status in cases:
            reply = await self.one.reply('zato.schema.get-yaml', {'type': type_, 'ids': ids})
            self.assertEqual(reply.status, status, ids)

    async def test_matches(self) -> None:
        """Objects are found by the words in their names and texts, of all types, and not by their secrets."""
        first = await self.create('Orders of CRM')
        await self.create('other')
        for query, expected in (('crm ORDERS', [first]), ('secret-other', []), ('nothing', [])):
            response = await self.one.call('zato.schema.get-matches', {'query': query})
            rows = response['zato_schema_get_matches_response']
            self.assertEqual([(row['id'], row['type']) for row in rows], [(each, 'basic_auth') for each in expected])
        self.assertEqual((await self.one.reply('zato.schema.get-matches', {'query': 'x', 'limit': -1})).status, 400)
