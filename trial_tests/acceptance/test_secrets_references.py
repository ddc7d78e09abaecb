"""`${NAME}` and `file:PATH` in server.toml and in enmasse files: where they lead, and what is said where nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset, quickstart
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.rawhttp import basic
from trial_tests.support.served import one_server
from zatotx.model.errors import StartError
from zatotx.node.settings import Settings, load_settings
from zatotx.processes.private_files import MAX_BYTES, read_private_file
from zatotx.rules.enmasse.reference_resolution import escape_references


class FileTests(SynchronousTestCase):
    """What `file:` may name."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()

    def file(self, content: bytes, mode: int = 0o600) -> Path:
        path = self.place / 'secret'
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def refusal(self, path: str = 'secret') -> str:
        return str(self.assertRaises(ValueError, read_private_file, self.place, path))

    def test_content(self) -> None:
        """As it is, without its last line end; relative to the directory, or absolute."""
        for content, text in ((b's3cret', 's3cret'), (b's3cret\n', 's3cret'), (b's3cret\r\n', 's3cret'), (b'', ''),
                              (b'a\nb\n\n', 'a\nb\n'), (b' x ', ' x '), ('zażółć\n'.encode(), 'zażółć')):
            path = self.file(content)
            self.assertEqual(read_private_file(self.place, 'secret'), text)
            self.assertEqual(read_private_file(Path('/'), str(path)), text)

    def test_missing(self) -> None:
        """Named, with the reason."""
        self.assertIn(f'{self.place}/secret cannot be read (No such file', self.refusal())
        for path in ('', ' ', 'a\0b'):
            self.assertIn('names no file', self.refusal(path))

    def test_open_to_others(self) -> None:
        """Whatever bit it is; the command that shuts it is said, the content is not."""
        for mode in (0o640, 0o604, 0o620, 0o601):
            self.file(b's3cret', mode)
            said = self.refusal()
            self.assertIn(f"'chmod 600 {self.place}/secret'", said)
            self.assertNotIn('s3cret', said)

    def test_no_text(self) -> None:
        """Too big, not UTF-8, a directory, a FIFO that nobody writes to: nothing waits."""
        self.file(b'x' * MAX_BYTES)
        self.assertEqual(len(read_private_file(self.place, 'secret')), MAX_BYTES)
        self.file(b'x' * (MAX_BYTES + 1))
        self.assertIn(f'more than {MAX_BYTES} bytes', self.refusal())
        self.file(b's3cret\xff')
        said = self.refusal()
        self.assertIn('not UTF-8', said)
        self.assertNotIn('s3cret', said)
        self.assertIn('cannot be read (Is a directory)', self.refusal('.'))
        os.mkfifo(self.place / 'fifo', 0o600)
        self.assertIn('not a regular file', self.refusal('fifo'))


class SettingsTests(SynchronousTestCase):
    """In server.toml."""

    def setUp(self) -> None:
        self.config = Path(self.mktemp()).absolute()
        self.config.mkdir()

    def file(self, name: str, text: str, mode: int = 0o600) -> None:
        (self.config / name).write_text(text)
        (self.config / name).chmod(mode)

    def loaded(self, text: str, **environ: str) -> Settings:
        self.file('server.toml', text)
        for name, value in environ.items():
            self.patch(os, 'environ', {**os.environ, name: value})
        return load_settings(self.config / 'server.toml', ['http'])

    def test_texts_and_numbers(self) -> None:
        """Of sections of ours and of kinds; what a reference gives may be a number."""
        self.file('odb.url', 'sqlite:///x.db\n')
        settings = self.loaded(
            '[main]\nname = "${N}"\ncluster = "c$${N}"\n[odb]\nurl = "file:odb.url"\n'
            '[kvdb]\nurl = "redis://:${P}@h:1"\ntimeout = "${T}"\n[http]\nlisten = ["tcp:${PORT}"]\n',
            N='one', P='planted', T='2.5', PORT='81',
        )
        self.assertEqual((settings.main.name, settings.main.cluster), ('one', 'c${N}'))
        self.assertEqual((settings.odb.url, settings.kvdb.url, settings.kvdb.timeout),
                         ('sqlite:///x.db', 'redis://:planted@h:1', 2.5))
        self.assertEqual(settings.kinds['http'], {'listen': ['tcp:81']})
        self.assertNotIn('planted', repr(settings))
        self.assertIn('redis://:***@h:1', repr(settings))

    def test_all_that_lead_nowhere_are_named_at_once(self) -> None:
        """Each by section and key, beside the other mistakes; what is wrong because of them is not."""
        self.file('open', 'x', 0o644)
        text = ('[main]\nname = "${GONE_1}"\ncluster = "c"\nmore = 1\n[odb]\nurl = "file:away"\n'
                '[kvdb]\nurl = "file:open"\ntimeout = "${GONE_2}"\n[http]\nlisten = ["tcp:1", "${GONE_3}"]\n')
        said = str(self.assertRaises(StartError, self.loaded, text))
        for part in ("main.name: the environment has no variable 'GONE_1'", 'odb.url: the file', 'away cannot be read',
                     'kvdb.url: the file', 'open to others', "kvdb.timeout: the environment has no variable 'GONE_2'",
                     "http.listen: the environment has no variable 'GONE_3'", 'main.more: no such setting'):
            self.assertIn(part, said)
        self.assertEqual(len(said.splitlines()), 1)
        self.assertNotIn('Expected', said)

    def test_a_number_that_is_none(self) -> None:
        """Is a mistake like any other; a text in the file itself is no number."""
        text = '[main]\nname = "n"\ncluster = "c"\n[odb]\nurl = "x"\n[kvdb]\nurl = "x"\ntimeout = "%s"\n'
        for value in ('${T}', '5'):
            said = str(self.assertRaises(StartError, self.loaded, text % value, T='soon'))
            self.assertIn('kvdb.timeout: Expected', said)


