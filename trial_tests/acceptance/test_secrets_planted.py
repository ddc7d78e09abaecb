"""Secrets planted wherever a broker meets any, and a whole run: none stands in clear in anything it wrote or said.

Every secret is a word of its own, so that finding one tells where it leaked. What is searched: all files of the
environment but those whose purpose it is to hold secrets in clear (credentials.toml, secret.key and files that
configuration refers to), the answers of commands and servers, command lines of processes, reprs of our objects.
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import broker, postgresql
from trial_tests.support.broker import Broker
from trial_tests.support.command import zatotx
from trial_tests.support.rawhttp import NoAnswer, ask, basic, connected
from trial_tests.support.vault import VAULT, installed, vault
from trial_tests.support.waiting import until
from zatotx.cli.main import COMMANDS
from zatotx.connectors.kind_registry import find_kinds
from zatotx.connectors.security_type_registry import all_object_types
from zatotx.node.settings import load_settings
from zatotx.odb.offline_operations import open_database, read_snapshot, write_operations
from zatotx.odb.secrets import Secrets
from zatotx.plugins.http.schema import OBJECT_TYPES
from zatotx.processes.secret_key import read_cluster_key
from zatotx.redis.redis_url import parse_redis_url
from zatotx.schema.snapshot import Actor
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.tap.build_connections import decrypt_urls

OURS = frozenset({'credentials.toml', 'secret.key', 'planted.file'})  # hold secrets in clear: that is what they are for
JSON = {'Content-Type': 'application/json'}


def plant(what: str) -> str:
    """A secret that stands nowhere else."""
    return f'Plant{what.title().replace("-", "")}Qx7'


PLANTS = {
    what: plant(what)
    for what in (
        'odb-url', 'redis-encrypted', 'redis-variable', 'redis-file', 'redis-refused', 'yaml', 'yaml-variable',
        'api-key', 'query-api-key', 'tech-account', 'xpath', 'wss', 'yaml-file', 'yaml-encrypted',
        'yaml-unknown-key', 'yaml-wrong-type', 'yaml-in-url', 'yaml-dry', 'update',
        'wrong-password', 'wrong-user-password', 'bearer', 'malformed-basic', 'query-key', 'query-token', 'cookie',
        'userinfo', 'json-password', 'json-malformed', 'form-password', 'create-password', 'mismatch-one',
        'mismatch-two', 'syntax-error', 'header-key', 'long-head', 'bad-framing', 'raised', 'encrypt-argument',
    )
}  # fmt: skip

SERVICES = '''
from zatotx import Int, Service

class Login(Service):
    """Takes a password, and a number."""

    name = 'planted.login'
    input = 'username', 'password', Int('number')

    def handle(self):
        self.logger.info('%s logs in', self.request.input.username)
        self.response.payload = {'ok': True}

class Fails(Service):
    """Fails with its input in a local variable and in self."""

    name = 'planted.fails'

    def handle(self):
        taken = self.request.payload
        return 1 // (len(taken) - len(taken))
'''

# Commands that know no kinds themselves: they run here, where the kind of these tests is not installed.
ASKING = ('quickstart', 'encrypt', 'decrypt', 'hot-deploy', 'service', 'status', 'openapi')


class Run:
    """One environment of two servers from its beginning to its end, and all that it said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.command_lines: list[str] = []
        self.broker: Broker = broker.create(servers=2)
        self.path = str(self.broker.path)
        self.env = {
            **installed(self.broker.path.parent / 'kind'),
            'PLANTED_REDIS': PLANTS['redis-variable'],
            'PLANTED_YAML': PLANTS['yaml-variable'],
        }
        self.secrets = dict(PLANTS)
        self.secrets |= {f'user {name}': each['password'] for name, each in self.broker.credentials().items()
                         if 'password' in each}
        self.secrets['key'] = (self.broker.directory() / 'config/secret.key').read_text().strip()

    def zatotx(self, *words: str, stdin: str = '') -> str:
        """A command, whatever its end; all that it says is kept."""
        if words[0] in ASKING:
            done = zatotx(*words, stdin=stdin.encode(), env=self.env)
            return self.keep(words, done.out, done.err)
        apart = subprocess.run([str(broker.SCRIPTS / 'zatotx'), *words], input=stdin, capture_output=True, text=True,
                               check=False, timeout=120, env={**os.environ, **self.env})
        return self.keep(words, apart.stdout, apart.stderr)

    def keep(self, words: Sequence[str], out: str, err: str) -> str:
        self.said.append(f'{words[:2]}: {out}{err}')
        return out

    def ask(self, method: str, target: str, fields: Mapping[str, str] | None = None, body: bytes = b'') -> int:
        """A request to both servers; all of the answers is kept."""
        status = 0
        for server in (1, 2):
            answer = ask(self.broker.port(server), method, target, fields=fields, body=body)
            self.said.append(f'{method} {target[:8]}: {answer.fields} {answer.body.decode()}')
            status = answer.status
        return status

    def raw(self, data: bytes) -> None:
        with connected(self.broker.port()) as connection:
            connection.send(data)
            try:
                answer = connection.answer()
            except NoAnswer:
                return
            self.said.append(f'raw: {answer.fields} {answer.body.decode("utf-8", "replace")}')

    # -- the run

    def whole(self) -> None:
        self.configure()
        self.zatotx('start', self.path)
        until(lambda: self.broker.ask('GET', '/zato/ready', server=2).status == 200, 'the second server')
        self.deploy()
        self.import_files()
        self.passwords()
        self.requests()
        self.look()
        self.crypto()
        self.command_lines += [Path(f'/proc/{pid}/cmdline').read_text() for server in ('server1', 'server2', 'redis')
                               for pid in self.broker.pids(server)]
        self.broker.kill('server2')
        self.zatotx('start', self.path)
        self.zatotx('stop', self.path)

    def configure(self) -> None:
        """server1 has its own Redis by a file, server2 one that is not there."""
        for server in (1, 2):
            self.broker.set('log', server, level='debug')
        (self.broker.directory() / 'config/planted.file').write_text(
            f'unix://../redis/redis.sock?password={PLANTS["redis-file"]}\n')
        (self.broker.directory() / 'config/planted.file').chmod(0o600)
        url = self.zatotx('encrypt', self.path, stdin=f'redis://app:{PLANTS["redis-encrypted"]}@127.0.0.1:1/0')
        self.broker.set('kvdb', 2, url=url.strip())
        self.zatotx('check-config', self.path)
        self.broker.set('kvdb', 2, url='redis://app:${PLANTED_REDIS}@127.0.0.1:1/0')
        self.zatotx('check-config', self.path)
        for number, option in enumerate((
            ('--odb-url', f'postgresql+psycopg://u:{PLANTS["odb-url"]}@127.0.0.1:1/db'),
            ('--odb-url', f'nonsense://u:{PLANTS["odb-url"]}@127.0.0.1:1/db'),
            ('--odb-url', f'u:{PLANTS["odb-url"]}@127.0.0.1'),
            ('--redis-url', f'redis://u:{PLANTS["redis-refused"]}@127.0.0.1:99999999/x'),
            ('--redis-url', f'http://u:{PLANTS["redis-refused"]}@127.0.0.1/x'),
        )):
            self.zatotx('quickstart', 'create', f'{self.path}-{number}', *option)

    def deploy(self) -> None:
        file = self.broker.write('planted.py', SERVICES)
        self.zatotx('hot-deploy', self.path, str(file))
        broken = self.broker.write('broken.py', f'password = "{PLANTS["syntax-error"]}" if\n')
        self.zatotx('hot-deploy', self.path, str(broken))

    def import_files(self) -> None:
        beside = self.broker.write('planted.file', PLANTS['yaml-file'] + '\n')
        beside.chmod(0o600)
        users = {'yaml': PLANTS['yaml'], 'yaml-variable': '${PLANTED_YAML}', 'yaml-file': 'file:planted.file'}
        good = {
            'security': [*({**DEFINITION, 'name': name, 'username': name, 'password': secret}
                           for name, secret in users.items()), *KEYS],
            'vault': [{'name': 'v', 'password': PLANTS['yaml-encrypted']}],
            'channel_rest': [
                {'name': 'login', 'url_path': '/login', 'service': 'planted.login', 'security': 'yaml',
                 'data_format': 'json'},
                {'name': 'open', 'url_path': '/open', 'service': 'planted.login', 'data_format': 'json'},
                {'name': 'fails', 'url_path': '/fails', 'service': 'planted.fails', 'data_format': 'json'},
                {'name': 'any', 'url_path': '/any', 'service': 'planted.login', 'groups': ['keys'],
                 'data_format': 'json'},
                {'name': 'body', 'url_path': '/body', 'service': 'planted.login', 'groups': ['keys'],
                 'data_format': 'xml'},
            ],
            'groups': [{'name': 'keys', 'members': [key['name'] for key in KEYS]}],
        }
        self.enmasse(good)
        self.enmasse(good, '--dry-run')
        self.enmasse({'security': [{**DEFINITION, 'password': PLANTS['yaml-dry']}]}, '--dry-run')
        self.enmasse({'security': [
            {**DEFINITION, 'pasword': PLANTS['yaml-unknown-key']},
            {**DEFINITION, 'name': 'w', 'password': [PLANTS['yaml-wrong-type']]},
            {**DEFINITION, 'name': 'x', 'password': {'value': PLANTS['yaml-wrong-type']}},
        ], 'channel_rest': [
            {'name': 'u', 'url_path': f'http://a:{PLANTS["yaml-in-url"]}@b/c', 'service': 'nowhere'},
        ]})  # fmt: skip
        self.zatotx('enmasse', self.path, '--import', '--input', '-', stdin=f'a: [{PLANTS["yaml-dry"]}\nb: }}')
        self.zatotx('enmasse', self.path, '--export')

    def enmasse(self, document: object, *options: str) -> None:
        file = self.broker.write('import.yaml', yaml.safe_dump(document))
        self.zatotx('enmasse', self.path, '--import', '--input', str(file), *options)

    def passwords(self) -> None:
        self.zatotx('update', 'password', self.path, 'yaml-file', stdin=PLANTS['update'])
        self.zatotx('update', 'password', self.path, 'nobody', stdin=PLANTS['update'])
        admin = {**self.broker.admin(), **JSON}
        create = {'cluster_id': 1, 'name': 'made', 'is_active': True, 'username': 'made', 'realm': 'R',
                  'password': PLANTS['create-password'], 'password1': PLANTS['create-password']}
        for payload in (create, {**create, 'name': ''}, create):
            self.ask('POST', '/zato/api/invoke/zato.security.basic-auth.create', admin, json.dumps(payload).encode())
        for ids in ({'id': 1}, {'id': 'x'}, {}):
            payload = {**ids, 'password1': PLANTS['mismatch-one'], 'password2': PLANTS['mismatch-two']}
            self.ask('POST', '/zato/api/invoke/zato.security.basic-auth.change-password', admin,
                     json.dumps(payload).encode())
        self.ask('POST', '/zato/api/invoke/zato.security.basic-auth.get-list', admin, b'{"cluster_id": 1}')

    def requests(self) -> None:
        good = {**basic('yaml', PLANTS['yaml']), **JSON}
        body = {'username': 'u', 'password': PLANTS['json-password'], 'number': 'x'}
        self.ask('POST', '/login', good, json.dumps(body).encode())
        self.ask('POST', '/login', good, json.dumps({**body, 'number': 1}).encode())
        self.ask('POST', '/open', JSON, b'{"password": "' + PLANTS['json-malformed'].encode() + b'", }')
        self.ask('POST', '/fails', JSON, json.dumps({'password': PLANTS['raised']}).encode())
        self.ask('POST', '/open', {'Content-Type': 'application/x-www-form-urlencoded'},
                 f'password={PLANTS["form-password"]}&number=%zz'.encode())
        self.ask('POST', '/login', basic('yaml', PLANTS['wrong-password']), b'{}')
        self.ask('POST', '/login', basic('nobody', PLANTS['wrong-user-password']), b'{}')
        for value in (f'Bearer {PLANTS["bearer"]}', f'Basic {PLANTS["malformed-basic"]}!', 'Basic'):
            self.ask('POST', '/login', {'Authorization': value}, b'{}')
        account = {'X-Zato-User': 'k3', 'X-Zato-Password': PLANTS['tech-account']}
        for fields in ({'X-API-Key': PLANTS['api-key']}, account):
            self.ask('POST', '/any', {**JSON, **fields}, b'{"number": 1}')
            self.ask('POST', '/any', {**JSON, **{name: f'{value}x' for name, value in fields.items()}}, b'{}')
        self.ask('POST', f'/any?odd={PLANTS["query-api-key"]}', JSON, b'{"number": 1}')
        self.ask('POST', f'/nowhere?odd={PLANTS["query-api-key"]}', JSON, b'{}')
        for password in (PLANTS['xpath'], f'{PLANTS["xpath"]}x'):
            self.ask('POST', '/body', {'Content-Type': 'application/xml'}, f'<r><u>u</u><p>{password}</p></r>'.encode())
        self.ask('POST', f'/login?api_key={PLANTS["query-key"]}&number=1&token={PLANTS["query-token"]}', JSON, b'{}')
        self.ask('GET', '/zato/ping', {'Cookie': f'session={PLANTS["cookie"]}', 'X-API-Key': PLANTS['header-key']})
        self.ask('GET', f'http://u:{PLANTS["userinfo"]}@127.0.0.1/zato/ping')
        for field in (f'Cookie: {PLANTS["long-head"] * 3000}', f'Content-Length: {PLANTS["bad-framing"]}',
                      f'Authorization: {PLANTS["bad-framing"]}\r\nBad Field: x'):
            self.raw(f'POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n'.encode())

    def look(self) -> None:
        """Everything that shows something."""
        admin = self.broker.admin()
        for target in ('/zato/ping', '/zato/ready', '/zato/live', '/zato/metrics', '/zato/openapi.json', '/zato/docs'):
            self.ask('GET', target, admin)
        self.zatotx('service', 'invoke', self.path, 'zato.ping')
        self.zatotx('service', 'invoke', self.path, 'planted.login', '--payload', '{"number": "x"}')
        for words in (('info',), ('info', '--format', 'json'), ('status',), ('doctor',), ('history',), ('openapi',),
                      ('check-config',), ('service', 'list'), ('odb', 'check'), ('odb', 'current')):
            if words[0] in COMMANDS:
                self.zatotx(*words[:1], *(words[1:2] if words[0] in ('service', 'odb') else ()), self.path,
                            *(words[1:] if words[0] == 'info' else ()))
        for service in ('zato.server.get-list', 'zato.info.get-server-info', 'zato.http-soap.get-list',
                        'zato.service.get-list', 'zato.health.findings', 'zato.history.get-list'):
            self.ask('POST', f'/zato/api/invoke/{service}', {**admin, **JSON}, b'{"cluster_id": 1}')

    def crypto(self) -> None:
        """What encrypts and decrypts says nothing else."""
        stored = self.zatotx('encrypt', self.path, stdin=PLANTS['encrypt-argument'])
        self.zatotx('decrypt', self.path, stdin=stored[:-9])
        self.zatotx('decrypt', self.path, stdin=PLANTS['encrypt-argument'])
        self.zatotx('crypto', 'rotate-key', self.path)
        self.secrets['new key'] = (self.broker.directory() / 'config/secret.key').read_text().strip()

    # -- what was found

    def leaks(self, text: str) -> set[str]:
        """Which of the secrets stand there, in clear or as Basic credentials."""
        return {what for what, secret in self.secrets.items() if secret in text} | {
            f'{what} in base64' for what, secret in self.secrets.items() for form in in_base64(secret) if form in text
        }

    def files(self) -> list[Path]:
        return [file for file in self.broker.path.rglob('*')
                if file.is_file() and file.name not in OURS and 'deployed' not in file.parts]


