"""The cluster as commands use it: any of its servers, through /zato/api/invoke."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from zatotx.cli.environment.http_request import (
    CutOffError,
    HttpResponse,
    Request,
    UnreachableError,
    basic_auth,
    send_request,
)
from zatotx.cli.environment.layout import CREDENTIALS, SERVER, Component, Environment, components_of, credentials
from zatotx.cli.environment.listen_addresses import address
from zatotx.cli.errors import CommandError, failure_of

# What stands between mistakes: of an import, of an input with their paths, of a deployed file with their lines.
_BETWEEN = re.compile(r'\n+|; (?=\$[.\[:])|; (?=[\w./-]+\.py:\d+: )')
TIMEOUT = 60.0  # seconds for one call
SLACK = 5.0  # the server's deadline comes this much before ours, so that its answer names what was slow


class UnknownPasswordError(CommandError):
    """The cluster has another password for admin.invoke than credentials.toml."""


class Cluster:
    """Calls services as admin.invoke on the server that PATH names, or else on the first that can be reached."""

    def __init__(self, place: Environment) -> None:
        self._place = place
        everyone = [part for part in components_of(place.environment) if part.kind == SERVER]
        self._servers: list[Component] = [*place.servers, *(part for part in everyone if part not in place.servers)]

    def call(self, service: str, payload: object, timeout: float = TIMEOUT) -> Any:
        """Invoke an internal service; the value of its response element. Raises Failure with the server's sentence."""
        return element(successful(self.invoke(service, payload, timeout)))

    def invoke(self, service: str, payload: object, timeout: float = TIMEOUT) -> HttpResponse:
        """Invoke an internal service; its answer, whatever its status."""
        body = json.dumps(payload, ensure_ascii=False).encode('utf-8', 'surrogatepass')
        return self.post(service, body, timeout=timeout)

    def post(
        self, service: str, body: bytes, *, headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT
    ) -> HttpResponse:
        """The answer as it came, whatever its status. Raises Failure where there is none."""
        fields = {
            'Authorization': basic_auth(credentials(self._place.environment, 'api')),
            'Content-Type': 'application/json',
            'X-Zato-Deadline-Ms': str(int(timeout * 1000)),
            **(headers or {}),
        }
        request = Request('POST', f'/zato/api/invoke/{quote(service, safe="")}', fields, body)
        return self._ask(request, timeout + SLACK)

    def _ask(self, request: Request, timeout: float) -> HttpResponse:
        """From the first server that takes it. One that took it and broke off is the end: it may have done it."""
        for part in self._servers:
            try:
                answer = send_request(address(part), request, timeout)
            except UnreachableError:
                continue
            except CutOffError as error:
                raise CommandError(
                    f'{part.name} at {error}: it may have done what it was asked, so look before you ask again; its '
                    f'logs are in {part.path}/logs.'
                ) from None
            self._check_credentials(answer)
            return answer
        raise CommandError(
            f"No server of {self._place.environment} is running: 'zatotx start {self._place.environment}'."
        )

    def _check_credentials(self, answer: HttpResponse) -> None:
        if answer.status == 401:
            file = self._place.environment / CREDENTIALS
            raise UnknownPasswordError(
                f"The cluster does not know the password of [api] in {file}: set one with 'zatotx update password "
                f"{self._place.environment} admin.invoke'."
            )


def successful(answer: HttpResponse) -> HttpResponse:
    """The answer of a call that succeeded. Raises Failure with the reason of one that did not, a line each where there
    are several."""
    if answer.status >= 400:
        raise failure_of(mistakes_of(answer), 'The server found {} mistakes')
    return answer


def error_reason(answer: HttpResponse) -> str:
    """Why a call failed, as the server says it."""
    return '; '.join(mistakes_of(answer))


def mistakes_of(answer: HttpResponse) -> list[str]:
    """The same, mistake by mistake."""
    try:
        env = json.loads(answer.body)['zato_env']
        details, cid = env['details'], env.get('cid', '')
    except (ValueError, KeyError, TypeError):
        return [f'The server answered {answer.status} {answer.body[:200].decode("utf-8", "replace")}'.strip()]
    if answer.status == 500:
        return [f'{details} (cid {cid}: its traceback is in the log of the server)']
    return [str(each) for each in details] if isinstance(details, list) else _BETWEEN.split(str(details))


def element(answer: HttpResponse) -> Any:
    """What stands beside zato_env in an internal service's answer; None where nothing does."""
    document = json.loads(answer.body or b'null')
    if not isinstance(document, dict):
        return document
    found = [value for name, value in document.items() if name != 'zato_env']
    return found[0] if len(found) == 1 else None
