"""An environment whose channels want tokens and client certificates: one server of two workers, plain and with TLS."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import yaml

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.certificate import write_certificate

SERVICES = '''
import os

from zatotx import Service


class Who(Service):
    """ Who calls, as far as services see it. """
    name = 'sec.who'

    async def handle(self):
        who = self.principal
        self.response.payload = {'name': who.name, 'username': who.username, 'kind': who.kind,
                                 'claims': dict(who.claims), 'roles': sorted(who.roles), 'pid': os.getpid()}
'''


class Answered(msgspec.Struct, frozen=True):
    """What curl was answered."""

    status: int  # 0 = there was no answer
    challenge: str
    body: str

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def guarded() -> Broker:
    """The environment, running."""
    return shared('guarded', _built)


def _built() -> Broker:
    broker = create(more=['--workers', '2'])
    server = write_certificate(broker.directory() / 'config' / 'tls.pem', 'localhost')
    broker.set('http', listen=[
        f'tcp:port={broker.port()}:interface=127.0.0.1',
        f'ssl:port={broker.port() + 1}:interface=127.0.0.1:privateKey={server}:certKey={server}',
    ])
    broker.set('log', level='debug')
    broker.start()
    broker.serve('sec_services.py', SERVICES)
    return broker


def define(broker: Broker, *definitions: dict[str, Any], **sections: Any) -> None:
    """Import security definitions, and for each a channel `/who/NAME` that wants it. `sections`: whatever else."""
    channels = [
        {'name': f'who.{each["name"]}', 'url_path': f'/who/{each["name"]}', 'service': 'sec.who', 'data_format': 'json',
         'security': each['name']}
        for each in definitions
    ]  # fmt: skip
    more = sections.pop('channel_rest', [])
    document = {'security': list(definitions), 'channel_rest': [*channels, *more], **sections}
    broker.configure(yaml.safe_dump(document))


def who(broker: Broker, name: str, *, tls: bool = False) -> str:
    """The URL of the channel of that definition."""
    return f'https://127.0.0.1:{broker.port() + 1}/who/{name}' if tls else f'http://127.0.0.1:{broker.port()}/who/{name}'


def curl(*words: str | Path) -> Answered:
    """`curl WORDS`, which trusts any server: what came."""
    done = subprocess.run(
        ['curl', '-sk', '--max-time', '100', '-w', '\n%{http_code} %header{www-authenticate}', *map(str, words)],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    body, _, said = done.stdout.rpartition('\n')
    status, _, challenge = said.partition(' ')
    return Answered(int(status or 0), challenge, body)
