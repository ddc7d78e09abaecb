"""zato.kvdb.* and the data dictionary in enmasse, on a real ODB and a Redis in memory."""

from __future__ import annotations

from typing import Any

import yaml

from trial_tests.support.internals import InternalTestCase
from zatotx.model.errors import ServiceUnavailable
from zatotx.node.live_config import LiveConfig

ROW = {'system1': 'CRM', 'key1': 'country', 'value1': 'PL', 'system2': 'ERP', 'key2': 'ctry', 'value2': '616'}
DICTIONARY, TRANSLATION = 'zato.kvdb.data-dict.dictionary.', 'zato.kvdb.data-dict.translation.'


class DataDictionaryServiceTests(InternalTestCase):
    async def created(self) -> Any:
        """The ids of two entries and their translation."""
        first = await self.call(DICTIONARY + 'create', {'system': 'CRM', 'key': 'country', 'value': 'PL'})
        second = await self.call(DICTIONARY + 'create', {'system': 'ERP', 'key': 'ctry', 'value': 616})
        return first['id'], second['id'], (await self.call(TRANSLATION + 'create', ROW))['id']

    async def test_dictionary(self) -> None:
        """Entries are created, listed, edited and deleted under Zato's names of services and fields."""
        self.assertEqual(await self.created(), (1, 2, 1))
        self.assertEqual(await self.call(DICTIONARY + 'get-list'), [
            {'id': 1, 'system': 'CRM', 'key': 'country', 'value': 'PL'},
            {'id': 2, 'system': 'ERP', 'key': 'ctry', 'value': '616'},
        ])  # fmt: skip
        self.assertEqual(await self.call(DICTIONARY + 'get-system-list'), [{'name': 'CRM'}, {'name': 'ERP'}])
        self.assertEqual(await self.call(DICTIONARY + 'get-key-list', {'system': 'CRM'}), [{'name': 'country'}])
        self.assertEqual(await self.call(DICTIONARY + 'get-value-list', {'system': 'CRM', 'key': 'country'}),
                         [{'name': 'PL'}])  # fmt: skip
        self.assertEqual(await self.call(DICTIONARY + 'get-last-id'), {'value': 2})
        edited = {'id': '2', 'system': 'ERP', 'key': 'ctry', 'value': '617'}
        self.assertEqual(await self.call(DICTIONARY + 'edit', edited), {'id': 2})
        self.assertEqual((await self.call(TRANSLATION + 'get-list'))[0]['value2'], '617')
        await self.call(DICTIONARY + 'delete', {'id': 1})
        self.assertEqual(await self.call(TRANSLATION + 'get-list'), [])
        self.assertIn('no entry with id 1', await self.refusal(DICTIONARY + 'delete', {'id': 1}, 404))

    async def test_translation(self) -> None:
        """Translations are created, listed, edited, used and deleted under Zato's names of services and fields."""
        await self.created()
        self.assertEqual(await self.call(TRANSLATION + 'get-list'), [{'id': 1, 'id1': 1, 'id2': 2, **ROW}])
        asked = {name: text for name, text in ROW.items() if name != 'value2'}
        found = await self.call(TRANSLATION + 'translate', asked)
        self.assertEqual((found['value2'], found['repr'], found['hex']), ('616', "'616'", '363136'))
        self.assertEqual((len(found['sha1']), len(found['sha256'])), (40, 64))
        nothing = await self.call(TRANSLATION + 'translate', {**asked, 'value1': 'XX'})
        self.assertEqual(set(nothing.values()), {''})
        refused = await self.refusal(TRANSLATION + 'edit', {'id': 1, **ROW, 'value2': '1'}, 404)
        self.assertIn('create it first', refused)
        await self.call(DICTIONARY + 'create', {'system': 'ERP', 'key': 'ctry', 'value': '1'})
        self.assertEqual(await self.call(TRANSLATION + 'edit', {'id': 1, **ROW, 'value2': '1'}), {'id': 1})
        self.assertEqual((await self.call(TRANSLATION + 'translate', asked))['value2'], '1')
        self.assertEqual(await self.call(TRANSLATION + 'get-last-id'), {'value': 1})
        self.assertEqual(await self.call(TRANSLATION + 'delete', {'id': 1}), {'id': 1})
        self.assertEqual(await self.call(TRANSLATION + 'get-list'), [])

    async def test_import_and_export(self) -> None:
        """An import replaces everything by what was exported."""
        await self.created()
        data = (await self.call('zato.kvdb.data-dict.impexp.export'))['data']
        await self.call(DICTIONARY + 'create', {'system': 'X', 'key': 'y', 'value': 'z'})
        counts = {'entries': 2, 'translations': 1, 'new_entries': 0, 'gone_entries': 1, 'new_translations': 0,
                  'gone_translations': 0}  # fmt: skip
        for options in ({'dry_run': True}, {}):
            self.assertEqual(len(await self.call(DICTIONARY + 'get-system-list')), 3)
            self.assertEqual(await self.call('zato.kvdb.data-dict.impexp.import', {'data': data, **options}), counts)
        self.assertEqual(await self.call(DICTIONARY + 'get-system-list'), [{'name': 'CRM'}, {'name': 'ERP'}])
        refused = await self.refusal('zato.kvdb.data-dict.impexp.import', {'data': '!'}, 400)
        self.assertIn('not base64', refused)

    async def test_remote_command(self) -> None:
        """Zato's commands are executed; others and the cluster's keys are refused."""
        name = 'zato.kvdb.remote-command.execute'

        async def run(command: str) -> Any:
            return (await self.call(name, {'command': command}))['result']

        self.assertEqual(await run('set key "a value"'), 'OK')
        self.assertEqual(await run('GET key'), 'a value')
        self.assertEqual(await run('GET none'), '(None)')
        self.assertEqual(await run('hset h f 1'), 1)
        self.assertEqual(await run('hgetall h'), {'f': '1'})
        for command in ('FLUSHDB', 'CONFIG GET *', 'EVAL "return 1" 0', 'GET "x'):
            self.assertIn('Command parsing error', await self.refusal(name, {'command': command}, 400))
        refused = await self.refusal(name, {'command': 'DEL zatotx:c1:lease:a'}, 400)
        self.assertIn('belong to the cluster', refused)
        self.assertIn('WRONGTYPE', await self.refusal(name, {'command': 'LPUSH key 1'}, 400))