class EnvironmentTests(SynchronousTestCase):
    """In an environment that runs."""

    def test_commands_and_servers(self) -> None:
        """A server with references in its settings runs, its commands find it; where one leads nowhere the commands
        that need it say so, in one sentence with file and setting."""
        path = Path(self.mktemp()).absolute() / 'qs'
        quickstart(path, '--servers', 1, '--port-offset', free_offset())
        file = path / 'server1/config/server.toml'
        (path / 'server1/config/odb.url').write_text('sqlite:///../odb/zatotx.db\n')
        (path / 'server1/config/odb.url').chmod(0o600)
        text = file.read_text().replace('"sqlite:///../odb/zatotx.db"', '"file:odb.url"')
        file.write_text(text.replace('grace = 10', 'grace = "${GRACE}"'))
        for words in (('odb', 'check'), ('check-config',)):
            said = zatotx(*words, path, env={'GRACE': '3'})
            self.assertEqual(said.code, 0, said)
        said = zatotx('check-config', path)
        self.assertEqual((said.code, "shutdown.grace: the environment has no variable 'GRACE'" in said.err), (1, True))
        (path / 'server1/config/odb.url').unlink()
        said = zatotx('odb', 'check', path)
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1))
        self.assertIn(f'{file}: odb.url: the file {path}/server1/config/odb.url cannot be read', said.err)


class EnmasseTests(SynchronousTestCase):
    """In enmasse files."""

    def setUp(self) -> None:
        self.broker = one_server()

    def imported(self, **fields: object) -> Said:
        definition = {'name': 'ref.user', 'type': 'basic_auth', 'username': 'ref.user', 'realm': 'R', **fields}
        channel = {'name': 'ref', 'url_path': '/ref', 'service': 'zato.ping', 'security': 'ref.user'}
        document = yaml.safe_dump({'security': [definition], 'channel_rest': [channel]})
        file = self.broker.write('import.yaml', document)
        return zatotx('enmasse', self.broker.path, '--import', '--input', file)

    def secret(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.broker.write(name, text)
        path.chmod(mode)
        return path

    def status(self, password: str) -> int:
        return self.broker.ask('POST', '/ref', fields=basic('ref.user', password), body=b'{}').status

    def test_a_password_in_a_file(self) -> None:
        """Beside the YAML file or anywhere; it never comes out again."""
        path = self.secret('password', 'of-a-file\n')
        for reference in ('file:password', f'file:{path}'):
            said = self.imported(password=reference)
            self.assertEqual((said.code, 'of-a-file' in said.out + said.err), (0, False), said)
            self.assertEqual((self.status('of-a-file'), self.status(reference)), (200, 401))
        for options in ((), ('--include-secrets',)):
            exported = zatotx('enmasse', self.broker.path, '--export', *options).out
            self.assertIn('ref.user', exported)
            self.assertNotIn('of-a-file', exported)
        self.assertIn('${ZATOTX_REF_USER_PASSWORD}', zatotx('enmasse', self.broker.path, '--export').out)

    def test_all_that_is_wrong_at_once(self) -> None:
        """With section, object, field and file, beside what the cluster finds; nothing is imported."""
        self.secret('open', 'planted-content', 0o644)
        self.secret('big', 'x' * (MAX_BYTES + 1))
        before = zatotx('enmasse', self.broker.path, '--export').out
        said = self.imported(password='file:open', realm='file:big', username='file:away ${GONE}', nonsense=1)
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1), said)
        for part in ("security 'ref.user': password: the file", 'open to others', 'realm: the file', 'more than',
                     "username: the environment has no variable 'GONE'", 'nonsense'):
            self.assertIn(part, said.err)
        self.assertNotIn('planted-content', said.err)
        self.assertEqual(zatotx('enmasse', self.broker.path, '--export').out, before)

    def test_an_export_of_what_looks_like_a_reference(self) -> None:
        """Imports back as the text that it is."""
        for realm in ('file:/etc/passwd', '$file:x', '${HOME}', 'Zato_Enmasse_Env.HOME', '$HOME'):
            said = self.imported(password='x', realm=escape_references(realm))
            self.assertEqual(said.code, 0, said)
            exported = zatotx('enmasse', self.broker.path, '--export', '--include-secrets').out
            file = self.broker.write('back.yaml', exported)
            again = zatotx('enmasse', self.broker.path, '--import', '--input', file)
            self.assertEqual((again.code, 'Changed 0 objects' in again.out), (0, True), again)
            self.assertIn(escape_references(realm), exported)
