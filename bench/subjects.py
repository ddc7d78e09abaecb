"""Service modules, enmasse files and requests for the benchmarks."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import yaml

from bench.load import Request

_USER, _PASSWORD = 'bench.user', 'correct-horse-battery'
BODY = '{"customer": 123, "name": "Anna", "items": [1, 2, 3]}'
HEADERS = {
    'Content-Type': 'application/json',
    'Authorization': 'Basic ' + b64encode(f'{_USER}:{_PASSWORD}'.encode()).decode(),
}
ECHO_SERVICES = '''
from zatotx import Service


class Echo(Service):
    name = 'bench.echo'

    async def handle(self):
        self.response.payload = self.request.payload


class EchoInThread(Service):
    name = 'bench.echo.thread'

    def handle(self):
        self.response.payload = self.request.payload
'''
_ONE_OF_MANY = '''
from zatotx import Int, Service


class Numbered(Service):
    """ One of many services. """
    name = 'bench.many.{number}'
    input = Int('account_id'), '-currency'
    output = 'balance', '-currency'

    async def handle(self):
        self.response.payload = {{'balance': str(self.request.input.account_id), 'currency': 'EUR'}}
'''


def echo(path: str = '/bench/echo') -> Request:
    """The echo request that is sent to all servers."""
    return Request(path=path, body=BODY, headers=HEADERS)


def echo_module(folder: Path) -> Path:
    """Write a module with both echo services."""
    file = folder / 'bench_echo.py'
    file.write_text(ECHO_SERVICES)
    return file


def many_modules(folder: Path, count: int) -> list[Path]:
    """Write `count` modules with one service each, which is the most expensive layout."""
    files = [folder / f'bench_many_{number}.py' for number in range(count)]
    for number, file in enumerate(files):
        file.write_text(_ONE_OF_MANY.format(number=number))
    return files


def echo_channels(folder: Path) -> Path:
    """Write an enmasse file with the user and a channel for each echo."""
    return _enmasse(folder / 'echo.yaml', [
        channel('bench.echo', '/bench/echo', 'bench.echo'),
        channel('bench.echo.thread', '/bench/echo/thread', 'bench.echo.thread'),
    ])


def many_channels(folder: Path, count: int) -> tuple[Path, list[str]]:
    """Write an enmasse file with `count` channels, every tenth with a path pattern; return it with a path for each."""
    channels, paths = [], []
    for number in range(count):
        pattern = number % 10 == 0
        url_path = f'/bench/{number}/items/{{item}}' if pattern else f'/bench/{number}/items'
        channels.append(channel(f'bench.{number}', url_path, 'bench.echo'))
        paths.append(f'/bench/{number}/items/7' if pattern else url_path)
    return _enmasse(folder / f'{count}.yaml', channels), paths


def limited_channel(folder: Path, service: str, at_once: int) -> Path:
    """Write an enmasse file with a channel that has a concurrency limit."""
    limited = {**channel(service, '/bench/waits', service), 'max_in_flight': at_once}
    return _enmasse(folder / 'limited.yaml', [limited])


def channel(name: str, url_path: str, service: str) -> dict[str, object]:
    return {
        'name': name,
        'url_path': url_path,
        'service': service,
        'method': 'POST',
        'security': _USER,
        'data_format': 'json',
    }


def _enmasse(file: Path, channels: list[dict[str, object]]) -> Path:
    user = {'name': _USER, 'type': 'basic_auth', 'username': _USER, 'realm': 'bench', 'password': _PASSWORD}
    document = {'security': [user], 'channel_rest': channels}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file
