"""What the command line reads from disk: components, settings, addresses, credentials, files."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.cli.environment.atomic_files import is_private, make_private_dir, toml_string, write_private_file
from zatotx.cli.environment.component_types import REDIS, SERVER
from zatotx.cli.environment.components.redis import write_redis
from zatotx.cli.environment.components.server import write_server
from zatotx.cli.environment.creation_plan import EnvironmentPlan
from zatotx.cli.environment.environment_layout import (
    UserCredentials,
    cluster_name,
    components_of,
    find_environment,
    get_setting,
    read_credentials,
    read_info,
    read_settings,
)
from zatotx.cli.environment.initial_files import write_credentials
from zatotx.cli.environment.listen_addresses import (
    ListenAddress,
    first_tcp_address,
    parse_listen_address,
    split_endpoint_description,
    tcp_addresses,
)
from zatotx.cli.errors import CommandError
from zatotx.cli.quickstart import planned_ports
from zatotx.cli.update_password import change_password_in_file
from zatotx.odb.secrets import Secrets, new_key

USERS = {'api': UserCredentials('admin.invoke', 'p"a\\s'), 'pubapi': UserCredentials('pubapi', 'pub')}


def environment(directory: Path, servers: int = 2, redis_url: str = '') -> EnvironmentPlan:
    """Create an environment without a database."""
    directory.mkdir()
    plan = EnvironmentPlan('c "1"', servers, 0, '', redis_url, new_key(), USERS)
    write_redis(directory)
    for number in range(1, servers + 1):
        write_server(directory, plan, number)
    write_credentials(directory, plan, planned_ports(plan))
    return plan


class LayoutTests(SynchronousTestCase):
    """Environments are recognized by their files."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.plan = environment(self.path, servers=11)

    def test_parts_in_their_order(self) -> None:
        """Redis comes first, because servers use it; servers are sorted by number, 10 after 9."""
        names = [part.name for part in components_of(self.path)]
        self.assertEqual(names, ['redis', *(f'server{number}' for number in range(1, 12))])

    def test_the_whole_and_a_part(self) -> None:
        """PATH is the environment or one of its components, with or without a trailing slash."""
        whole, one = find_environment(str(self.path)), find_environment(f'{self.path}/server2/')
        self.assertTrue(whole.is_complete)
        self.assertEqual(len(whole.components), 12)
        self.assertEqual([part.name for part in one.components], ['server2'])
        self.assertEqual((one.environment, one.is_complete), (self.path, False))
        self.assertEqual({part.kind for part in whole.components}, {SERVER, REDIS})

    def test_relative_paths_become_absolute(self) -> None:
        """Relative paths are made absolute, so that the command line of a process has the full path."""
        self.assertEqual(find_environment(os.path.relpath(self.path)).environment, self.path)

    def test_info_says_what_made_it(self) -> None:
        """.zato-info has Zato's fields."""
        self.assertEqual(
            sorted(read_info(self.path / 'server1')), ['component', 'created_ts', 'created_user_host', 'version']
        )

    def test_damaged_info(self) -> None:
        """Text that is not a JSON object, and an unknown component, are reported with the file."""
        info = self.path / 'server1' / '.zato-info'
        for text in ('{', '[]', '{}', '{"component": "TOASTER"}'):
            info.write_text(text)
            error = self.assertRaises(CommandError, find_environment, str(self.path))
            self.assertIn(str(info), error.format_message())

    def test_settings_are_what_was_asked_for(self) -> None:
        """Any text is written as valid TOML."""
        values = read_settings(components_of(self.path)[1])
        self.assertEqual(values['main'], {'name': 'server1', 'cluster': 'c "1"', 'workers': 1})
        self.assertEqual(values['odb']['url'], 'sqlite:///../odb/zatotx.db')
        self.assertEqual(values['kvdb']['url'], 'unix://../redis/redis.sock')
        self.assertEqual(cluster_name(find_environment(str(self.path))), 'c "1"')

    def test_settings_that_are_no_toml(self) -> None:
        """The error names file and line."""
        part = components_of(self.path)[1]
        for content in (b'[main', b'\xff'):
            (part.path / 'config' / 'server.toml').write_bytes(content)
            self.assertIn('server.toml', self.assertRaises(CommandError, read_settings, part).format_message())

    def test_a_setting_of_another_type_counts_as_none(self) -> None:
        """For a setting of the wrong type, which the server reports, a command uses the default."""
        self.assertEqual(get_setting({'shutdown': {'grace': 3.5}}, 'shutdown', 'grace', 10.0), 3.5)
        for values in ({}, {'shutdown': 7}, {'shutdown': {'grace': 'long'}}):
            self.assertEqual(get_setting(values, 'shutdown', 'grace', 10.0), 10.0)

    def test_credentials(self) -> None:
        """Credentials are read by section, with any password; an incomplete section is reported with its file."""
        self.assertEqual(read_credentials(self.path, 'api'), USERS['api'])
        error = self.assertRaises(CommandError, read_credentials, self.path, 'nobody')
        self.assertIn('[nobody]', error.format_message())

    def test_urls_with_passwords_are_encrypted(self) -> None:
        """URLs with passwords are encrypted in server.toml and can be decrypted with the key of the environment."""
        path = Path(self.mktemp()).absolute()
        url = 'redis://user:s3cret@cache:6379/1'
        plan = environment(path, servers=1, redis_url=url)
        text = (path / 'server1' / 'config' / 'server.toml').read_text()
        self.assertNotIn('s3cret', text)
        self.assertEqual(Secrets(plan.key).decrypt(tomllib.loads(text)['kvdb']['url']), url)

    def test_all_of_it_is_closed_to_others(self) -> None:
        """Only the owner can access the files and directories that quickstart writes, whatever the umask."""
        before = os.umask(0)
        try:
            path = Path(self.mktemp()).absolute()
            environment(path)
        finally:
            os.umask(before)
        self.assertEqual([str(entry) for entry in path.rglob('*') if not is_private(entry)], [])


