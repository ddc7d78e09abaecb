"""Redis over TLS: a server with a certificate, clients that look at it, and the command line's own look."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import which

from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.authority import Authority
from trial_tests.support.broker import Broker, free_offset
from trial_tests.support.reactor import reactor
from trial_tests.support.redis import RedisCase
from trial_tests.support.valkey import Valkey
from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.redis.client import RedisClient
from zatotx.redis.redis_url import RedisAddress, RedisTlsFiles, parse_redis_url
from zatotx.redis.sync_probe import probe_redis


def secure_server(ca: Authority, *options: str) -> Valkey:
    """Of the Debian package: the wheel's is built without TLS."""
    program = which('valkey-server')
    if program is None:
        raise AssertionError('valkey-server is not installed: make peers')
    certificate, key = ca.sign('redis', 'localhost', '127.0.0.1')
    return Valkey(
        '--tls-cert-file', str(certificate), '--tls-key-file', str(key), '--tls-ca-cert-file', str(ca.path),
        '--tls-auth-clients', 'optional', *options, net='tls-port', program=program,
    )


class TlsTests(RedisCase):
    """A client and the command line's look."""

    def setUp(self) -> None:
        self.files = Path(self.mktemp()).absolute()
        self.ca = Authority(self.files)
        self.server = secure_server(self.ca)
        self.addCleanup(self.server.close)
        self.server.start()

    def address(self, options: str = '?ca=ca.crt', host: str = 'localhost', scheme: str = 'rediss') -> RedisAddress:
        return parse_redis_url(f'{scheme}://{host}:{self.server.port}/0{options}', self.files)

    async def refused(self, address: RedisAddress, words: str) -> None:
        """Neither a client nor the command line gets through, and both say why, in a sentence."""
        client = self.starting(address)
        await self.until(lambda: client.problem != 'no connection has been made yet', 'a first try')
        self.assertIn(words, client.problem)
        self.assertNotIn('\n', client.problem)
        await client.stopService()
        with self.assertRaises(ServiceUnavailable) as caught:
            probe_redis(address)
        self.assertIn(f'{address} cannot be used: ', str(caught.exception))

    async def test_verified(self) -> None:
        """With the right CA, by name or by address, from the URL or from settings, commands go through; after a restart
        of the server too."""
        for address in (
            self.address(),
            self.address(host='127.0.0.1'),
            parse_redis_url(f'rediss://localhost:{self.server.port}', self.files, RedisTlsFiles(ca='ca.crt')),
        ):
            client = await self.client(address)
            self.assertEqual(await client.execute('SET', 'a', 'x' * 100_000), 'OK')
            self.assertEqual(len(str(await client.execute('GET', 'a'))), 100_000)
            self.assertEqual(probe_redis(address).product, 'valkey')
        await self.restarted(client)
        self.assertEqual(await client.execute('PING'), 'PONG')

    async def test_a_ca_that_is_not_trusted(self) -> None:
        """A certificate of another CA, or of one that only the system could know, is refused."""
        Authority(self.files / 'other')
        await self.refused(self.address('?ca=other/ca.crt'), 'not signed by a trusted CA: configure that CA')
        await self.refused(self.address(''), 'not signed by a trusted CA')

    async def test_another_name(self) -> None:
        """A certificate that is right but for another host is refused."""
        certificate, key = self.ca.sign('elsewhere', 'redis.example')
        for option, path in (('tls-cert-file', certificate), ('tls-key-file', key)):
            self.server.command('CONFIG', 'SET', option, str(path))
        # Each alone does not fit the other: both are set together.
        self.server.command('CONFIG', 'SET', 'tls-cert-file', str(certificate), 'tls-key-file', str(key))
        await self.refused(self.address(), 'its certificate is for another name')

    async def test_client_certificate(self) -> None:
        """A server that wants one gets it; without, or with one of another CA, it refuses, and the problem says what to
        do."""
        self.ca.sign('me')
        Authority(self.files / 'other').sign('me')
        self.server.command('CONFIG', 'SET', 'tls-auth-clients', 'yes')
        client = await self.client(self.address('?ca=ca.crt&cert=me.crt&key=me.key'))
        self.assertEqual(await client.execute('PING'), 'PONG')
        both = self.files / 'both.pem'
        both.write_bytes((self.files / 'me.crt').read_bytes() + (self.files / 'me.key').read_bytes())
        self.assertEqual(probe_redis(self.address('?ca=ca.crt&cert=both.pem')).mode, 'standalone')
        await self.client(self.address('?ca=ca.crt&cert=both.pem'))
        for options in ('', '&cert=other/me.crt&key=other/me.key'):
            await self.refused(self.address(f'?ca=ca.crt{options}'), 'it requires a client certificate that it trusts')

    async def test_files_that_will_not_do(self) -> None:
        """A missing file, one without a certificate, a key that is none: named, and read again at the next try."""
        (self.files / 'empty.crt').touch()
        await self.refused(self.address('?ca=nobody.crt'), f'{self.files}/nobody.crt cannot be read: No such file')
        await self.refused(self.address('?ca=empty.crt'), f'{self.files}/empty.crt holds no certificate in PEM form')
        self.ca.sign('me')
        await self.refused(self.address('?ca=ca.crt&cert=me.crt&key=ca.crt'), 'holds no private key in PEM form')
        client = self.starting(self.address('?ca=late.crt'))
        await self.until(lambda: 'cannot be read' in client.problem, 'a first try')
        (self.files / 'late.crt').write_bytes(self.ca.path.read_bytes())
        await self.got(client.wait_connected())

    async def test_without_tls(self) -> None:
        """TLS to a server without is silence, no TLS to a server with is a hang-up: the problem says what it may be."""
        plain = Valkey(net='port')
        self.addCleanup(plain.close)
        plain.start()
        address = parse_redis_url(f'rediss://localhost:{plain.port}?ca=ca.crt', self.files)
        client = self.starting(address, timeout=0.5)
        await self.until(lambda: 'within 0.5 s; does it speak TLS?' in client.problem, 'a try')
        with self.assertRaisesRegex(ServiceUnavailable, 'does not reply'):
            probe_redis(address, 0.3)
        await self.refused(self.address('', scheme='redis'), 'connection')