KEYS: list[dict[str, str]] = [
    {'name': 'k1', 'type': 'apikey', 'password': PLANTS['api-key']},
    {'name': 'k2', 'type': 'apikey', 'query': 'odd', 'password': PLANTS['query-api-key']},
    {'name': 'k3', 'type': 'tech_account', 'password': PLANTS['tech-account']},
    {'name': 'k4', 'type': 'xpath', 'username': 'u', 'username_expr': '//u', 'password_expr': '//p',
     'password': PLANTS['xpath']},
    {'name': 'k5', 'type': 'wss', 'username': 'u', 'password': PLANTS['wss']},
]
DEFINITION = {'name': 'd', 'type': 'basic_auth', 'username': 'd', 'realm': 'R', 'password': ''}
_run: list[Run] = []


def in_base64(secret: str) -> set[str]:
    """What of it is the same at each of the three places that its first octet may have in a group of four letters."""
    return {b64encode(b'\0' * before + secret.encode()).decode()[4:-4] for before in range(3)}


def finished() -> Run:
    """The run, made once."""
    if not _run:
        _run.append(Run())
        _run[0].whole()
    return _run[0]


class PlantedTests(SynchronousTestCase):
    """Each test searches other places."""

    def setUp(self) -> None:
        self.run_ = finished()

    def test_the_run_met_them(self) -> None:
        """What was planted was used: users log in, services ran, refusals came."""
        run = self.run_
        text = '\n'.join(run.said)
        for part in ('Changed 15 objects', '"ok":true', '# TYPE zatotx_', 'has a new key', 'pasword', '--redis-url'):
            self.assertIn(part, text)
        log = run.broker.log()
        for part in ('u logs in', 'ZeroDivisionError', '/login?api_key=***&number=1&token=***'):
            self.assertIn(part, log)

    def test_answers(self) -> None:
        """Of commands and of servers."""
        for said in self.run_.said:
            self.assertEqual(self.run_.leaks(said), set(), said[:2000])

    def test_files(self) -> None:
        """Logs, settings, databases with their journals, the Redis's files, spools. What services hold is theirs."""
        files = self.run_.files()
        self.assertGreater(len(files), 15)
        leaked = {str(file.relative_to(self.run_.broker.path)): found for file in files
                  if (found := self.run_.leaks(file.read_bytes().decode('latin-1')))}
        self.assertEqual(leaked, {})

    def test_modes(self) -> None:
        """Files that hold secrets in any form are closed to others."""
        names = {'credentials.toml', 'secret.key', 'server.toml', 'zatotx.db'}
        found = [file for file in self.run_.broker.path.rglob('*') if file.name in names]
        self.assertEqual({file.name for file in found}, names)
        self.assertEqual({file.stat().st_mode & 0o077 for file in found}, {0})

    def test_processes(self) -> None:
        """The command lines of servers and Redis."""
        self.assertGreaterEqual(len(self.run_.command_lines), 3)
        self.assertEqual(self.run_.leaks('\n'.join(self.run_.command_lines)), set())


