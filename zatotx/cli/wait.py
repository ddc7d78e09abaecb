"""`zatotx wait`: until an address answers."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import click

from zatotx.cli.environment.http_request import CutOffError, Request, UnreachableError, send_request
from zatotx.cli.environment.listen_addresses import ListenAddress
from zatotx.cli.errors import CommandError
from zatotx.cli.output import progress

LOOK = 5.0  # seconds that one look may take


@click.command(
    epilog='\b\nExamples:\n  zatotx wait --address http://127.0.0.1:17010\n'
    '  zatotx wait --address http://127.0.0.1:17010 --url-path /zato/ready --timeout 10'
)
@click.option('--address', 'url', required=True, help='http://HOST:PORT or https://HOST:PORT')
@click.option('--url-path', default='/zato/ping', show_default=True, help='What to ask for.')
@click.option('--timeout', default=60.0, show_default=True, type=click.FloatRange(min=0), help='Seconds in all.')
@click.option('--interval', default=0.1, show_default=True, type=click.FloatRange(min=0.01), help='Seconds between.')
def wait(url: str, url_path: str, timeout: float, interval: float) -> None:
    """Wait until an address answers with a 2xx status: 0 as soon as it does, 1 when the time is over."""
    target = parse(url)
    request = Request('GET', '/' + url_path.lstrip('/'))
    end = time.monotonic() + timeout
    with progress(f'Waiting for {target.url}'):
        while why := probe_error(target, request, end):
            if time.monotonic() + interval > end:
                raise CommandError(f'{target.url}{request.target} did not answer well within {timeout:g} s: {why}.')
            time.sleep(interval)


def parse(url: str) -> ListenAddress:
    """The address of a URL. Raises UsageError for one that is none."""
    try:
        parts = urlsplit(url if '://' in url else f'http://{url}')
        port = parts.port
    except ValueError:
        parts, port = urlsplit(''), None
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise click.BadParameter('write it as http://HOST:PORT or https://HOST:PORT', param_hint="'--address'")
    return ListenAddress(parts.scheme, parts.hostname, port or {'http': 80, 'https': 443}[parts.scheme])


def probe_error(target: ListenAddress, request: Request, end: float) -> str:
    """What is wrong with the answer; '' when nothing is."""
    left = max(0.05, end - time.monotonic())
    try:
        answer = send_request(target, request, min(LOOK, left))
    except (UnreachableError, CutOffError) as error:
        return str(error)
    return '' if 200 <= answer.status < 300 else f'it answers {answer.status}'
