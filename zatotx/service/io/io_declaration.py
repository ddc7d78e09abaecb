"""The model of a service's declared input and output, which is the same for all three ways of declaring them.

`IO.input` converts the sources of a call to `request.input`; `IO.output` converts what the service set to the value
that is serialized. `zatotx.service.io.declaration_reader` reads an IO from a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import field, frozen

from zatotx.model.errors import BadInput, InternalServerError
from zatotx.service.compat.bunch import Bunch
from zatotx.service.io import typed_models
from zatotx.service.io.elements import Element, to_mapping
from zatotx.service.io.input_sources import InputSources
from zatotx.service.io.record_elements import DeclaredField, convert_items, convert_response_record
from zatotx.service.io.validation_error import ValidationError, json_type_name
from zatotx.service.io.zato_model_defaults import set_zato_defaults


class BadOutput(InternalServerError):  # noqa: N818 - named as its parent
    """Raised if the response of a service does not match its declared output. The exception lists each error with its
    path."""

    def __init__(self, service: str, errors: Sequence[tuple[str, str]], cid: str | None = None) -> None:
        self.errors = tuple(errors)
        details = '; '.join(f'${path}: {what}' for path, what in self.errors)
        super().__init__(cid, f'Service {service} did not give the output it declares: {details}')


@frozen
class ElementsInput:
    """The declared input of a service, if it is declared by names and elements (SimpleIO, short form)."""

    fields: tuple[DeclaredField, ...]
    params_only: bool = False

    def read(self, sources: InputSources) -> Bunch:
        """Return `request.input`. Raises BadInput listing every mistake."""
        values = Bunch()
        errors: list[tuple[str, str]] = []
        body_only = not sources.text
        body = sources.body
        if not body:
            _check_object(sources)
        for field_ in self.fields:
            name = field_.name
            if body_only:
                match = (body[name], False) if name in body else None
            else:
                match = sources.find(name)
            if match is None:
                if field_.required:
                    errors.append((sources.missing_path(name), 'missing'))
                else:
                    values[name] = field_.default_value()
                continue
            value, is_text = match
            try:
                values[name] = field_.take(value, text=is_text)
            except ValidationError as error:
                errors += [(sources.error_path(name, is_text) + path, text) for path, text in error.errors]
        if errors:
            raise BadInput(errors)
        return values


class TypedInput:
    """The declared input of a service, if it is declared by a model."""

    __slots__ = ('fields', 'fill', 'lenient', 'model')
    params_only = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.lenient = set_zato_defaults(model)
        self.fields = typed_models.object_fields(typed_models.unwrap_type(model)) or ()
        self.fill = typed_models.has_dataclasses(model)
        _check_convertible(model)

    def read(self, sources: InputSources) -> Any:
        """Return the instance of the model. Raises BadInput listing every mistake."""
        if typed_models.has_declared_type(sources.payload, self.model):
            return sources.payload
        if self.fields and not sources.body:
            _check_object(sources)
        value = self._value(sources)
        errors: list[tuple[str, str]] = []
        failed: set[str] = set()
        if sources.text and self.fields:
            value, failed = self._with_text(dict(value), sources, errors)
        try:
            instance = typed_models.convert_to_type(value, self.model, from_text=self.lenient or sources.body_is_text)
        except ValidationError as error:
            errors += [
                self._with_path(path, text, sources) for path, text in error.errors if path[1:] not in failed
            ]
        if errors:
            raise BadInput(errors)
        if self.fill:
            typed_models.fill_defaults(instance)
        return instance

    def _value(self, sources: InputSources) -> Any:
        """Return the value to convert: the body, or the payload that is not an object."""
        if self.fields or sources.body:
            return sources.body
        payload = sources.payload
        return {} if payload in (None, '', b'') and not sources.has_body else payload

    def _with_text(
        self, value: dict[str, Any], sources: InputSources, errors: list[tuple[str, str]]
    ) -> tuple[dict[str, Any], set[str]]:
        """Return `value` with the values that arrived as text, converted, and the keys whose conversion failed."""
        failed: set[str] = set()
        for model_field in self.fields:
            match = sources.find(model_field.key)
            if match is None or not match[1]:
                continue
            text = match[0]
            if typed_models.is_list_type(model_field.type) and not isinstance(text, list):
                text = [text]
            try:
                value[model_field.key] = typed_models.convert_to_type(text, model_field.type, from_text=True)
            except ValidationError as error:
                errors += [(model_field.key + path, message) for path, message in error.errors]
                value.pop(model_field.key, None)
                failed.add(model_field.key)
        return value, failed

    def _with_path(self, path: str, message: str, sources: InputSources) -> tuple[str, str]:
        """Return a mistake with its full path."""
        return (f'${path}' if sources.is_json_body else path.removeprefix('.') or '$'), message


@frozen(kw_only=True)
class ElementsOutput:
    """The declared output of a service, if it is declared by names and elements."""

    fields: tuple[DeclaredField, ...]
    element: str = ''  # Zato's response_elem, '' for none
    repeated: bool = False
    date_time_format: str = ''
    skip_empty: bool | frozenset[str] = False
    force_empty: frozenset[str] = frozenset()

    def write(self, payload: Any) -> Any:
        """Return the dict, or list of dicts, to serialize. Raises ValidationError listing every mistake."""
        if self.repeated:
            if not isinstance(payload, (list, tuple)):
                payload = list(payload) if hasattr(payload, '__iter__') and to_mapping(payload) is None else [payload]
            return convert_items(payload, self._write_record)
        return self._write_record(payload)

    def _write_record(self, source: Any) -> dict[str, Any]:
        mapping = source if isinstance(source, Mapping) else to_mapping(source)
        record = convert_response_record(self.fields, source if mapping is None else mapping, self.date_time_format)
        return self._without_empty(record) if self.skip_empty else record

    def _without_empty(self, record: dict[str, Any]) -> dict[str, Any]:
        skip = self.skip_empty
        return {
            name: value
            for name, value in record.items()
            if name in self.force_empty
            or not (value is None or value == '' or value == [] or value == {})
            or (isinstance(skip, frozenset) and name not in skip)
        }


class TypedOutput:
    """The declared output of a service, if it is declared by a model."""

    __slots__ = ('fields', 'fill', 'model', 'repeated')
    element = ''

    def __init__(self, model: Any) -> None:
        self.model = model
        set_zato_defaults(model)
        self.fields = typed_models.model_fields(typed_models.unwrap_type(model)) or ()
        self.fill = typed_models.has_dataclasses(model)
        self.repeated = typed_models.is_list_type(model)
        _check_convertible(model)

    def write(self, payload: Any) -> Any:
        """Return the instance of the model. Raises ValidationError listing every mistake."""
        if typed_models.has_declared_type(payload, self.model):
            missing = typed_models.fill_defaults(payload) if self.fill else []
            if missing:
                raise ValidationError(missing)
            return payload
        instance = typed_models.convert_to_type(self._plain(payload), self.model)
        if self.fill:
            typed_models.fill_defaults(instance)
        return instance

    def _plain(self, payload: Any) -> Any:
        if self.repeated and isinstance(payload, (list, tuple)):
            return [_to_mapping(item, self.fields) for item in payload]
        return _to_mapping(payload, self.fields)


def _to_mapping(value: Any, fields: Sequence[typed_models.ModelField]) -> Any:
    """Return an object with attributes, such as a database row, as a mapping with the model's keys."""
    mapping = to_mapping(value)
    if mapping is not None or not fields or isinstance(value, (str, bytes, list, int, float)) or value is None:
        return value if mapping is None else mapping
    return {field_.key: getattr(value, field_.name) for field_ in fields if hasattr(value, field_.name)}