class DatabaseUrlTests(SynchronousTestCase):
    """The password of a real database, which every process of the environment uses."""

    def test_postgresql(self) -> None:
        """It is in nothing that a server and its commands wrote or said, the database away or not; a new key reads it,
        with the server running and after a restart."""
        server = postgresql.shared()
        path, offset = Path(self.mktemp()).absolute() / 'qs', broker.free_offset()
        made = Broker(path, offset)
        said = [made.run('quickstart', 'create', str(path), '--servers', '1', '--port-offset', str(offset), '--odb-url',
                         server.fresh())]  # fmt: skip
        self.addCleanup(made.run, 'stop', str(path))
        self.assertEqual(said[0].code, 0, said[0].text)
        settings = path / 'server1/config/server.toml'
        before = settings.read_text()
        for words in (('start',), ('crypto', 'rotate-key'), ('check-config',), ('odb', 'check'), ('info',), ('doctor',),
                      ('history',), ('enmasse', '--export'), ('restart',), ('service', 'list')):  # fmt: skip
            options = [word for word in words if word.startswith('--')]
            said.append(made.run(*(word for word in words if word not in options), str(path), *options))
            self.assertEqual(said[-1].code, 0, (words, said[-1].text))
        self.assertEqual(made.invoke('zato.ping').status, 200)
        commands = [Path(f'/proc/{pid}/cmdline').read_text() for pid in made.pids()]
        said.append(made.run('stop', str(path)))
        self.assertNotEqual(settings.read_text(), before)
        wrong = Secrets(read_cluster_key(path / 'server1/config/secret.key', {})).encrypt(server.url('nowhere'))
        made.set('odb', url=wrong)
        said += [made.run(word, str(path)) for word in ('start', 'check-config')]
        self.assertEqual([each.code for each in said[-2:]], [1, 1])
        files = [file.read_bytes().decode('latin-1') for file in path.rglob('*') if file.is_file()]
        self.assertGreater(len(files), 10)
        for text in (*files, *commands, *(each.text for each in said)):
            self.assertNotIn(postgresql.PASSWORD, text)


