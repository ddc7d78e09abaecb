"""Reads the input and output declarations of a Service subclass, and converts them to a ServiceIO."""

from __future__ import annotations

from typing import Any

from zatotx.service.io import typed_models
from zatotx.service.io.elements import Element
from zatotx.service.io.io_declaration import (
    ElementsInput,
    ElementsOutput,
    Input,
    Output,
    ServiceIO,
    TypedInput,
    TypedOutput,
    declared_elements,
)
from zatotx.service.io.record_elements import DeclaredField


def read_io_declaration(cls: type) -> ServiceIO:
    """Return the declared input and output of a service class. They are declared by the attributes `input` and
    `output`, or otherwise by the class `SimpleIO`.

    Raises TypeError or NameError with one sentence for an invalid declaration.
    """
    sio = getattr(cls, 'SimpleIO', None)
    short_in, short_out = getattr(cls, 'input', None), getattr(cls, 'output', None)
    if sio is None:
        return ServiceIO(
            input=_read_declaration('input', _short_input, short_in),
            output=_read_declaration('output', _short_output, short_out),
        )
    options = {name: value for name, value in class_attributes(sio).items() if not name.startswith('__')}
    reader = _SimpleIO(options)
    return ServiceIO(
        input=_read_declaration('input', _short_input, short_in) if short_in is not None else reader.input(),
        output=_read_declaration('output', _short_output, short_out) if short_out is not None else reader.output(),
        element=reader.element,
        request_elem=options.get('request_elem') or '',
        namespace=options.get('namespace') or '',
        use_text=options.get('use_text', True),
        options=options,
    )


def class_attributes(sio: Any) -> dict[str, Any]:
    """Return all attributes of a SimpleIO class, including inherited ones, or those of a namespace object."""
    attributes: dict[str, Any] = {}
    if not isinstance(sio, type):
        return dict(vars(sio))
    for base in reversed(sio.__mro__[:-1]):
        attributes.update(vars(base))
    return attributes


def _read_declaration(label: str, read: Any, value: Any) -> Any:
    """Read one declaration; errors name it."""
    if value is None:
        return None
    try:
        return read(value)
    except (TypeError, NameError) as error:
        raise TypeError(f'{label}: {error}') from error


def _short_input(value: Any) -> Input:
    return (
        TypedInput(value)
        if typed_models.is_model(value)
        else ElementsInput(_check_distinct(tuple(DeclaredField(name) for name in declared_elements(value))))
    )


def _short_output(value: Any) -> Output:
    if typed_models.is_model(value):
        return TypedOutput(value)
    return ElementsOutput(fields=_check_distinct(tuple(DeclaredField(name) for name in declared_elements(value))))


def _check_distinct(fields: tuple[DeclaredField, ...]) -> tuple[DeclaredField, ...]:
    """Return the fields. Raises TypeError if a name is declared twice."""
    names: set[str] = set()
    for field in fields:
        if field.name in names:
            raise TypeError(f'{field.name!r} is declared twice')
        names.add(field.name)
    return fields


class _SimpleIO:
    """Reads the attributes of a classic SimpleIO class."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        short = options.get('output') is not None  # 3.x's form inside the class has no response element
        self.element: str = options.get('response_elem', '' if short else 'response') or ''

    def fields(self, side: str) -> tuple[DeclaredField, ...] | None:
        """Return the fields of 'input' or 'output'; None if none are declared."""
        default = self.options.get('default_value', '')
        strict = self.options.get('allow_empty_required')
        fields: list[DeclaredField] = []
        for suffix, required in (('_required', True), ('_optional', False)):
            for name in self._names(side + suffix):
                fields.append(_field(name, required, default))
        fields += [DeclaredField(name, default=default) for name in self._names(side)]
        for field in fields:
            field.strict_empty = None if strict is None else not strict
        if not fields:
            return None
        try:
            return _check_distinct(tuple(fields))
        except TypeError as error:
            raise TypeError(f'SimpleIO.{side}: {error}') from None

    def _names(self, attribute: str) -> tuple[str | Element, ...]:
        try:
            return declared_elements(self.options.get(attribute))
        except TypeError as error:
            raise TypeError(f'SimpleIO.{attribute}: {error}') from None

    def input(self) -> Input | None:
        declared = self.options.get('input')
        if declared is not None and typed_models.is_model(declared):
            return TypedInput(declared)
        fields = self.fields('input')
        return None if fields is None else ElementsInput(fields, bool(self.options.get('use_channel_params_only')))

    def output(self) -> Output | None:
        declared = self.options.get('output')
        if declared is not None and typed_models.is_model(declared):
            return TypedOutput(declared)
        fields = self.fields('output')
        if fields is None:
            return None
        skip = self.options.get('skip_empty_keys', False)
        return ElementsOutput(
            fields=fields,
            element=self.element,
            repeated=bool(self.options.get('output_repeated')),
            date_time_format=self.options.get('date_time_format') or '',
            skip_empty=bool(skip) if isinstance(skip, (bool, type(None))) else _names_set(skip),
            force_empty=_names_set(self.options.get('force_empty_keys') or ()),
        )


def _field(declared: str | Element, required: bool, default: Any) -> DeclaredField:
    field = DeclaredField(declared, required=required, default=default)
    if isinstance(declared, str) and declared.startswith('-'):
        field.required = False
    return field


def _names_set(value: Any) -> frozenset[str]:
    return frozenset((value,) if isinstance(value, str) else value)
