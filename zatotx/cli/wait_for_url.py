"""`zatotx wait`: waits until an address responds."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import click

from zatotx.cli.command_output import progress_if_slow
from zatotx.cli.environment.blocking_http_request import (
    BlockingRequest,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from zatotx.cli.environment.listen_addresses import ListenAddress
from zatotx.cli.errors import CommandError

REQUEST_TIMEOUT = 5.0  # maximum seconds per request


@click.command(
    epilog='\b\nExamples:\n  zatotx wait --address http://127.0.0.1:17010\n'
    '  zatotx wait --address http://127.0.0.1:17010 --url-path /zato/ready --timeout 10'
)
@click.option('--address', 'url', required=True, help='http://HOST:PORT or https://HOST:PORT')
@click.option('--url-path', default='/zato/ping', show_default=True, help='The path to request.')
@click.option('--timeout', default=60.0, show_default=True, type=click.FloatRange(min=0), help='Total seconds.')
@click.option('--interval', default=0.1, show_default=True, type=click.FloatRange(min=0.01),
              help='Seconds between requests.')
def wait(url: str, url_path: str, timeout: float, interval: float) -> None:
    """Wait until an address responds with a 2xx status. Returns 0 as soon as it does, 1 after the timeout."""
    target = parse_address(url)
    request = BlockingRequest('GET', '/' + url_path.lstrip('/'))
    deadline = time.monotonic() + timeout
    with progress_if_slow(f'Waiting for {target.url}'):
        while error := probe_error(target, request, deadline):
            if time.monotonic() + interval > deadline:
                url = f'{target.url}{request.target}'
                raise CommandError(f'{url} did not respond with 2xx within {timeout:g} s: {error}.')
            time.sleep(interval)


def parse_address(url: str) -> ListenAddress:
    """Parse a URL and return its address. Raises BadParameter if it is invalid."""
    try:
        parts = urlsplit(url if '://' in url else f'http://{url}')
        port = parts.port
    except ValueError:
        parts, port = urlsplit(''), None
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise click.BadParameter('use the form http://HOST:PORT or https://HOST:PORT', param_hint="'--address'")
    return ListenAddress(parts.scheme, parts.hostname, port or {'http': 80, 'https': 443}[parts.scheme])


def probe_error(target: ListenAddress, request: BlockingRequest, end: float) -> str:
    """Send the request and return an error message if the response does not indicate success, otherwise ''."""
    remaining = max(0.05, end - time.monotonic())
    try:
        response = send_request(target, request, min(REQUEST_TIMEOUT, remaining))
    except (UnreachableError, IncompleteResponseError) as error:
        return str(error)
    return '' if 200 <= response.status < 300 else f'it responds with {response.status}'
