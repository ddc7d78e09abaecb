"""Converts lb.toml to the fields of the load balancer's configuration form, and the submitted form to lb.toml. Pure
functions.

Fields are named by their place in the form (`backends.0.servers.1.weight`), because names of servers may have any text;
errors of the agent name the place in the file (`backends.crm.servers.server1.weight`). Secrets have no field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from attrs import field, frozen

ALGORITHMS = ('least_connections', 'round_robin', 'power_of_two', 'consistent_hash')
STATES = (('ready', 'Up'), ('drain', 'Drain'), ('maint', 'Maintenance'))
CHECKS = ('http', 'tcp', 'none')
LEVELS = ('trace1', 'debug', 'info', 'warning', 'error', 'critical')
TEXT, NUMBER, SELECT, CHECKBOX, LINES = 'text', 'number', 'select', 'checkbox', 'lines'
_ERROR = re.compile(r'(?:Line \d+: )?([\w.:/-]+): (.+)', re.DOTALL)

Form = Mapping[str, Sequence[str]]
Place = tuple[str, ...]  # in lb.toml


@frozen(kw_only=True)
class Setting:
    """A setting shown in the form: its key path within a TOML table, its label, and its input control."""

    place: Place
    label: str
    control: str = TEXT
    options: Sequence[tuple[str, str]] = ()
    help: str = ''
    placeholder: str = ''  # the value in force if the control is empty


def _choices(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((value, value.replace('_', ' ')) for value in values)


def _seconds(place: Place, label: str, help: str = '') -> Setting:
    return Setting(place=place, label=f'{label} (s)', control=NUMBER, help=help)


SERVER = (
    Setting(place=('host',), label='Host'),
    Setting(place=('port',), label='Port', control=NUMBER),
    Setting(place=('weight',), label='Weight', control=NUMBER, placeholder='1'),
    Setting(place=('max_connections',), label='Max connections', control=NUMBER, placeholder='no limit'),
    Setting(place=('state',), label='State', control=SELECT, options=STATES),
    Setting(place=('backup',), label='Backup', control=CHECKBOX),
)
BACKEND = (
    Setting(place=('algorithm',), label='Algorithm', control=SELECT, options=_choices(ALGORITHMS)),
    Setting(place=('max_queue',), label='Max queue', control=NUMBER, help='Requests that wait for a server with room'),
    _seconds(('slow_start',), 'Slow start', 'In which a server that came up gets its full share'),
    Setting(place=('check', 'type'), label='Health check', control=SELECT, options=_choices(CHECKS)),
    Setting(place=('check', 'path'), label='Path of the check'),
    _seconds(('check', 'interval'), 'Interval'),
    _seconds(('check', 'timeout'), 'Timeout of the check'),
    Setting(place=('check', 'rise'), label='Rise', control=NUMBER, help='Good probes until a server is up'),
    Setting(place=('check', 'fall'), label='Fall', control=NUMBER, help='Failed probes until it is down'),
    _seconds(('timeouts', 'connect'), 'Connect timeout', 'Empty: the default above'),
    _seconds(('timeouts', 'server'), 'Server timeout', 'Empty: the default above'),
    _seconds(('timeouts', 'queue'), 'Queue timeout', 'Empty: the default above'),
)
FRONTEND = (
    Setting(place=('listen',), label='Listen', control=LINES, help='One HOST:PORT per line'),
    Setting(place=('default_backend',), label='Default backend'),
    Setting(place=('max_connections',), label='Max connections', control=NUMBER),
    Setting(place=('alive_path',), label='Alive path', help='The load balancer itself responds there'),
)
DEFAULTS = (
    _seconds(('timeouts', 'connect'), 'Connect', 'To a server'),
    _seconds(('timeouts', 'client'), 'Client', 'Inactivity of a client'),
    _seconds(('timeouts', 'server'), 'Server', 'Inactivity of a server that has to respond'),
    _seconds(('timeouts', 'queue'), 'Queue', 'Waiting for a server with room'),
)
PROCESS = (
    Setting(place=('log', 'level'), label='Log level', control=SELECT, options=_choices(LEVELS)),
    Setting(place=('stats', 'path'), label='Statistics page'),
    Setting(place=('stats', 'username'), label='Username of the statistics page'),
    _seconds(('stats', 'refresh'), 'Refresh'),
    _seconds(('shutdown', 'grace'), 'Grace period', 'That requests get to finish after a stop'),
)


@frozen(kw_only=True)
class Control:
    """An input field of the load balancer's form."""

    name: str  # of the form field
    setting: Setting
    value: Any  # text, or whether a checkbox is checked
    error: str = ''

    @property
    def element_id(self) -> str:
        return self.name.replace('.', '-')