class PasswordFileTests(SynchronousTestCase):
    """credentials.toml after a password change."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        environment(self.directory)
        self.path = self.directory / 'credentials.toml'

    def test_only_the_password_of_the_user_changes(self) -> None:
        """Comments, other users, ports and additions stay unchanged."""
        self.path.write_text(self.path.read_text() + '\n# mine\n[demo]\nusername = "x"\npassword = "y"\n')
        before = self.path.read_text().splitlines()
        self.assertEqual(change_password_in_file(self.path, 'pubapi', 'new "one"'), f' and in {self.path}')
        after = self.path.read_text().splitlines()
        changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        self.assertEqual(changed, [('password = "pub"', 'password = "new \\"one\\""')])
        self.assertTrue(is_private(self.path))

    def test_a_user_that_is_not_in_it(self) -> None:
        """The file stays unchanged, and the message does not mention it."""
        before = self.path.read_bytes()
        self.assertEqual(change_password_in_file(self.path, 'api.user', 'new'), '')
        self.assertEqual(self.path.read_bytes(), before)


class AddressTests(SynchronousTestCase):
    """Endpoint descriptions are read as Twisted reads them."""

    def test_forms(self) -> None:
        """Named and positional ports, interfaces, wildcards (replaced by the loopback address), IPv6, TLS with its
        certificate."""
        here = Path('/env/server1')
        cases = {
            'tcp:port=17010:interface=127.0.0.1': ListenAddress('http', '127.0.0.1', 17010),
            'tcp:17010': ListenAddress('http', '127.0.0.1', 17010),
            'tcp:17010:interface=0.0.0.0': ListenAddress('http', '127.0.0.1', 17010),
            'tcp6:port=80:interface=\\:\\:': ListenAddress('http', '::1', 80),
            'ssl:port=443:privateKey=k.pem:certKey=c.pem': ListenAddress('https', '127.0.0.1', 443, here / 'c.pem'),
            'ssl:port=443:privateKey=both.pem': ListenAddress('https', '127.0.0.1', 443, here / 'both.pem'),
        }
        for description, expected in cases.items():
            self.assertEqual(parse_listen_address(description, here), expected)
        for description in ('unix:/run/x.sock', 'tcp:port=http', 'tcp', ''):
            self.assertIsNone(parse_listen_address(description, here))

    def test_escapes(self) -> None:
        """A backslash escapes the next character, including another backslash."""
        self.assertEqual(split_endpoint_description('unix:a\\:b\\\\c:mode=1'), ['unix', 'a:b\\c', 'mode=1'])

    def test_urls(self) -> None:
        """IPv6 hosts are in brackets."""
        self.assertEqual(ListenAddress('http', '::1', 80).url, 'http://[::1]:80')

    def test_of_a_server(self) -> None:
        """All TCP listeners are returned; commands use the first one; if there is none, the error names the setting to
        change."""
        directory = Path(self.mktemp()).absolute()
        environment(directory)
        part = components_of(directory)[1]
        file = part.path / 'config' / 'server.toml'
        file.write_text('[http]\nlisten = ["unix:x", "tcp:1", "tcp:2"]')
        self.assertEqual([found.port for found in tcp_addresses(part)], [1, 2])
        self.assertEqual(first_tcp_address(part).port, 1)
        file.write_text('[http]\nlisten = []')
        self.assertIn('http.listen', self.assertRaises(CommandError, first_tcp_address, part).format_message())

    def test_of_several_kinds(self) -> None:
        """The listeners of all kinds are returned, with the section to change; commands use those that serve the
        broker's endpoints, in whichever order the sections are."""
        directory = Path(self.mktemp()).absolute()
        environment(directory)
        part = components_of(directory)[1]
        file = part.path / 'config' / 'server.toml'
        file.write_text('[lines]\nlisten = ["tcp:1"]\n[http]\nlisten = ["tcp:2"]\n[log]\nlevel = "info"')
        self.assertEqual([(found.section, found.port) for found in tcp_addresses(part)], [('lines', 1), ('http', 2)])
        self.assertEqual(first_tcp_address(part).port, 2)


class FileTests(SynchronousTestCase):
    """Writing files."""

    def test_whole_or_not_at_all(self) -> None:
        """If a file cannot be written, the old one stays, and no temporary file remains."""
        path = make_private_dir(Path(self.mktemp())) / 'a'
        write_private_file(path, 'one')
        self.assertRaises(UnicodeEncodeError, write_private_file, path, '\ud800')
        self.assertEqual((path.read_text(), list(path.parent.iterdir())), ('one', [path]))

    def test_toml_strings(self) -> None:
        """Every text survives a round trip, including control characters and emoji."""
        for text in ('', 'a"b', '\\', '\n\t\x00\x1f\x7f', 'żółć 🎉', '${X}'):
            self.assertEqual(tomllib.loads(f'a = {toml_string(text)}'), {'a': text})
