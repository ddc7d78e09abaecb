"""enmasse on a cluster of two servers: all or nothing, all mistakes at once, live everywhere when it returns."""

from __future__ import annotations

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.command import Said
from trial_tests.support.rawhttp import basic
from trial_tests.support.served import PASSWORD, USER, two_servers

JSON = {'Content-Type': 'application/json'}
SERVERS = (1, 2)


def channel(name: str, **fields: object) -> str:
    """A document with one REST channel."""
    made = {'name': name, 'url_path': f'/{name}', 'service': 'acc.echo', 'security': None, 'data_format': 'json'}
    return yaml.safe_dump({'channel_rest': [{**made, **fields}]})


class EnmasseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = two_servers()

    def statuses(self, path: str, fields: dict[str, str] | None = None) -> list[int]:
        """What each server answers to a POST there."""
        return [self.broker.ask('POST', path, fields={**JSON, **(fields or {})}, body=b'{}', server=one).status
                for one in SERVERS]

    def export(self, *options: str) -> str:
        """What `enmasse --export` writes."""
        return self.broker.must('enmasse', str(self.broker.path), '--export', *options)


class ImportTests(EnmasseTests):
    def test_an_import_is_live_on_every_server_when_it_returns(self) -> None:
        """Created, moved, and closed by security: the next request on each server sees it."""
        self.broker.configure(channel('en.live'))
        self.assertEqual(self.statuses('/en.live'), [200, 200])
        self.broker.configure(channel('en.live', url_path='/en.moved'))
        self.assertEqual(self.statuses('/en.live') + self.statuses('/en.moved'), [404, 404, 200, 200])
        self.broker.configure(channel('en.live', url_path='/en.moved', security=USER))
        self.assertEqual(self.statuses('/en.moved'), [401, 401])
        self.assertEqual(self.statuses('/en.moved', basic(USER, PASSWORD)), [200, 200])

    def test_the_same_import_twice_changes_nothing(self) -> None:
        """It may be run as often as one likes."""
        self.broker.configure(channel('en.same'))
        before = self.export()
        self.broker.configure(channel('en.same'))
        self.assertEqual(self.export(), before)

    def test_a_change_of_password_is_in_force_when_it_returns(self) -> None:
        """The old one, remembered by no cache, lets nobody in."""
        document = '''
            security:
              - {{name: en.user, type: basic_auth, username: en.user, realm: API, password: "{}"}}
            channel_rest:
              - {{name: en.pass, url_path: /en.pass, service: acc.echo, security: en.user, data_format: json}}
        '''
        self.broker.configure(document.format('first'))
        self.assertEqual(self.statuses('/en.pass', basic('en.user', 'first')), [200, 200])
        self.broker.configure(document.format('second'))
        self.assertEqual(self.statuses('/en.pass', basic('en.user', 'first')), [401, 401])
        self.assertEqual(self.statuses('/en.pass', basic('en.user', 'second')), [200, 200])

    def test_a_dry_run_shows_the_difference_and_writes_nothing(self) -> None:
        """Names what would be created."""
        before = self.export()
        said = self.broker.imported(channel('en.dry'), '--dry-run')
        self.assertEqual(said.code, 0, said.text)
        self.assertIn('en.dry', said.out)
        self.assertEqual(self.export(), before)
        self.assertEqual(self.statuses('/en.dry'), [404, 404])

    def test_environment_variables_are_read(self) -> None:
        """`${NAME}` of the command's environment; a missing one is a mistake that names it."""
        document = self.broker.write('env.yaml', '''
            security:
              - {name: en.env, type: basic_auth, username: en.env, realm: API, password: "${EN_PASSWORD}"}
            channel_rest:
              - {name: en.env, url_path: /en.env, service: acc.echo, security: en.env, data_format: json}
        ''')
        command = ('enmasse', str(self.broker.path), '--import', '--input', str(document))
        said = self.broker.run(*command)
        self.assertEqual(said.code, 1, said.text)
        self.assertIn('EN_PASSWORD', said.text)
        self.broker.must(*command, env={'EN_PASSWORD': 'of the environment'})
        self.assertEqual(self.statuses('/en.env', basic('en.env', 'of the environment')), [200, 200])


