"""Input and output of a service: one description, whichever of the three ways declared it.

`IO.input` turns the sources of a call into `request.input`, `IO.output` what the service set into the value that goes
out. `zatotx.service.io.declaration` reads it off a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import field, frozen

from zatotx.model.errors import BadInput, InternalServerError
from zatotx.service.compat.bunch import Bunch
from zatotx.service.io import typed_models
from zatotx.service.io.elements import Element, as_mapping
from zatotx.service.io.input_sources import InputSources
from zatotx.service.io.records import Field, each, give_record
from zatotx.service.io.validation_error import ValidationError, json_kind
from zatotx.service.io.zato_models import complete_model


class BadOutput(InternalServerError):  # noqa: N818 - a fault, as its parent
    """What a service set does not match the output it declares: a fault of the service, each mistake by its path."""

    def __init__(self, service: str, mistakes: Sequence[tuple[str, str]], cid: str | None = None) -> None:
        self.mistakes = tuple(mistakes)
        told = '; '.join(f'${path}: {what}' for path, what in self.mistakes)
        super().__init__(cid, f'Service {service} did not give the output it declares: {told}')


@frozen
class ElementsInput:
    """Input declared by names and elements (SimpleIO, short form)."""

    fields: tuple[Field, ...]
    params_only: bool = False

    def read(self, sources: InputSources) -> Bunch:
        """`request.input`. Raises BadInput with every mistake."""
        out = Bunch()
        mistakes: list[tuple[str, str]] = []
        plain = not sources.text
        body = sources.body
        if not body:
            _check_object(sources)
        for field_ in self.fields:
            name = field_.name
            if plain:
                found = (body[name], False) if name in body else None
            else:
                found = sources.pick(name)
            if found is None:
                if field_.required:
                    mistakes.append((sources.path_of_missing(name), 'missing'))
                else:
                    out[name] = field_.fill()
                continue
            value, is_text = found
            try:
                out[name] = field_.take(value, text=is_text)
            except ValidationError as wrong:
                mistakes += [(sources.path(name, is_text) + path, what) for path, what in wrong.mistakes]
        if mistakes:
            raise BadInput(mistakes)
        return out


class TypedInput:
    """Input declared by a model."""

    __slots__ = ('fields', 'fill', 'lenient', 'model')
    params_only = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.lenient = complete_model(model)
        self.fields = typed_models.object_fields(typed_models.bare_type(model)) or ()
        self.fill = typed_models.has_dataclasses(model)
        _check_convertible(model)

    def read(self, sources: InputSources) -> Any:
        """The model's instance. Raises BadInput with every mistake."""
        if typed_models.matches(sources.whole, self.model):
            return sources.whole
        if self.fields and not sources.body:
            _check_object(sources)
        value = self._value(sources)
        mistakes: list[tuple[str, str]] = []
        texts: set[str] = set()
        if sources.text and self.fields:
            value, texts = self._with_text(dict(value), sources, mistakes)
        try:
            instance = typed_models.convert(value, self.model, text=self.lenient or sources.texts)
        except ValidationError as wrong:
            mistakes += [self._placed(path, what, sources) for path, what in wrong.mistakes if path[1:] not in texts]
        if mistakes:
            raise BadInput(mistakes)
        if self.fill:
            typed_models.fill_defaults(instance)
        return instance

    def _value(self, sources: InputSources) -> Any:
        if self.fields or sources.body:
            return sources.body
        whole = sources.whole
        return {} if whole in (None, '', b'') and not sources.is_given else whole

    def _with_text(
        self, value: dict[str, Any], sources: InputSources, mistakes: list[tuple[str, str]]
    ) -> tuple[dict[str, Any], set[str]]:
        """`value` with what came as text, converted field by field; the fields whose text was wrong."""
        bad: set[str] = set()
        for one in self.fields:
            found = sources.pick(one.key)
            if found is None or not found[1]:
                continue
            text = found[0]
            if typed_models.is_list_type(one.type) and not isinstance(text, list):
                text = [text]
            try:
                value[one.key] = typed_models.convert(text, one.type, text=True)
            except ValidationError as wrong:
                mistakes += [(one.key + path, what) for path, what in wrong.mistakes]
                value.pop(one.key, None)
                bad.add(one.key)
        return value, bad

    def _placed(self, path: str, what: str, sources: InputSources) -> tuple[str, str]:
        return (f'${path}' if sources.json else path.removeprefix('.') or '$'), what