@frozen(kw_only=True)
class ServerRow:
    """A row of the form that describes a server. The last row of each backend is empty, and is used to add a server."""

    index: int
    name: Control
    controls: Sequence[Control]
    is_removed: bool = False
    is_new: bool = False


@frozen(kw_only=True)
class Group:
    """The fields of one table of lb.toml."""

    title: str
    kind: str  # 'defaults', 'frontend', 'backend', 'process'
    controls: Sequence[Control]
    servers: Sequence[ServerRow] = ()
    prefix: str = ''  # of the names of its fields


@frozen(kw_only=True)
class BalancerForm:
    """The whole form of a load balancer's configuration. `messages` are the errors that belong to none of the
    fields."""

    groups: Sequence[Group]
    messages: Sequence[str] = field(factory=tuple)


def build_form(config: Mapping[str, Any], typed: Form | None = None, errors: Sequence[str] = ()) -> BalancerForm:
    """Build the form for a configuration, or for the values that the user has typed. The errors of the agent are
    attached to the fields to which they belong."""
    builder = _Builder(typed, _parse_errors(errors))
    groups = [Group(title='Default timeouts', kind='defaults', controls=builder.controls('', (), config, DEFAULTS))]
    for number, (name, table) in enumerate(config.get('frontends', {}).items()):
        prefix = f'frontends.{number}'
        controls = builder.controls(prefix, ('frontends', name), table, FRONTEND)
        groups.append(Group(title=name, kind='frontend', controls=controls, prefix=prefix))
    for number, (name, table) in enumerate(config.get('backends', {}).items()):
        prefix = f'backends.{number}'
        groups.append(Group(
            title=name, kind='backend', controls=builder.controls(prefix, ('backends', name), table, BACKEND),
            servers=list(builder.servers(prefix, ('backends', name, 'servers'), table.get('servers', {}))),
            prefix=prefix,
        ))  # fmt: skip
    groups.append(Group(title='Process', kind='process', controls=builder.controls('', (), config, PROCESS)))
    return BalancerForm(groups=groups, messages=builder.unassigned_errors())


def _parse_errors(errors: Sequence[str]) -> dict[str, str]:
    parsed = {}
    for text in errors:
        found = _ERROR.fullmatch(text)
        parsed[found[1] if found else text] = found[2] if found else text
    return parsed


