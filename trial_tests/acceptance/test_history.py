"""zato.history.*, edits that say what their editor saw, and `zatotx history`."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset, quickstart
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.internals import CHANNEL, USER, InternalTestCase
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.environment.odb_and_redis_access import command_actor, open_odb
from zatotx.odb.offline_operations import write_operations
from zatotx.schema.snapshot import Operation


class SeenTests(InternalTestCase):
    """An edit may give back the revision of the object that its editor read."""

    async def test_the_second_editor_is_refused(self) -> None:
        """With 409 naming the first one's change; with the new revision it is taken, and without one too, as Zato's."""
        made = await self.call('zato.security.basic-auth.create', USER)
        (row,) = await self.call('zato.security.basic-auth.get-list')
        first = {'id': made['id'], 'realm': 'First', 'revision': row['revision']}
        await self.call('zato.security.basic-auth.edit', first)
        for service, request in (
            ('zato.security.basic-auth.edit', {'id': made['id'], 'realm': 'Second'}),
            ('zato.security.basic-auth.change-password', {'id': made['id'], 'password1': 'x', 'password2': 'x'}),
            ('zato.security.basic-auth.delete', {'id': made['id']}),
        ):
            told = await self.refusal(service, {**request, 'revision': str(row['revision'])}, 409)
            for part in ('admin.invoke changed', "'crm'", "realm 'CRM' -> 'First'"):
                self.assertIn(part, told)
        one = await self.call('zato.security.basic-auth.get-by-id', {'id': made['id']})
        self.assertEqual((one['realm'], one['revision']), ('First', row['revision'] + 1))
        await self.call('zato.security.basic-auth.edit', {**one, 'realm': 'Second'})
        await self.call('zato.security.basic-auth.edit', {'id': made['id'], 'realm': 'Third'})

    async def test_rows_of_services_too(self) -> None:
        """Whoever switches a service says what was seen."""
        await self.with_crm()
        row = await self.call('zato.service.get-by-name', {'name': 'crm.get-balance'})
        edit = {'id': row['id'], 'revision': row['revision']}
        await self.call('zato.service.edit', {**edit, 'slow_threshold': 5})
        told = await self.refusal('zato.service.edit', {**edit, 'slow_threshold': 7}, 409)
        self.assertIn('slow_threshold 99999 -> 5', told)
        now = await self.call('zato.service.get-by-name', {'name': 'crm.get-balance'})
        self.assertEqual((now['slow_threshold'], now['revision']), (5, row['revision'] + 1))

    async def test_a_revision_is_a_number(self) -> None:
        """Anything else is bad input."""
        made = await self.call('zato.security.basic-auth.create', USER)
        edit = {'id': made['id'], 'realm': 'X', 'revision': 'new'}
        self.assertIn('$.revision', await self.refusal('zato.security.basic-auth.edit', edit, 400))


class ServiceTests(InternalTestCase):
    async def test_changes_are_listed(self) -> None:
        """Newest first, with who, the door, the cid; deployments among them; secrets masked."""
        await self.with_crm()
        made = await self.call('zato.security.basic-auth.create', USER)
        password = {'id': made['id'], 'password1': 'sEcReT', 'password2': 'sEcReT'}
        await self.call('zato.security.basic-auth.change-password', password)
        rows = await self.call('zato.history.get-list')
        last = [(row['action'], row['type'], row['name']) for row in rows[:3]]
        made_and_edited = [('edit', 'basic_auth', 'crm'), ('create', 'basic_auth', 'crm')]
        self.assertEqual(last, [*made_and_edited, ('deploy', 'file', 'crm.py')])
        self.assertEqual((rows[0]['who'], rows[0]['source'], len(rows[0]['cid'])), ('admin.invoke', 'test', 24))
        self.assertEqual((rows[0]['old'], rows[0]['new']), ({'password': ''}, {'password': '******'}))
        found = await self.call('zato.history.get-list', {'type': 'basic_auth', 'name': 'crm', 'limit': 1})
        self.assertEqual(found, rows[:1])
        self.assertEqual(await self.call('zato.history.get-list', {'since': rows[0]['revision']}), [])
        self.assertIn('1 to 10000', await self.refusal('zato.history.get-list', {'limit': 10001}, 400))

    async def test_a_revision_is_exported_and_restored(self) -> None:
        """Live on every node when it answers; what is not kept is 404."""
        await self.with_crm()
        await self.call('zato.security.basic-auth.create', USER)
        await self.call('zato.http-soap.create', CHANNEL)
        then = self.one.config.snapshot.revision
        (row,) = await self.call('zato.http-soap.get-list')
        await self.call('zato.http-soap.delete', {'id': row['id']})
        exported = await self.call('zato.history.export', {'revision': then})
        self.assertEqual(yaml.safe_load(exported['yaml'])['channel_rest'][0]['name'], 'balance')
        asked = {'revision': then, 'dry_run': True}
        dry = await self.call('zato.history.restore', asked)
        self.assertEqual((dry['changed'], dry['revision']), (1, then + 1))
        done = await self.call('zato.history.restore', {'revision': then})
        self.assertEqual((done['diff'], done['revision']), (dry['diff'], then + 2))
        for node in (self.one, self.two):
            self.assertIsNotNone(node.config.snapshot.find('channel_rest', 'balance'))
        self.assertIn('is not kept', await self.refusal('zato.history.export', {'revision': 10_000}, 404))


class CommandTests(SynchronousTestCase):
    """`zatotx history`, on an environment that does not run."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        quickstart(self.path, '--servers', 1, '--port-offset', free_offset())
        self.change(Operation(action='create', type='basic_auth', name='crm',
                              fields={'name': 'crm', 'username': 'crm', 'password': 'first-sEcReT'}))  # fmt: skip
        self.change(Operation(action='edit', type='basic_auth', name='crm',
                              fields={'realm': 'New', 'password': 'second-sEcReT'}))  # fmt: skip

    def change(self, operation: Operation) -> None:
        with open_odb(find_environment(str(self.path))) as opened:
            write_operations(opened, [operation], command_actor('a test'))

    def history(self, *words: object) -> Said:
        said = zatotx('history', *words)
        self.assertEqual((said.code, sentences(said.err)), (0, []), said)
        self.assertNotIn('sEcReT', said.out)
        return said

    def test_list(self) -> None:
        """For people and for programs; `list` may be left out."""
        lines = self.history(self.path).out.splitlines()
        self.assertEqual(lines, self.history('list', self.path).out.splitlines())
        self.assertEqual(lines[0].split(), ['REVISION', 'WHEN', 'WHO', 'FROM', 'CHANGE'])
        self.assertIn("edit basic_auth 'crm': password '******' -> '******', realm 'zatotx' -> 'New'", lines[1])
        self.assertIn('zatotx a test', lines[1])
        rows = json.loads(self.history(self.path, '--name', 'crm', '--format', 'json').out)
        self.assertEqual([(row['revision'], row['action']) for row in rows], [(3, 'edit'), (2, 'create')])
        self.assertEqual(json.loads(self.history(self.path, '--since', 3, '--format', 'json').out), [])
        self.assertIn('--limit', zatotx('history', self.path, '--limit', 1).err)

    def test_much_at_once(self) -> None:
        """Of a revision that changed twenty objects the first lines say enough; programs get them all."""
        with open_odb(find_environment(str(self.path))) as opened:
            many = [Operation(action='create', type='basic_auth', name=name, fields={'name': name, 'username': name})
                    for name in (f'u{number}' for number in range(20))]  # fmt: skip
            write_operations(opened, many, command_actor('a test'))
        lines = [line for line in self.history(self.path).out.splitlines() if line.startswith('4 ')]
        self.assertEqual(len(lines), 8)
        self.assertTrue(lines[-1].endswith('and 13 more: zatotx history show PATH 4'), lines[-1])
        self.assertEqual(len(json.loads(self.history(self.path, '--since', 3, '--format', 'json').out)), 20)

    def test_show(self) -> None:
        """Old and new, field by field; a revision that changed nothing is said to have none."""
        self.assertIn("    realm: 'zatotx' -> 'New'", self.history('show', self.path, 3).out.splitlines())
        said = zatotx('history', 'show', self.path, 99)
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1))

    def test_export(self) -> None:
        """As enmasse's YAML, to a file too."""
        text = self.history('export', self.path, 2).out
        self.assertEqual(yaml.safe_load(text)['security'][0]['name'], 'crm')
        self.assertNotIn('realm', text)
        file = self.path.parent / 'then.yaml'
        self.history('export', self.path, 2, '--output', file)
        self.assertEqual(file.read_text('utf-8'), text)

    def test_restore(self) -> None:
        """First dry, then so, then nothing is left to do; it stands in the history with the account that did it."""
        dry = self.history('restore', self.path, 2, '--dry-run').out
        self.assertIn("realm: 'New' → 'zatotx'", dry)
        self.assertIn('Nothing was written.', dry)
        done = self.history('restore', self.path, 2).out
        self.assertIn('Revision 2 was restored as revision 4.', done)
        self.assertIn('Nothing to do', self.history('restore', self.path, 2).out)
        last = json.loads(self.history(self.path, '--limit', 100, '--format', 'json').out)[0]
        self.assertEqual(last['source'], 'zatotx history restore 2')
        self.assertEqual(last['who'], command_actor('').username)
        said = zatotx('history', 'restore', self.path, 17)
        self.assertEqual(said.code, 1)
        self.assertIn('the kept ones are 1 to 4', said.err)