class ReprTests(SynchronousTestCase):
    """What our objects say of themselves, as a debugger or a traceback may print them."""

    def test_settings_and_configuration(self) -> None:
        """Settings as they are written and as they are used, addresses, the ODB, the objects in it."""
        made = Path(self.mktemp()).absolute() / 'qs'
        secret = plant('repr')
        said = zatotx('quickstart', 'create', made, '--servers', 1, '--port-offset', broker.free_offset(),
                      '--redis-url', f'redis://u:{secret}@127.0.0.1:1')
        self.assertEqual((said.code, secret in said.out), (0, False))
        home = made / 'server1'
        key = read_cluster_key(home / 'config/secret.key', {})
        settings = load_settings(home / 'config/server.toml', [found.kind.name for found in find_kinds()])
        clear = decrypt_urls(settings, key)
        self.assertIn(secret, clear.kvdb.url)
        types = ObjectTypeRegistry((*all_object_types([]), *OBJECT_TYPES, VAULT))
        database = open_database(f'sqlite:///{made}/odb/zatotx.db', key, cluster=settings.main.cluster, types=types)
        self.addCleanup(database.close)
        operation = vault('v', secret)
        write_operations(database, [operation], Actor('me', 'test'))
        objects = read_snapshot(database)
        (stored,) = objects.objects_of_types('vault')
        self.assertEqual(stored.value.password, secret)
        shown = [settings, clear, clear.kvdb, clear.odb, clear.kinds, parse_redis_url(clear.kvdb.url, home), database,
                 objects, stored, stored.value, operation, Secrets(key)]
        for value in shown:
            for text in (repr(value), str(value), f'{value}'):
                self.assertNotIn(secret, text, type(value))
                self.assertNotIn(key, text, type(value))