@frozen
class _Builder:
    typed: Form | None
    errors: dict[str, str]  # place in lb.toml -> text
    used: set[str] = field(factory=set)

    def controls(
        self, prefix: str, place: Place, table: Mapping[str, Any], settings: Sequence[Setting]
    ) -> list[Control]:
        """Return the fields of a table."""
        return [
            self._control('.'.join((prefix, *one.place)) if prefix else '.'.join(one.place),
                          (*place, *one.place), _value_in(table, one.place), one)
            for one in settings
        ]  # fmt: skip

    def _control(self, name: str, place: Place, value: Any, setting: Setting) -> Control:
        key = '.'.join(place)
        self.used.add(key)
        shown = self._shown(name, value, setting)
        return Control(name=name, setting=setting, value=shown, error=self.errors.get(key, ''))

    def servers(self, prefix: str, place: Place, servers: Mapping[str, Any]) -> Iterator[ServerRow]:
        """Yield the servers of a backend, and an empty row."""
        for index, (name, table) in enumerate([*servers.items(), ('', {})]):
            row, typed_name = f'{prefix}.servers.{index}', name
            if self.typed is not None:
                typed_name = _text(self.typed, f'{row}.name')
            where = (*place, typed_name)
            self.used.add('.'.join(where))
            yield ServerRow(
                index=index, is_new=not name, is_removed=self.typed is not None and f'{row}.remove' in self.typed,
                name=Control(name=f'{row}.name', setting=Setting(place=(), label='Name'), value=typed_name,
                             error=self.errors.get('.'.join(where), '')),
                controls=self.controls(row, where, table, SERVER),
            )  # fmt: skip

    def unassigned_errors(self) -> list[str]:
        """Return the errors that no field shows."""
        return [text if key == text else f'{key}: {text}' for key, text in self.errors.items() if key not in self.used]

    def _shown(self, name: str, value: Any, setting: Setting) -> Any:
        if setting.control == CHECKBOX:
            return name in self.typed if self.typed is not None else bool(value)
        if self.typed is not None:
            return _text(self.typed, name)
        if setting.control == LINES:
            return '\n'.join(map(str, value or ()))
        return '' if value is None else str(value)


def apply_form(config: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """Return the configuration with the values that the user has typed. Empty fields are removed, so that the defaults
    apply. A value that is not a number is kept as text, so that the agent rejects it together with all other errors."""
    result = deepcopy(dict(config))
    _apply(result, '', form, (*DEFAULTS, *PROCESS))
    for number, table in enumerate(result.get('frontends', {}).values()):
        _apply(table, f'frontends.{number}.', form, FRONTEND)
    for number, table in enumerate(result.get('backends', {}).values()):
        _apply(table, f'backends.{number}.', form, BACKEND)
        if servers := _apply_servers(table.get('servers', {}), f'backends.{number}.servers.', form):
            table['servers'] = servers
        else:
            table.pop('servers', None)
    return result


def _apply_servers(servers: Mapping[str, Any], prefix: str, form: Form) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for index, (name, table) in enumerate([*servers.items(), ('', {})]):
        row = f'{prefix}{index}.'
        new_name = _text(form, f'{row}name') if f'{row}name' in form else name
        if f'{row}remove' in form or not (new_name or name):
            continue
        server = dict(table)
        _apply(server, row, form, SERVER)
        result[new_name or name] = server
    return result


def _apply(table: dict[str, Any], prefix: str, form: Form, settings: Sequence[Setting]) -> None:
    for setting in settings:
        name = prefix + '.'.join(setting.place)
        if setting.control == CHECKBOX:
            if f'{prefix}name' in form:  # the row was in the form
                _put(table, setting.place, True if name in form else None)
        elif name in form:
            old = _value_in(table, setting.place)
            value = _parse(_text(form, name), setting)
            is_default = old is None and setting.control == SELECT and value == setting.options[0][0]
            _put(table, setting.place, None if is_default else value)


def _parse(text: str, setting: Setting) -> Any:
    if setting.control == LINES:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if not text:
        return None
    if setting.control == NUMBER:
        for type_ in (int, float):
            try:
                return type_(text)
            except ValueError:
                continue
    return text


def _put(table: dict[str, Any], place: Place, value: Any) -> None:
    """Set a value, or with None remove it, with tables that are empty then and were not there before."""
    *tables, name = place
    if value is None:
        parent = _value_in(table, tuple(tables)) if tables else table
        if isinstance(parent, dict):
            parent.pop(name, None)
        return
    for each in tables:
        table = table.setdefault(each, {})
    table[name] = value


def _value_in(table: Mapping[str, Any], place: Place) -> Any:
    value: Any = table
    for name in place:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _text(form: Form, name: str) -> str:
    values = form.get(name, ())
    return values[0].strip() if values else ''