class MistakeTests(EnmasseTests):
    """Nothing is written where anything is wrong; all that is wrong is said, each with section, object and field."""

    def refused(self, document: str, *parts: str) -> Said:
        """The refusal of that document, by an import and by a dry run alike: exit code 1, each part named."""
        before = self.export()
        for options in ((), ('--dry-run',)):
            said = self.broker.imported(document, *options)
            self.assertEqual(said.code, 1, said.text)
            self.assertNotIn('Traceback', said.text)
            for part in parts:
                self.assertIn(part, said.text)
        self.assertEqual(self.export(), before)
        return said

    def test_all_mistakes_are_named_at_once(self) -> None:
        """An unknown key, a dangling name, a wrong value and a missing one in four objects; the good fifth is not
        written either."""
        self.refused('''
            channel_rest:
              - {name: en.good, url_path: /en.good, service: acc.echo, security: null}
              - {name: en.key, url_path: /en.key, service: acc.echo, security: null, colour: red}
              - {name: en.dangling, url_path: /en.dangling, service: acc.echo, security: en.nobody}
              - {name: en.value, url_path: no-slash, service: acc.echo, security: null, data_format: cuneiform}
              - {name: en.missing, service: acc.echo, security: null}
        ''', 'channel_rest', 'en.key', 'colour', 'en.dangling', 'en.nobody', 'en.value', 'url_path', 'data_format',
             'cuneiform', 'en.missing')
        self.assertEqual(self.statuses('/en.good'), [404, 404])

    def test_a_thousand_mistakes_are_all_named(self) -> None:
        """One in each of a thousand channels, of four kinds: each is said with its object, and nothing is written."""
        wrong: list[dict[str, object]] = [{'service': 'no.such'}, {'timeout': 'soon'}, {'metod': 'GET'},
                                          {'url_path': 'no-slash'}]
        made = {'service': 'acc.echo', 'security': None, 'data_format': 'json'}
        channels = [{'name': f'en.wrong.{n}', 'url_path': f'/en.wrong/{n}', **made, **wrong[n % 4]}
                    for n in range(1000)]
        said = self.broker.imported(yaml.safe_dump({'channel_rest': channels}))
        self.assertEqual(said.code, 1)
        self.assertEqual([n for n in range(1000) if f'en.wrong.{n}' not in said.err], [])
        self.assertNotIn('en.wrong', self.export())

    def test_an_unknown_service_is_a_dangling_name(self) -> None:
        """A channel that leads nowhere is refused."""
        self.refused(channel('en.nowhere', service='no.such.service'), 'en.nowhere', 'no.such.service')

    def test_an_unknown_section_is_named(self) -> None:
        """With its name."""
        self.refused('chanel_rest: []\n', 'chanel_rest')

    def test_one_name_twice_is_named(self) -> None:
        """Two objects of one section with one name."""
        self.refused('''
            channel_rest:
              - {name: en.twin, url_path: /en.twin1, service: acc.echo, security: null}
              - {name: en.twin, url_path: /en.twin2, service: acc.echo, security: null}
        ''', 'en.twin')

    def test_paths_of_the_broker_are_not_for_channels(self) -> None:
        """/zato/… stays the broker's."""
        self.refused(channel('en.shadow', url_path='/zato/ping'), 'en.shadow', '/zato/')

    def test_what_is_no_yaml_names_its_line(self) -> None:
        """And does not end in a traceback."""
        self.refused('channel_rest:\n  - {name: [unclosed\n', 'line')

    def test_what_is_no_mapping_is_refused(self) -> None:
        """A list, a text, a number, nothing."""
        for document in ('- 1\n- 2\n', 'text\n', '7\n', 'channel_rest: 7\n', 'channel_rest: [7]\n'):
            self.refused(document)

    def test_python_objects_are_not_made(self) -> None:
        """YAML tags run no code."""
        self.refused('channel_rest: !!python/object/apply:os.system ["true"]\n')

    def test_no_password_is_shown(self) -> None:
        """Neither in a refusal nor in a diff."""
        document = '''
            security:
              - {name: en.bad, type: basic_auth, username: en.bad, realm: API, password: "sEcReT-1", colour: red}
        '''
        self.assertNotIn('sEcReT-1', self.refused(document, 'colour').text)
        said = self.broker.imported(document.replace(', colour: red', ''), '--dry-run')
        self.assertEqual(said.code, 0, said.text)
        self.assertNotIn('sEcReT-1', said.text)


class ExportTests(EnmasseTests):
    def test_export_imports_back_to_the_same_state(self) -> None:
        """Deterministic, and with secrets as placeholders only."""
        text = self.export()
        self.assertEqual(self.export(), text)
        self.assertNotIn(PASSWORD, text)
        self.assertNotIn('$argon2', text)
        document = yaml.safe_load(text)  # without the users of other modules, which have other passwords
        document['security'] = [user for user in document['security'] if user['name'] == USER]
        imported = yaml.safe_dump(document)
        placeholders = {part.split('}')[0] for part in imported.split('${')[1:]}
        self.assertEqual(len(placeholders), 1)
        file = self.broker.write('exported.yaml', imported)
        self.broker.must('enmasse', str(self.broker.path), '--import', '--input', str(file),
                         env=dict.fromkeys(placeholders, PASSWORD))
        self.assertEqual(self.export(), text)
        self.assertEqual(self.statuses('/acc/secure', basic(USER, PASSWORD)), [200, 200])

    def test_export_to_a_file_is_closed_to_others(self) -> None:
        """What may hold secrets is the owner's alone."""
        file = self.broker.path.parent / 'out.yaml'
        self.broker.must('enmasse', str(self.broker.path), '--export', '--output', str(file))
        self.assertEqual(file.stat().st_mode & 0o077, 0)
        self.assertIn('channel_rest', yaml.safe_load(file.read_text('utf-8')))

    def test_an_import_changes_what_it_says_and_replace_the_whole_object(self) -> None:
        """Fields that the file leaves out keep their values, with --replace they go back to their defaults; objects
        that the file does not name stay in either case."""
        self.broker.configure(channel('en.other'))
        self.broker.configure(channel('en.differs', method='GET'))
        self.broker.configure('channel_rest: [{name: en.differs, url_path: /en.changed}]')
        self.assertEqual(self.statuses('/en.differs') + self.statuses('/en.changed'), [404, 404, 405, 405])
        self.broker.configure(channel('en.differs', url_path='/en.changed'), '--replace')
        self.assertEqual(self.statuses('/en.changed'), [200, 200])
        self.assertEqual(self.statuses('/en.other'), [200, 200])