USER = {'name': 'a', 'type': 'basic_auth', 'username': 'a', 'realm': 'A', 'password': 'p'}
IMPORT = 'zato.enmasse.import'


class EnmasseTests(InternalTestCase):
    async def do(self, document: dict[str, Any], **options: Any) -> Any:
        return await self.call(IMPORT, {'document': document, 'resolved': True, **options})

    async def refused(self, document: dict[str, Any], status: int) -> str:
        return await self.refusal(IMPORT, {'document': document, 'resolved': True}, status)

    async def test_import(self) -> None:
        """The section is imported, compared, and exported with the configuration."""
        document = {'data_dictionary': [ROW], 'security': [USER]}
        tried = await self.do(document, dry_run=True)
        self.assertEqual(tried['changed'], 2)
        self.assertEqual(await self.call(DICTIONARY + 'get-list'), [])
        done = await self.do(document)
        self.assertEqual((done['changed'], done['unchanged']), (2, 0))
        self.assertIn('+ data_dictionary CRM, country, PL -> ERP, ctry, 616', done['diff'])
        self.assertEqual((await self.call(TRANSLATION + 'get-list'))[0]['value2'], '616')
        again = await self.do(document)
        self.assertEqual((again['changed'], again['unchanged']), (0, 2))
        exported = yaml.safe_load((await self.call('zato.enmasse.export'))['yaml'])
        self.assertEqual(exported['data_dictionary'], [ROW])
        self.assertEqual((await self.do({'data_dictionary': exported['data_dictionary']}))['changed'], 0)

    async def test_errors(self) -> None:
        """Errors of the section and of others are reported together, and nothing is written."""
        wrong = {'name': 'a', 'type': 'basic_auth'}
        details = await self.refused({'data_dictionary': [{**ROW, 'key1': ''}], 'security': [wrong]}, 400)
        self.assertIn('data_dictionary #1: key1: missing', details)
        self.assertIn("security 'a': username: missing", details)
        await self.refused({'data_dictionary': [ROW], 'security': [wrong]}, 400)
        self.assertEqual(await self.call(DICTIONARY + 'get-list'), [])

    async def test_without_redis(self) -> None:
        """Without Redis, a document with the section changes nothing; one without it is imported."""
        self.one.service_redis.memory.fail_with(ServiceUnavailable(None, 'Redis is unavailable: frozen'))
        self.assertIn('frozen', await self.refused({'data_dictionary': [ROW], 'security': [USER]}, 503))
        self.assertEqual((await self.do({'security': [USER]}))['changed'], 1)
        self.assertIn('frozen', await self.refusal('zato.enmasse.export', None, 503))

    async def test_redis_lost_in_between(self) -> None:
        """If Redis fails once the configuration is stored, the error says so; the same import completes it."""
        memory = self.one.service_redis.memory
        change = LiveConfig.change

        def fail_and_change(*args: Any) -> Any:
            memory.fail_with(ServiceUnavailable(None, 'Redis is unavailable: frozen'))
            return change(*args)

        self.patch(LiveConfig, 'change', fail_and_change)
        document = {'data_dictionary': [ROW], 'security': [USER]}
        details = await self.refused(document, 503)
        self.assertRegex(details, 'configuration is in force .* Redis is unavailable: frozen. Import again')
        memory.fail_with(None)
        done = await self.do(document)
        self.assertEqual((done['changed'], done['unchanged']), (1, 1))