class ServerTests(SynchronousTestCase):
    """A whole environment on a Redis of somebody else's."""

    def test_from_quickstart_on(self) -> None:
        """`quickstart --redis-url` with TLS, a user and a relative path of its CA: checked, started, connected under
        its name, with the password nowhere in clear; without the Redis the server goes on and says what is wrong."""
        folder = Path(self.mktemp()).absolute()
        ca = Authority(folder)
        server = secure_server(ca, '--user', 'app', 'on', '>hunter2', '~zatotx:*', '&zatotx:*', '+@all')
        self.addCleanup(server.close)
        server.start()
        broker = Broker(folder / 'env', free_offset())
        url = f'rediss://app:hunter2@localhost:{server.port}/0?ca={os.path.relpath(ca.path)}'
        broker.must('quickstart', 'create', str(broker.path), '--servers', '1', '--port-offset', str(broker.offset),
                    '--redis-url', url, '--cluster-name', 'own')
        self.addCleanup(broker.run, 'stop', str(broker.path))
        self.assertFalse((broker.path / 'redis').exists())
        broker.must('check-config', str(broker.path))
        broker.start()
        self.assertIn(b'name=zatotx:own:server1 ', server.command('CLIENT', 'LIST'))
        self.assertIn(b'zatotx:own:topic:config', server.command('PUBSUB', 'CHANNELS'))
        server.kill()
        broker.logged('Redis at localhost:', 'is unavailable')
        self.assertEqual(broker.ask('GET', '/zato/ping').status, 200)
        self.assertIn('cannot be used', broker.run('check-config', str(broker.path)).err)
        files = [path.read_text('utf-8', 'replace') for path in broker.directory().rglob('*') if path.is_file()]
        self.assertEqual([text for text in files if 'hunter2' in text], [])


class TlsSettingsTests(TestCase):
    """What a URL and settings may say of TLS together."""

    def wrong(self, url: str, tls: RedisTlsFiles | None = None) -> str:
        with self.assertRaises(StartError) as caught:
            parse_redis_url(url, Path('/env/server1'), tls)
        self.assertNotIn('hunter2', str(caught.exception))
        return str(caught.exception)

    def test_paths(self) -> None:
        """Relative to the server's directory; an option of the URL goes before the setting."""
        address = parse_redis_url(
            'rediss://h?ca=/x/ca.pem', Path('/env/server1'), RedisTlsFiles(ca='a.pem', cert='c.pem', key='k')
        )
        self.assertEqual(address.tls, RedisTlsFiles(ca='/x/ca.pem', cert='/env/server1/c.pem', key='/env/server1/k'))
        self.assertEqual(parse_redis_url('rediss://h', Path('/e')).tls, RedisTlsFiles())
        self.assertIsNone(parse_redis_url('redis://h', Path('/e')).tls)

    def test_never_without_verification(self) -> None:
        """There is no way to leave the server unverified: what others call it is refused by name."""
        for option in ('verify=false', 'ssl_cert_reqs=none', 'ssl_check_hostname=false', 'insecure=1'):
            said = self.wrong(f'rediss://u:hunter2@h/0?{option}')
            self.assertIn(f'option {option.partition("=")[0]}, but the certificate of Redis is always verified', said)

    def test_files_without_tls(self) -> None:
        """Files for TLS beside a URL without it, or a key without a certificate, are a mistake."""
        for url in ('redis://u:hunter2@h', 'unix://redis.sock', 'redis+sentinel://h/m'):
            self.assertIn('but the Redis URL does not use TLS', self.wrong(url, RedisTlsFiles(ca='ca.pem')))
        self.assertIn('has a key, but no certificate', self.wrong('rediss://h?key=k.pem'))
        self.assertIn('unknown options: ca', self.wrong('redis://h?ca=x'))

    def test_refused_at_once(self) -> None:
        """Nothing listens: the client says so, and does not stop trying."""
        client = RedisClient(reactor, parse_redis_url('rediss://127.0.0.1:1', Path('/e')))
        client.startService()
        self.addCleanup(client.stopService)
        self.assertEqual(client.problem, 'no connection has been made yet')