@frozen(kw_only=True)
class ElementsOutput:
    """Output declared by names and elements."""

    fields: tuple[Field, ...]
    element: str = ''  # Zato's response_elem, '' for none
    repeated: bool = False
    date_time_format: str = ''
    skip_empty: bool | frozenset[str] = False
    force_empty: frozenset[str] = frozenset()

    def write(self, payload: Any) -> Any:
        """The dict (or list of them) that goes out. Raises Wrong with every mistake."""
        if self.repeated:
            if not isinstance(payload, (list, tuple)):
                payload = list(payload) if hasattr(payload, '__iter__') and as_mapping(payload) is None else [payload]
            return each(payload, self._one)
        return self._one(payload)

    def _one(self, source: Any) -> dict[str, Any]:
        known = source if isinstance(source, Mapping) else as_mapping(source)
        out = give_record(self.fields, source if known is None else known, self.date_time_format)
        return self._without_empty(out) if self.skip_empty else out

    def _without_empty(self, out: dict[str, Any]) -> dict[str, Any]:
        skip = self.skip_empty
        return {
            name: value
            for name, value in out.items()
            if name in self.force_empty
            or not (value is None or value == '' or value == [] or value == {})
            or (isinstance(skip, frozenset) and name not in skip)
        }


class TypedOutput:
    """Output declared by a model."""

    __slots__ = ('fields', 'fill', 'model', 'repeated')
    element = ''

    def __init__(self, model: Any) -> None:
        self.model = model
        complete_model(model)
        self.fields = typed_models.model_fields(typed_models.bare_type(model)) or ()
        self.fill = typed_models.has_dataclasses(model)
        self.repeated = typed_models.is_list_type(model)
        _check_convertible(model)

    def write(self, payload: Any) -> Any:
        """The model's instance. Raises Wrong with every mistake."""
        if typed_models.matches(payload, self.model):
            missing = typed_models.fill_defaults(payload) if self.fill else []
            if missing:
                raise ValidationError(missing)
            return payload
        instance = typed_models.convert(self._plain(payload), self.model)
        if self.fill:
            typed_models.fill_defaults(instance)
        return instance

    def _plain(self, payload: Any) -> Any:
        if self.repeated and isinstance(payload, (list, tuple)):
            return [_as_given(item, self.fields) for item in payload]
        return _as_given(payload, self.fields)


def _as_given(value: Any, fields: Sequence[typed_models.ModelField]) -> Any:
    """A mapping of any object with attributes, such as a database row, by the model's names."""
    mapping = as_mapping(value)
    if mapping is not None or not fields or isinstance(value, (str, bytes, list, int, float)) or value is None:
        return value if mapping is None else mapping
    return {f.key: getattr(value, f.name) for f in fields if hasattr(value, f.name)}


def _check_object(sources: InputSources) -> None:
    """Raises BadInput unless the payload may stand for an object: it is one, or there is none at all."""
    whole = sources.whole
    if isinstance(whole, Mapping) or (whole in (None, '', b'') and not sources.is_given):
        return
    raise BadInput([('$', f'expected object, got {json_kind(whole)}')])


def _check_convertible(model: Any) -> None:
    """Raises TypeError or NameError where msgspec cannot work with the type; makes what it caches."""
    msgspec.json.Decoder(model)
    for one in typed_models.model_fields(typed_models.bare_type(model)) or ():
        msgspec.json.Decoder(one.type)


Input = ElementsInput | TypedInput
Output = ElementsOutput | TypedOutput


@frozen(kw_only=True)
class IO:
    """What a service takes and gives. None = not declared."""

    input: Input | None = None
    output: Output | None = None
    element: str = ''  # response_elem, also where no output is declared
    request_elem: str = ''
    namespace: str = ''
    use_text: bool = True
    options: Mapping[str, Any] = field(factory=dict)
    memo: dict[Any, Any] = field(init=False, factory=dict, eq=False, repr=False)  # worked out by readers and writers


NO_IO = IO()


def as_names(value: Any) -> tuple[str | Element, ...]:
    """One name or element, or several: as they are listed. Raises TypeError for anything else."""
    if value is None or value == '':
        return ()
    several = (value,) if isinstance(value, (str, Element)) else tuple(_iterate(value))
    for one in several:
        if not isinstance(one, (str, Element)) or not (one.name if isinstance(one, Element) else one.strip('-')):
            raise TypeError(f'{one!r} is neither a name nor an element such as Int("x")')
    return several


def _iterate(value: Any) -> Iterable[Any]:
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        return value
    raise TypeError(f'{value!r} is neither a name nor an element such as Int("x"), nor a list of such, nor a model')
