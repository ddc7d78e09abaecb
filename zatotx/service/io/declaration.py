"""Reads the declarations of input and output on a Service subclass (feature map 3.5) into one IO."""

from __future__ import annotations

from typing import Any

from zatotx.service.io import typed_models
from zatotx.service.io.description import (
    IO,
    ElementsInput,
    ElementsOutput,
    Input,
    Output,
    TypedInput,
    TypedOutput,
    as_names,
)
from zatotx.service.io.elements import Element
from zatotx.service.io.records import Field


def describe_io(cls: type) -> IO:
    """The IO of a class: its `input` and `output`, else those of its `SimpleIO`.

    Raises TypeError or NameError with a sentence where a declaration makes no sense.
    """
    sio = getattr(cls, 'SimpleIO', None)
    short_in, short_out = getattr(cls, 'input', None), getattr(cls, 'output', None)
    if sio is None:
        return IO(input=_side('input', _short_input, short_in), output=_side('output', _short_output, short_out))
    options = {name: value for name, value in declared_names(sio).items() if not name.startswith('__')}
    reader = _SimpleIO(options)
    return IO(
        input=_side('input', _short_input, short_in) if short_in is not None else reader.input(),
        output=_side('output', _short_output, short_out) if short_out is not None else reader.output(),
        element=reader.element,
        request_elem=options.get('request_elem') or '',
        namespace=options.get('namespace') or '',
        use_text=options.get('use_text', True),
        options=options,
    )


def declared_names(sio: type) -> dict[str, Any]:
    """All class attributes, inherited ones too."""
    found: dict[str, Any] = {}
    for base in reversed(sio.__mro__[:-1]):
        found.update(vars(base))
    return found


def _side(label: str, read: Any, value: Any) -> Any:
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
        else ElementsInput(_distinct(tuple(Field(o) for o in as_names(value))))
    )


def _short_output(value: Any) -> Output:
    if typed_models.is_model(value):
        return TypedOutput(value)
    return ElementsOutput(fields=_distinct(tuple(Field(one) for one in as_names(value))))


def _distinct(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    names: set[str] = set()
    for one in fields:
        if one.name in names:
            raise TypeError(f'{one.name!r} is declared twice')
        names.add(one.name)
    return fields


class _SimpleIO:
    """The classic class, attribute by attribute."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        short = options.get('output') is not None  # 3.x's form inside the class: bare, as there
        self.element: str = options.get('response_elem', '' if short else 'response') or ''

    def fields(self, side: str) -> tuple[Field, ...] | None:
        """The fields of 'input' or 'output'; None where none are declared."""
        default = self.options.get('default_value', '')
        strict = self.options.get('allow_empty_required')
        found: list[Field] = []
        for suffix, required in (('_required', True), ('_optional', False)):
            for one in self._names(side + suffix):
                found.append(_field(one, required, default))
        found += [Field(one, default=default) for one in self._names(side)]
        for made in found:
            made.strict_empty = None if strict is None else not strict
        if not found:
            return None
        try:
            return _distinct(tuple(found))
        except TypeError as error:
            raise TypeError(f'SimpleIO.{side}: {error}') from None

    def _names(self, attribute: str) -> tuple[str | Element, ...]:
        try:
            return as_names(self.options.get(attribute))
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


def _field(declared: str | Element, required: bool, default: Any) -> Field:
    field = Field(declared, required=required, default=default)
    if isinstance(declared, str) and declared.startswith('-'):
        field.required = False
    return field


def _names_set(value: Any) -> frozenset[str]:
    return frozenset((value,) if isinstance(value, str) else value)
