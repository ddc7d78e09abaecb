"""Screens of the load balancer, for its servers and their states, its configuration, and commands. They use the load
balancer's agent instead of the cluster's API.

The agent knows this admin by its certificate only, so the roles of users are enforced here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from twisted.logger import Logger

from zatotx.admin.application import ScreenRoute
from zatotx.admin.balancer_form import BalancerForm, apply_form, build_form
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.concurrency import run_together
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.screens.nodes import uptime
from zatotx.admin.toml_secrets import UnknownSecret, mask_source, unmask_source
from zatotx.processes.lb_agent_client import AgentUnreachableError
from zatotx.wire.lb_agent_messages import AgentCallError

COMMANDS = ('show info', 'show stat', 'show errors', 'show sess', 'help')
STATES = {'ready': 'takes requests', 'drain': 'takes no new requests', 'maint': 'is in maintenance'}

_UPTIME = re.compile(r'(\d+)d (\d+)h(\d+)m(\d+)s')

_log = Logger()


async def call_agent(request: PageRequest, name: str, /, **arguments: Any) -> Any:
    """Call a method of the load balancer's agent, and return its result. Raises ApiError."""
    if request.balancer is None:
        raise ApiError(404, ['This web admin knows no load balancer: set [load_balancer] agent in config/admin.toml.'])
    try:
        return await request.balancer.call(name, **arguments)
    except AgentCallError as error:
        raise ApiError(error.status, [str(error), *error.errors]) from None
    except AgentUnreachableError as error:
        raise ApiError(0, [str(error)]) from None


async def change_by_agent(request: PageRequest, name: str, /, *, may: bool, **arguments: Any) -> Any:
    """Call a method of the load balancer's agent that changes something, if the user has permission (`may`), and log
    the call. Raises ApiError."""
    if not may:
        raise ApiError(403, ['Your role does not allow that.'])
    result = await call_agent(request, name, **arguments)
    _log.info('{user} at {address} called {name} of the load balancer', user=request.user.username,
              address=request.caller.address, name=name)
    return result


def show_uptime(text: str) -> str:
    """Convert the uptime that the agent reports, such as 0d 2h05m27s, to the form in which pages show it."""
    found = _UPTIME.fullmatch(text)
    if found is None:
        return text
    days, hours, minutes, seconds = map(int, found.groups())
    return uptime(0, ((days * 24 + hours) * 60 + minutes) * 60 + seconds)


async def show(request: PageRequest) -> Response:
    """Show the servers of the load balancer, with their states."""
    found, reported = await run_together(
        call_agent(request, 'get_server_data_dict'), call_agent(request, 'get_uptime_info')
    )
    servers = sorted(found.values(), key=lambda row: (row['backend'], row['name']))
    sessions = sum(row['current_sessions'] for row in servers)
    values = {'title': 'Load balancer', 'servers': servers, 'uptime': show_uptime(reported), 'sessions': sessions}
    return Page('load_balancer.html', values)


async def show_edit(request: PageRequest) -> Response:
    """Show the form of the configuration."""
    source = await call_agent(request, 'get_config_source_code')
    config = await call_agent(request, 'get_config')
    return _edit_page(build_form(config), sha256(source.encode()).hexdigest())


def _edit_page(form: BalancerForm, revision: str, *, messages: Sequence[str] = (), is_valid: bool = False,
               status: int = 200) -> Page:  # fmt: skip
    values = {'title': 'Edit load balancer', 'form': form, 'revision': revision, 'is_valid': is_valid,
              'messages': [*messages, *form.messages], 'has_errors': status != 200}  # fmt: skip
    return Page('load_balancer_edit.html', values, status)


async def save_edit(request: PageRequest) -> Response:
    """Validate the submitted form. With the field `save`, apply the configuration, unless another user has changed it
    in the meantime."""
    revision, is_saved = request.text('revision'), bool(request.text('save'))
    config = await call_agent(request, 'get_config')
    arguments = {'config': apply_form(config, request.form), 'revision': revision, 'save': is_saved}
    try:
        await change_by_agent(request, 'validate_save', may=request.user.may_change, **arguments)
    except ApiError as error:
        if error.status not in (400, 409):
            raise
        first, *errors = error.messages
        form = build_form(config, request.form, errors)
        return _edit_page(form, revision, messages=() if errors else [first], status=error.status)
    if is_saved:
        return Redirect('/load-balancer', 'The configuration is in force.')
    return _edit_page(build_form(config, request.form), revision, is_valid=True)