def _check_object(sources: InputSources) -> None:
    """Raise BadInput unless the payload is an object, or absent."""
    payload = sources.payload
    if isinstance(payload, Mapping) or (payload in (None, '', b'') and not sources.has_body):
        return
    raise BadInput([('$', f'expected object, got {json_type_name(payload)}')])


def _check_convertible(model: Any) -> None:
    """Raise TypeError or NameError if msgspec does not support the type. Fills msgspec's caches."""
    msgspec.json.Decoder(model)
    for field_ in typed_models.model_fields(typed_models.unwrap_type(model)) or ():
        msgspec.json.Decoder(field_.type)


Input = ElementsInput | TypedInput
Output = ElementsOutput | TypedOutput


@frozen(kw_only=True)
class ServiceIO:
    """The declared input and output of a service. An attribute is None if it is not declared."""

    input: Input | None = None
    output: Output | None = None
    element: str = ''  # response_elem, set even without declared output
    request_elem: str = ''
    namespace: str = ''
    use_text: bool = True
    options: Mapping[str, Any] = field(factory=dict)
    shape_cache: dict[Any, Any] = field(init=False, factory=dict, eq=False, repr=False)  # cache of XML shapes


NO_SERVICE_IO = ServiceIO()


def declared_elements(value: Any) -> tuple[str | Element, ...]:
    """Convert a declaration to a tuple of elements. The declaration is one name or element, or several of them. Raises
    TypeError."""
    if value is None or value == '':
        return ()
    names = (value,) if isinstance(value, (str, Element)) else tuple(_iterate(value))
    for item in names:
        if not isinstance(item, (str, Element)) or not (item.name if isinstance(item, Element) else item.strip('-')):
            raise TypeError(f'{item!r} is neither a name nor an element such as Int("x")')
    return names


def _iterate(value: Any) -> Iterable[Any]:
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        return value
    raise TypeError(f'{value!r} is neither a name nor an element such as Int("x"), nor a list of such, nor a model')
