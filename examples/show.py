"""The last step of `make run`: deploys the demo to a running environment, calls it over HTTP and prints the addresses.

    python examples/show.py run/qs
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tomllib
from base64 import b64encode
from http.client import HTTPConnection
from pathlib import Path

HERE = Path(__file__).parent
ZATOTX = Path(sys.executable).with_name('zatotx')
USER = 'api.user'


def main(environment: Path) -> None:
    password = demo_password(environment / 'credentials.toml')
    zatotx('hot-deploy', environment, HERE / 'demo.py', HERE / 'classic.py')
    zatotx('enmasse', environment, '--import', '--input', HERE / 'demo.yaml', DEMO_PASSWORD=password)
    ports = read(environment)['ports']
    port = int(str(ports.get('load-balancer', ports['server1'])))
    show_echo(port, password)
    show(port, '/demo/hello/Ada')
    show(port, '/demo/to-fahrenheit/37')
    title = 'Balancer' if 'load-balancer' in ports else 'Server'
    print(f'\n{title:9} http://127.0.0.1:{port}')
    if 'web-admin' in ports:
        print(f'Web admin http://127.0.0.1:{ports["web-admin"]}  (user admin)')
    print(f'Users     admin.invoke, pubapi, {USER}')
    print(f'Passwords {environment / "credentials.toml"}')


def read(environment: Path) -> dict[str, dict[str, object]]:
    """Return the contents of credentials.toml."""
    return tomllib.loads((environment / 'credentials.toml').read_text())


def demo_password(credentials: Path) -> str:
    """Return the password of the demo's user, which is created on first use and stored with the others."""
    section = read(credentials.parent).get('demo')
    if section:
        return str(section['password'])
    password = secrets.token_hex(12)
    with credentials.open('a') as file:
        file.write(f'\n[demo]\nusername = "{USER}"\npassword = "{password}"\n')
    return password


def zatotx(*arguments: object, **variables: str) -> None:
    """Run a command and show its output; exit if it fails."""
    process = subprocess.run([ZATOTX, *map(str, arguments)], env={**os.environ, **variables}, check=False)
    if process.returncode:
        sys.exit(process.returncode)


def show_echo(port: int, password: str) -> None:
    """Call the echo service and print request and response."""
    body = json.dumps({'hello': 'zatotx', 'items': [1, 2, 3]})
    token = b64encode(f'{USER}:{password}'.encode()).decode()
    print(f"\n$ curl -u {USER}:… http://127.0.0.1:{port}/demo/echo -d '{body}'")
    print(ask(port, 'POST', '/demo/echo', body, {'Authorization': f'Basic {token}'}))


def show(port: int, path: str) -> None:
    """Call a service with GET and print request and response."""
    print(f'\n$ curl http://127.0.0.1:{port}{path}')
    print(ask(port, 'GET', path))


def ask(port: int, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> str:
    """Send a request and return the body of the response; exit unless the status is 200."""
    connection = HTTPConnection('127.0.0.1', port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        sys.exit(f'{path} answered {response.status}: {text}')
    return text


if __name__ == '__main__':
    main(Path(sys.argv[1]))
