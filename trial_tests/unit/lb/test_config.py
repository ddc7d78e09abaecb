"""Tests of lb.toml: what is read from it, and that all errors are found with their lines."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.lb.config.files import CONFIG_FILE, ConfigurationFiles
from zatotx.lb.config.model import Configuration, StickyCookie
from zatotx.lb.config.parser import parse_configuration
from zatotx.lb.config.template import BACKEND, FRONTEND, ServerAddress, make_configuration
from zatotx.model.errors import StartError

MINIMAL = '[main]\ncluster = "c"\n'
SERVERS = (ServerAddress('server1', '127.0.0.1', 17010), ServerAddress('server2', '127.0.0.1', 17011))


class ConfigurationTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        (self.directory / 'config').mkdir(parents=True)
        (self.directory / 'errors').mkdir()
        (self.directory / 'errors' / '503.json').write_text('{}')

    def read(self, source: str) -> Configuration:
        configuration, errors = parse_configuration(source, self.directory)
        self.assertEqual(errors, [])
        assert configuration is not None
        return configuration

    def errors(self, source: str) -> Sequence[str]:
        configuration, errors = parse_configuration(source, self.directory)
        self.assertIsNone(configuration)
        return errors

    def template(self) -> str:
        return make_configuration(name='load-balancer', cluster='qs', servers=SERVERS, stats_password='s3cret')


class ReadingTests(ConfigurationTestCase):
    def test_template(self) -> None:
        """The file that quickstart writes is valid, with the environment's servers and Zato's defaults."""
        configuration = self.read(self.template())
        frontend, backend = configuration.frontends[FRONTEND], configuration.backends[BACKEND]
        self.assertEqual((frontend.listen, frontend.default_backend), (('127.0.0.1:11223',), BACKEND))
        self.assertEqual([(name, server.host, server.port) for name, server in backend.servers.items()],
                         [('server1', '127.0.0.1', 17010), ('server2', '127.0.0.1', 17011)])
        self.assertEqual((backend.timeouts.connect, backend.timeouts.server, frontend.timeouts.client), (15, 15, 15))
        self.assertEqual((configuration.stats.path, frontend.alive_path), ('/zato-lb-stats', '/zato-lb-alive'))
        self.assertNotIn('s3cret', repr(configuration))

    def test_default_503(self) -> None:
        """Without an error file, the body of 503 is that of Zato."""
        body = self.read(MINIMAL).error_bodies[503]
        self.assertEqual(body.content_type, 'application/json')
        details = json.loads(body.body)['zato_env']
        self.assertEqual((details['result'], details['details']),
                         ('ZATO_ERROR', 'No server is available to handle the request'))

    def test_shared_timeouts(self) -> None:
        """[timeouts] applies to every frontend and backend, except where they set a value themselves."""
        configuration = self.read(MINIMAL + '''
            [timeouts]
            client = 7
            server = 8
            [frontends.f]
            listen = ["127.0.0.1:1"]
            [backends.a]
            [backends.b]
            timeouts = {server = 60}
            [backends.t]
            mode = "tcp"
        ''')
        self.assertEqual(configuration.frontends['f'].timeouts.client, 7)
        self.assertEqual([configuration.backends[name].timeouts.server for name in 'ab'], [8, 60])
        self.assertEqual([configuration.backends[name].check.type for name in 'at'], ['http', 'tcp'])

    def test_tables_of_all_depths(self) -> None:
        """Nested tables become typed values."""
        configuration = self.read(MINIMAL + '''
            [backends.b]
            sticky_cookie = {name = "x", max_age = 60}
            servers.s1 = {host = "10.0.0.1", port = 80, tls = {verify = false}}
            [frontends.f]
            listen = ["[::1]:8080", "unix:/run/lb.sock"]
            request_rate = {count = 10}
            [[frontends.f.routes]]
            host = "*.example.com"
            headers = {X-Version = "2"}
            backend = "b"
        ''')
        backend, frontend = configuration.backends['b'], configuration.frontends['f']
        self.assertEqual(backend.sticky_cookie, StickyCookie(name='x', max_age=60))
        assert backend.servers['s1'].tls is not None
        self.assertFalse(backend.servers['s1'].tls.verify)
        self.assertEqual((frontend.routes[0].host, frontend.routes[0].headers), ('*.example.com', {'X-Version': '2'}))


class ReferenceTests(ConfigurationTestCase):
    def test_secrets_from_elsewhere(self) -> None:
        """A text may refer to a file that only its owner can read, or to an environment variable; references that
        cannot be resolved are errors with their lines."""
        (self.directory / 'secret').touch(mode=0o600)
        (self.directory / 'secret').write_text('s3cret\n')
        self.patch(os, 'environ', {'LB_USER': 'ann'})
        stats = self.read(MINIMAL + '[stats]\nusername = "${LB_USER}"\npassword = "file:secret"\n').stats
        self.assertEqual((stats.username, stats.password), ('ann', 's3cret'))
        found = self.errors(MINIMAL + '[stats]\nusername = "${NO_SUCH}"\npassword = "file:missing"\n')
        self.assertEqual([text.partition(': ')[0] for text in found], ['Line 4', 'Line 5'])
        self.assertIn('NO_SUCH', found[0])


class MistakeTests(ConfigurationTestCase):
    def test_all_at_once_with_lines(self) -> None:
        """Every error is reported, in the order of the lines: unknown names, wrong types, values out of range, and
        what is missing."""
        self.assertEqual(self.errors('''[main]
name = "x"
worker = 2
[timeouts]
server = "fast"
sever = 1
[frontends.f]
listen = "127.0.0.1:1"
max_connections = 0
routes = [
  {path = "/a", backend = "b"},
  {path = "/b"},
]
[backends.b]
algorithm = "best"
[backends.b.servers.s1]
host = "h"
port = 70000
[backends.b.servers]
s2 = 5
[other]
'''), [
            'Line 1: main: cluster is missing.',
            'Line 3: main.worker: no such setting; known are cluster, name, workers.',
            'Line 5: timeouts.server: expected `float`, got `str`.',
            'Line 6: timeouts.sever: no such setting; known are client, request, keep_alive, connect, server, queue, '
            'tunnel, idle.',
            'Line 8: frontends.f.listen: expected `array`, got `str`.',
            'Line 9: frontends.f.max_connections: expected `int` >= 1.',
            'Line 10: frontends.f.routes.1: backend is missing.',
            "Line 15: backends.b.algorithm: invalid enum value 'best'.",
            'Line 18: backends.b.servers.s1.port: expected `int` <= 65535.',
            'Line 20: backends.b.servers.s2: expected a table.',
            'Line 21: other: no such setting; known are main, frontends, backends, error_files, stats, log, shutdown, '
            'agent, timeouts.',
        ])  # fmt: skip

    def test_relations(self) -> None:
        """Values that contradict each other, or name something that does not exist, are errors too."""
        found = self.errors('''[main]
cluster = "c"
[frontends.f]
listen = ["127.0.0.1:1", "here", "ssl:443"]
default_backend = "nope"
deny = ["10.0.0.300"]
request_headers = {set = {"X Y" = "1", A = "\\u0001"}, remove = ["Content-Length"]}
[frontends.g]
listen = ["127.0.0.1:1"]
mode = "tcp"
stats = true
default_backend = "b"
[frontends.g.tls]
certificates = "missing"
client_certificates = "required"
[frontends.h]
listen = ["127.0.0.1:2"]
mode = "tcp"
[[frontends.f.routes]]
backend = "t"
[backends.b]
sticky_cookie = {}
[backends.t]
mode = "tcp"
hash_on = "cookie:x"
sticky_cookie = {}
servers.s1 = {host = "h", port = 1, tls = {ca = "missing.pem"}}
[error_files]
503 = "errors/503.exe"
404 = "errors/missing.html"
[agent]
listen = "x"
''')
        text = '\n'.join(found)
        for expected in (
            "Line 4: frontends.f.listen: 'here' must be HOST:PORT",
            "Line 4: frontends.f.listen: 'ssl:443' must not be an 'ssl:' endpoint",
            "Line 5: frontends.f.default_backend: there is no backend 'nope' (known: b, t).",
            "Line 6: frontends.f.deny: '10.0.0.300' is neither",
            "Line 7: frontends.f.request_headers.set.X Y: 'X Y' is not the name",
            'Line 7: frontends.f.request_headers.set.A: the value contains characters',
            "Line 7: frontends.f.request_headers.remove: 'Content-Length' is a field",
            "Line 9: frontends.g.listen: '127.0.0.1:1' is used by the frontend 'f' already.",
            'Line 11: frontends.g.stats: is for mode = "http" only.',
            'frontends.g.default_backend: the backend \'b\' has mode = "http", the frontend "tcp".',
            'Line 13: frontends.g.tls: client_ca is missing',
            'missing does not exist.',
            'Line 16: frontends.h: default_backend is missing',
            "Line 20: frontends.f.routes.0.backend: the backend 't' has mode",
            'Line 19: frontends.f.routes.0: has no condition',
            'Line 25: backends.t.hash_on: must be "address"',
            'Line 26: backends.t.sticky_cookie: is for mode = "http" only.',
            "Line 26: backends.t.sticky_cookie: the backend 'b' uses the cookie name",
            'missing.pem does not exist.',
            'Line 29: error_files.503: the name of the file must end in',
            'Line 30: error_files.404:',
            'Line 32: agent.listen: must be HOST:PORT',
            'stats: password is missing',
        ):  # fmt: skip
            self.assertIn(expected, text)
        self.assertEqual(len(found), 23)

    def test_syntax(self) -> None:
        """An error of syntax is reported with its line and column."""
        [error] = self.errors('[main]\ncluster = \n')
        self.assertIn('at line 2, column 11', error)


class FileTests(ConfigurationTestCase):
    def test_last_good(self) -> None:
        """A start with a bad file uses the last configuration that was in force; without one it fails with all
        errors."""
        files = ConfigurationFiles(self.directory)
        error = self.assertRaises(StartError, files.load)
        self.assertIn('is missing', str(error))
        files.write('[main]\nx = 1\n')
        error = self.assertRaises(StartError, files.load)
        self.assertIn('Line 1: main: cluster is missing. Line 2: main.x: no such setting', str(error))
        files.write(MINIMAL)
        self.assertEqual(files.load()[1], MINIMAL)
        files.keep(MINIMAL)
        files.write('[main]\n')
        configuration, source = files.load()
        self.assertEqual((configuration.main.cluster, source), ('c', MINIMAL))
        self.assertEqual((self.directory / CONFIG_FILE).read_text(), '[main]\n')