async def set_state(request: PageRequest) -> Response:
    """Set the administrative state of a server: ready, draining, or in maintenance."""
    name, backend, state = (request.text(field) for field in ('name', 'backend', 'state'))
    if state not in STATES:
        raise ApiError(400, ['Choose a state.'])
    may = request.user.may_operate
    await change_by_agent(request, 'set_server_state', may=may, name=name, backend=backend, state=state)
    return Redirect('/load-balancer', f'{name} {STATES[state]}.')


async def show_source(request: PageRequest) -> Response:
    """Show the configuration text, with secrets masked."""
    source = await call_agent(request, 'get_config_source_code')
    return _source_page(mask_source(source), sha256(source.encode()).hexdigest())


def _source_page(source: str, revision: str, *, messages: list[str] | None = None, is_valid: bool = False,
                 status: int = 200) -> Page:  # fmt: skip
    values = {'title': 'Load balancer configuration', 'source': source, 'revision': revision,
              'messages': messages or [], 'is_valid': is_valid}  # fmt: skip
    return Page('load_balancer_source.html', values, status)


async def save_source(request: PageRequest) -> Response:
    """Validate a submitted configuration text. With the field `save`, apply it, unless another user has changed the
    configuration in the meantime."""
    source, revision, is_saved = request.text('source'), request.text('revision'), bool(request.text('save'))
    try:
        complete = unmask_source(source, await call_agent(request, 'get_config_source_code'))
    except UnknownSecret as error:
        return _source_page(source, revision, messages=[str(error)], status=400)
    arguments = {'source': complete, 'revision': revision, 'save': is_saved}
    try:
        await change_by_agent(request, 'validate_save_source_code', may=request.user.may_change, **arguments)
    except ApiError as error:
        if error.status not in (400, 409):
            raise
        return _source_page(source, revision, messages=error.messages, status=error.status)
    if is_saved:
        return Redirect('/load-balancer/source', 'The configuration is in force.')
    return _source_page(source, revision, is_valid=True)


async def show_command(request: PageRequest) -> Response:
    """Show the output of a command of the agent."""
    command = request.argument('command')
    result = await call_agent(request, 'execute_command', command=command) if command in COMMANDS else ''
    values = {'title': 'Load balancer commands', 'command': command, 'commands': COMMANDS, 'result': result}
    return Page('load_balancer_command.html', values)


async def show_add(request: PageRequest) -> Response:
    """Show the form for a new server."""
    return Page('load_balancer_server.html', {'title': 'Add server', 'typed': {}, 'messages': []})


async def add_server(request: PageRequest) -> Response:
    """Add a server to a backend."""
    typed = {name: request.text(name).strip() for name in ('name', 'host', 'port', 'backend', 'weight')}
    arguments: dict[str, Any] = {name: value for name, value in typed.items() if value}
    for name in ('port', 'weight'):
        if arguments.get(name, '').isdigit():
            arguments[name] = int(arguments[name])
    try:
        await change_by_agent(request, 'add_remove_server', may=request.user.may_change, action='add', **arguments)
    except ApiError as error:
        if error.status not in (400, 404, 409):
            raise
        page = {'title': 'Add server', 'typed': typed, 'messages': error.messages}
        return Page('load_balancer_server.html', page, error.status)
    return Redirect('/load-balancer', f'{typed["name"]} is added.')


async def remove_server(request: PageRequest) -> Response:
    """Remove a server from its backend, after a confirmation."""
    name, backend = request.text('name'), request.text('backend')
    if request.text('confirmed') != 'yes':
        values = {'title': 'Remove server', 'name': name, 'backend': backend}
        return Page('load_balancer_remove.html', values)
    may = request.user.may_change
    await change_by_agent(request, 'add_remove_server', may=may, action='remove', name=name, backend=backend)
    return Redirect('/load-balancer', f'{name} is removed.')


ROUTES = (
    ScreenRoute('GET', '/load-balancer', show),
    ScreenRoute('POST', '/load-balancer/state', set_state),
    ScreenRoute('GET', '/load-balancer/edit', show_edit),
    ScreenRoute('POST', '/load-balancer/edit', save_edit),
    ScreenRoute('GET', '/load-balancer/source', show_source),
    ScreenRoute('POST', '/load-balancer/source', save_source),
    ScreenRoute('GET', '/load-balancer/command', show_command),
    ScreenRoute('GET', '/load-balancer/servers/create', show_add),
    ScreenRoute('POST', '/load-balancer/servers/create', add_server),
    ScreenRoute('POST', '/load-balancer/servers/remove', remove_server),
)
