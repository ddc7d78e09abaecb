"""A client that invokes services on any server of an environment's cluster, through /zato/api/invoke."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from zatotx.cli.environment.blocking_http_request import (
    BlockingRequest,
    BlockingResponse,
    IncompleteResponseError,
    UnreachableError,
    basic_auth_header,
    send_request,
)
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.environment_layout import (
    CREDENTIALS,
    Component,
    Environment,
    components_of,
    read_credentials,
)
from zatotx.cli.environment.listen_addresses import first_tcp_address
from zatotx.cli.errors import CommandError, combine_errors

# Separates errors: of an import, of input elements (with their paths), of a deployed file (with line numbers).
_ERROR_SEPARATOR = re.compile(r'\n+|; (?=\$[.\[:])|; (?=[\w./-]+\.py:\d+: )')
TIMEOUT = 60.0  # seconds for one call
SLACK = 5.0  # seconds by which the server's deadline is earlier than ours, so that its response names what was slow


class PasswordRejectedError(CommandError):
    """The cluster rejected the password of the user admin.invoke in credentials.toml."""


class ClusterClient:
    """Invokes services as the user admin.invoke. They are invoked on the server whose directory is the argument PATH of
    the command or, if PATH is an environment, on the first reachable server."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        all_servers = [part for part in components_of(environment.environment) if part.kind == SERVER]
        self._servers: list[Component] = [
            *environment.servers,
            *(part for part in all_servers if part not in environment.servers),
        ]

    def call(self, service: str, payload: object, timeout: float = TIMEOUT) -> Any:
        """Invoke an internal service and return the value of its response element. Raises CommandError with the
        server's message."""
        return response_element(raise_for_status(self.invoke(service, payload, timeout)))

    def invoke(self, service: str, payload: object, timeout: float = TIMEOUT) -> BlockingResponse:
        """Invoke an internal service and return its response, whatever its status."""
        body = json.dumps(payload, ensure_ascii=False).encode('utf-8', 'surrogatepass')
        return self.post(service, body, timeout=timeout)

    def post(
        self, service: str, body: bytes, *, headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT
    ) -> BlockingResponse:
        """Return the unparsed response, whatever its status. Raises CommandError if there is none."""
        fields = {
            'Authorization': basic_auth_header(read_credentials(self._environment.environment, 'api')),
            'Content-Type': 'application/json',
            'X-Zato-Deadline-Ms': str(int(timeout * 1000)),
            **(headers or {}),
        }
        request = BlockingRequest('POST', f'/zato/api/invoke/{quote(service, safe="")}', fields, body)
        return self._send(request, timeout + SLACK)

    def _send(self, request: BlockingRequest, timeout: float) -> BlockingResponse:
        """Send the request to the first server that is reachable. If that one closes the connection, no other server is
        tried, because the request may have been processed."""
        for part in self._servers:
            try:
                response = send_request(first_tcp_address(part), request, timeout)
            except UnreachableError:
                continue
            except IncompleteResponseError as error:
                raise CommandError(
                    f'{part.name} at {error}: the request may have been processed, so check before you repeat it; '
                    f'the logs are in {part.path}/logs.'
                ) from None
            self._check_credentials(response)
            return response
        raise CommandError(
            f"No server of {self._environment.environment} is running: 'zatotx start {self._environment.environment}'."
        )

    def _check_credentials(self, response: BlockingResponse) -> None:
        if response.status == 401:
            file = self._environment.environment / CREDENTIALS
            raise PasswordRejectedError(
                f"The cluster does not accept the password of [api] in {file}: set one with 'zatotx update password "
                f"{self._environment.environment} admin.invoke'."
            )


def raise_for_status(response: BlockingResponse) -> BlockingResponse:
    """Return the response if the call succeeded, otherwise raise CommandError with the errors. If there are several
    errors, the message has one line for each."""
    if response.status >= 400:
        raise combine_errors(split_errors(response), 'The server reported {} errors')
    return response


def error_reason(response: BlockingResponse) -> str:
    """Return the error message in the server's response to a failed call."""
    return '; '.join(split_errors(response))


def split_errors(response: BlockingResponse) -> list[str]:
    """Return the errors of a failed call as a list."""
    try:
        env = json.loads(response.body)['zato_env']
        details, cid = env['details'], env.get('cid', '')
    except (ValueError, KeyError, TypeError):
        return [f'The server responded with {response.status} {response.body[:200].decode("utf-8", "replace")}'.strip()]
    if response.status == 500:
        return [f'{details} (cid {cid}: the traceback is in the log of the server)']
    return [str(each) for each in details] if isinstance(details, list) else _ERROR_SEPARATOR.split(str(details))


def response_element(response: BlockingResponse) -> Any:
    """Return the response element in the response of an internal service. It is the only element besides zato_env; if
    there is none, return None."""
    document = json.loads(response.body or b'null')
    if not isinstance(document, dict):
        return document
    found = [value for name, value in document.items() if name != 'zato_env']
    return found[0] if len(found) == 1 else None
