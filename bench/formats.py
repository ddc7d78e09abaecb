"""Benchmarks of XML, SOAP with WS-Security, and JWT, relative to a JSON echo with Basic auth."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench import load, subjects
from bench.environment import Environment
from bench.figures import Row, in_turns

_PASSWORD = 'correct-horse-battery'
_BARS = {'xml': 0.35, 'soap': 0.15, 'jwt': 0.5}
_TITLES = {
    'xml': 'XML echo of 2 KB relative to JSON',
    'soap': 'SOAP echo of 2 KB with WS-Security digest and replay detection relative to JSON',
    'jwt': 'JWT RS256 with cached tokens relative to Basic auth',
}
_ORDERS = [
    {'id': n, 'customer': f'Customer {n}', 'city': 'Warszawa', 'total': f'{n}.50', 'paid': n % 2 == 0}
    for n in range(24)
]
_WSSE = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd'
_WSU = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd'
_DIGEST = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest'
_ENVELOPE = 'http://schemas.xmlsoap.org/soap/envelope/'


def measure(environment: Environment, folder: Path, budget: tuple[int, float], say: Callable[[str], None]) -> list[Row]:
    """Measure all rows. The environment runs and serves the echo. `budget`: number of rounds, seconds per run."""
    rounds, seconds = budget
    key = generate_private_key(65537, 2048)
    environment.enmasse(_channels(folder, key))
    targets = {
        'json': load.Request(path='/bench/2k/json', body=_json(), headers=subjects.HEADERS),
        'basic': subjects.echo(),
        'xml': load.Request(path='/bench/2k/xml', body=_xml(),
                            headers={**subjects.HEADERS, 'Content-Type': 'application/xml'}),
        'soap': _soap(),
        'jwt': load.Request(path='/bench/jwt', body=subjects.BODY, headers=_bearer(key)),
    }
    for name, request in targets.items():
        if name != 'soap':  # the load generator creates each of its messages
            status, body = load.answer(environment.port, request)
            if status != 200:
                raise load.LoadError(f'{name} is not served: {status} {body[:200]!r}')
    found = in_turns(rounds, {name: _runner(environment.port, to, seconds) for name, to in targets.items()}, say)
    beside = {'xml': 'json', 'soap': 'json', 'jwt': 'basic'}
    return [
        Row(what=_TITLES[name], figure=f'{found[name].rate:,.0f}/s : {found[other].rate:,.0f}/s',
            value=found[name].rate / found[other].rate, bar=_BARS[name], at_least=True, unit=' x')
        for name, other in beside.items()
    ]  # fmt: skip


def _runner(port: int, request: load.Request, seconds: float) -> Callable[[], load.Result]:
    return lambda: load.run(port, request, seconds=seconds)


def _json() -> str:
    """Two kilobytes of JSON."""
    return json.dumps({'orders': _ORDERS[:23]})


def _xml() -> str:
    """Two kilobytes of XML with similar content."""
    orders = (''.join(f'<{name}>{value}</{name}>' for name, value in order.items()) for order in _ORDERS[:17])
    return f'<orders>{"".join(f"<order>{order}</order>" for order in orders)}</orders>'


def _soap() -> load.Request:
    """The XML in an envelope; the load generator creates the token of each message."""
    script = Path(__file__).with_name('wss.lua').read_text()
    around = {
        'before': f'<s:Envelope xmlns:s="{_ENVELOPE}"><s:Header><w:Security xmlns:w="{_WSSE}" s:mustUnderstand="1">'
                  f'<w:UsernameToken><w:Username>bench.wss</w:Username><w:Password Type="{_DIGEST}">',
        'between': '</w:Password><w:Nonce>',
        'after': f'</w:Nonce><u:Created xmlns:u="{_WSU}">',
        'rest': f'</u:Created></w:UsernameToken></w:Security></s:Header><s:Body>{_xml()}</s:Body></s:Envelope>',
        'path': '/bench/2k/soap',
        'password': _PASSWORD,
    }  # fmt: skip
    lines = [f'local {name} = {load.lua(value)}' for name, value in around.items()]
    lines.append('local fields = {["Content-Type"] = "text/xml; charset=utf-8", ["SOAPAction"] = "\\"echo\\""}')
    return load.Request(path='/bench/2k/soap', lua='\n'.join([*lines, script]))


def _bearer(key: Any) -> dict[str, str]:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    claims = {'sub': 'bench', 'iss': 'bench', 'aud': 'zatotx', 'exp': datetime.now(UTC) + timedelta(hours=1)}
    return {**subjects.HEADERS, 'Authorization': f'Bearer {jwt.encode(claims, private, "RS256")}'}


def _channels(folder: Path, key: Any) -> Path:
    """Write an enmasse file with the channels and their security definitions."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    document = {
        'security': [
            {'name': 'bench.wss', 'type': 'wss', 'username': 'bench.wss', 'password': _PASSWORD,
             'password_type': 'digest', 'reject_empty_nonce_creat': True, 'reject_stale_tokens': True,
             'reject_expiry_limit': 3600, 'nonce_freshness_time': 3600},
            {'name': 'bench.jwt', 'type': 'jwt', 'algorithms': ['RS256'], 'public_key': public, 'issuer': 'bench',
             'audience': 'zatotx'},
        ],
        'channel_rest': [
            subjects.channel('bench.2k.json', '/bench/2k/json', 'bench.echo'),
            {**subjects.channel('bench.2k.xml', '/bench/2k/xml', 'bench.echo'), 'data_format': 'xml'},
            {**subjects.channel('bench.jwt', '/bench/jwt', 'bench.echo'), 'security': 'bench.jwt'},
        ],
        'channel_soap': [
            {'name': 'bench.2k.soap', 'url_path': '/bench/2k/soap', 'soap_action': 'echo', 'service': 'bench.echo',
             'security': 'bench.wss'},
        ],
    }  # fmt: skip
    file = folder / 'formats.yaml'
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file
