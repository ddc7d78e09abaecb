"""Data dictionaries, remote commands, and enmasse in the browser, over a double of the cluster's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trial_tests.unit.admin.test_application import ApplicationTestCase
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.screens.enmasse import digest_of

ENTRIES = [{'id': 1, 'system': 'CRM', 'key': 'country', 'value': 'PL'},
           {'id': 2, 'system': 'ERP', 'key': 'ctry', 'value': '616'}]  # fmt: skip
TRANSLATION = {'id': 5, 'system1': 'CRM', 'key1': 'country', 'value1': 'PL', 'system2': 'ERP', 'key2': 'ctry',
               'value2': '616', 'id1': 1, 'id2': 2}  # fmt: skip
DICTIONARY, TRANSLATIONS = 'zato.kvdb.data-dict.dictionary', 'zato.kvdb.data-dict.translation'
IMPORT = 'zato.kvdb.data-dict.impexp.import'
COMMAND = 'zato.kvdb.remote-command.execute'


class DictionaryTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in()
        self.api.answers |= {f'{DICTIONARY}.get-list': ENTRIES, f'{TRANSLATIONS}.get-list': [TRANSLATION]}

    def test_delete(self) -> None:
        """A confirmation lists the translations that are deleted with an entry."""
        self.api.answers[f'{DICTIONARY}.delete'] = {}
        page = self.get('/key-value/entries/2/delete').body
        self.assertIn('1 translation is deleted', page)
        self.assertIn('<code>CRM / country / PL</code>', page)
        self.location(self.post('/key-value/entries/2/delete'))
        self.assertEqual(self.api.called(f'{DICTIONARY}.delete'), [{'id': 2}])
        self.assertEqual(self.get('/key-value/entries/9/delete').code, 404)

    def test_mistakes(self) -> None:
        """A rejected row keeps what was typed, with the errors beside the fields."""
        self.api.answers[f'{TRANSLATIONS}.create'] = ApiError(400, ['$.value2: missing'])
        response = self.post('/key-value/translations/create', {'system1': 'CRM', 'key1': 'typed', 'value2': ''})
        self.assertEqual(response.code, 400)
        self.assertIn('value="typed"', response.body)
        self.assertIn('<p class="error">missing</p>', response.body)
        self.api.answers[f'{DICTIONARY}.edit'] = ApiError(409, ['CRM / country / PL exists already'])
        response = self.post('/key-value/entries/2', {'system': 'CRM', 'key': 'country', 'value': 'PL'})
        self.assertEqual(response.code, 409)
        self.assertIn('exists already', response.body)

    def test_translate(self) -> None:
        """A value is translated, and one without translation is said to have none."""
        service = f'{TRANSLATIONS}.translate'
        given = 'system1=CRM&key1=country&value1=PL&system2=ERP&key2=ctry'
        self.api.answers[service] = {'value2': '616', 'repr': "'616'", 'hex': '36', 'sha1': 'a', 'sha256': 'b'}
        self.assertIn('<dd class="code">616</dd>', self.get(f'/key-value/translate?{given}').body)
        self.api.answers[service] = {'value2': '', 'repr': '', 'hex': '', 'sha1': '', 'sha256': ''}
        self.assertIn('no such translation', self.get(f'/key-value/translate?{given}').body)

    def test_import(self) -> None:
        """A file is compared to the present dictionary first; it replaces it after a confirmation."""
        counts = {'entries': 3, 'translations': 1, 'new_entries': 2, 'gone_entries': 1, 'new_translations': 0,
                  'gone_translations': 0}  # fmt: skip
        self.api.answers[IMPORT] = counts
        page = self.post_file('/key-value/import', 'file', 'dictionary.txt', b'QlpoOTE=').body
        self.assertIn('<dt>Entries that are deleted</dt><dd>1</dd>', page)
        self.assertIn('<textarea name="data" hidden>QlpoOTE=</textarea>', page)
        self.location(self.post('/key-value/import', {'data': 'QlpoOTE=', 'confirmed': 'yes'}))
        self.assertEqual([payload['dry_run'] for payload in self.api.called(IMPORT)], [True, False])
        self.assertEqual(self.post('/key-value/import', {'data': ''}).code, 400)

    def test_export(self) -> None:
        """The dictionary is downloaded as the file that can be imported."""
        self.api.answers['zato.kvdb.data-dict.impexp.export'] = {'data': 'QlpoOTE='}
        response = self.post('/key-value/export')
        self.assertEqual(response.body, 'QlpoOTE=')
        self.assertIn('data-dictionary.txt', response.headers.getRawHeaders('content-disposition')[0])


class CommandTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in()
        self.api.answers[COMMAND] = lambda payload: {'result': {'a': '1'} if 'hgetall' in payload['command'] else 'OK'}

    def test_results(self) -> None:
        """Text is shown as it is, mappings and lists as JSON; the commands are listed."""
        self.assertIn('>OK</pre>', self.post('/key-value/commands', {'command': 'set a 1'}).body)
        self.assertIn('&#34;a&#34;: &#34;1&#34;', self.post('/key-value/commands', {'command': 'hgetall a'}).body)
        page = self.get('/key-value/commands').body
        self.assertIn('<code>HGETALL</code>', page)
        self.assertNotIn('<code>FLUSHDB</code>', page)

    def test_what_deletes(self) -> None:
        """A command that deletes something is executed after a confirmation of exactly that command."""
        page = self.post('/key-value/commands', {'command': 'del key'}).body
        self.assertIn('cannot be restored', page)
        self.post('/key-value/commands', {'command': 'del other', 'confirmed': 'del key'})
        self.assertEqual(self.api.called(COMMAND), [])
        self.post('/key-value/commands', {'command': 'del key', 'confirmed': 'del key'})
        self.assertEqual(self.api.called(COMMAND), [{'command': 'del key'}])

    def test_refused(self) -> None:
        """A command that is not allowed is rejected in place."""
        self.api.answers[COMMAND] = ApiError(400, ['Command parsing error: flushall is not one of GET, SET'])
        response = self.post('/key-value/commands', {'command': 'flushall'})
        self.assertEqual(response.code, 400)
        self.assertIn('flushall is not one of', response.body)
        self.assertIn('>flushall</textarea>', response.body)


class EnmasseTests(ApplicationTestCase):
    SERVICE = 'zato.enmasse.import'

    def setUp(self) -> None:
        super().setUp()
        self.log_in()
        self.diff = ['+ rate_limit web']
        self.api.answers[self.SERVICE] = lambda payload: {
            'diff': self.diff, 'changed': 1, 'unchanged': 2, 'open': [], 'revision': 7}

    def runs(self) -> list[Any]:
        return [payload['dry_run'] for payload in self.api.called(self.SERVICE)]

    def apply(self, **more: str) -> Any:
        form: Mapping[str, str] = {'document': 'rate_limit: [{name: web}]', 'apply': 'yes', **more}
        return self.post('/enmasse', form)

    def test_shown_first(self) -> None:
        """A document, typed or from a file, is applied only as it was shown."""
        page = self.post('/enmasse', {'document': 'rate_limit: [{name: web}]'}).body
        self.assertIn('+ rate_limit web', page)
        page = self.post_file('/enmasse', 'file', 'all.yaml', b'rate_limit: [{name: web}]').body
        digest = digest_of({'diff': self.diff})
        self.assertIn(f'name="digest" value="{digest}"', page)
        self.assertEqual(self.location(self.apply(digest=digest)), '/enmasse')
        self.assertEqual(self.runs(), [True, True, True, False])

    def test_changed_meanwhile(self) -> None:
        """What would change now, because somebody has changed the cluster meanwhile, is shown again."""
        digest = digest_of({'diff': self.diff})
        self.diff = ['+ rate_limit web', '~ basic_auth crm']
        response = self.apply(digest=digest)
        self.assertEqual((response.code, self.runs()), (409, [True]))
        self.assertIn('has changed since', response.body)
        self.assertIn('~ basic_auth crm', response.body)
        self.assertEqual(self.apply().code, 409)

    def test_mistakes(self) -> None:
        """All mistakes of a document are shown, and the document stays."""
        self.api.answers[self.SERVICE] = ApiError(400, ['rate_limit a: limit: missing', 'rate_limit b: name: missing'])
        response = self.post('/enmasse', {'document': 'rate_limit: [{}]'})
        self.assertIn('<li>rate_limit a: limit: missing</li><li>rate_limit b: name: missing</li>', response.body)
        self.assertIn('>rate_limit: [{}]</textarea>', response.body)
        self.assertEqual(self.post('/enmasse', {'document': 'a: ['}).code, 400)
