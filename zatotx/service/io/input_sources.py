"""The sources of a service's input, which are path parameters, query, form and body. They are merged by the rules of
the channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.model.errors import BadInput
from zatotx.model.message import Message
from zatotx.service.io.elements import to_mapping
from zatotx.wire.http import urlencoded

BODY_FIRST = 'msg-over-channel-params'
FORMS = ('form', 'post')  # data formats of HTML forms: zatotx's and Zato's name
XML = frozenset(('xml', 'soap'))  # data formats in which all values are texts
_OBJECTS = XML | {'json'}  # data formats whose messages have named values
FORM = b'application/x-www-form-urlencoded'
UPLOAD = b'multipart/form-data'
TAKE_UPLOADS = ('json', '')  # further data formats for which uploads are parsed
_NOTHING: Mapping[str, Any] = {}
_BODY_VERBS = frozenset(('POST', 'PUT', 'PATCH'))

Params = Mapping[str, Any]  # text, or a list of texts for repeated names


def parse_params(raw: bytes, where: str = 'query') -> Params:
    """Parse a query string or form. The result maps each name to a text, or to a list of texts if the name is repeated.

    Raises BadInput if it is malformed.
    """
    if not raw:
        return _NOTHING
    try:
        return urlencoded.decode_form(raw)
    except urlencoded.Malformed as error:
        raise BadInput([(where, str(error))]) from None


def is_form_message(message: Message) -> bool:
    """Return whether the body is an HTML form.

    The channel's data format decides, otherwise Content-Type unless the body is JSON.
    """
    data_format, body = message.channel.data_format, message.body
    if data_format in FORMS:
        return True
    if data_format in XML:
        return False
    content_type = message.headers.get(b'content-type', b'')
    if content_type[: len(UPLOAD)].lower() == UPLOAD:
        return data_format in TAKE_UPLOADS
    if not content_type.startswith(FORM):
        return False
    return data_format != 'json' or not (isinstance(body, bytes) and urlencoded.looks_like_json(body))


def form_params(message: Message, payload: Any) -> Params:
    """Return the parameters of a form in the body, or {} if the body is not a form. Raises BadInput."""
    if not is_form_message(message):
        return _NOTHING
    if isinstance(payload, Mapping):
        return payload
    return parse_params(bytes(payload), 'form') if isinstance(payload, (bytes, bytearray)) else _NOTHING


class InputSources:
    """The input of one invocation. `body` contains the values in the message, and `text` contains the values that
    arrived as text in path, query or form."""

    __slots__ = ('body', 'body_first', 'body_is_text', 'has_body', 'is_json_body', 'payload', 'text')

    def __init__(self, body: Mapping[str, Any], text: Mapping[str, Any], whole: Any) -> None:
        self.body = body
        self.text = text
        self.payload = whole  # the payload, if it is not an object
        self.is_json_body = True  # missing elements are reported as part of the body: `$.name`
        self.body_is_text = False  # the body's values are texts, converted like those of `text`
        self.body_first = False
        self.has_body = False  # the body is present, so null and '' in `payload` are values

    def find(self, name: str) -> tuple[Any, bool] | None:
        """Return the value of `name` and whether it is text; None if no source has it."""
        text, body = self.text, self.body
        if name in text and not (self.body_first and name in body):
            return text[name], True
        if name in body:
            return body[name], False
        return None

    def error_path(self, name: str, is_text: bool) -> str:
        """Return the path of a value in error messages."""
        return name if is_text else f'$.{name}'

    def missing_path(self, name: str) -> str:
        """Return the path of a missing value in error messages."""
        return f'$.{name}' if self.is_json_body else name

    def merge(self) -> dict[str, Any]:
        """Return all input, for services that declare none."""
        first, second = (self.text, self.body) if self.body_first else (self.body, self.text)
        return {**first, **second}


def collect_input_sources(
    message: Message, payload: Any, *, params_only: bool = False, texts: bool = False
) -> InputSources:
    """Return the input sources of an invocation.

    Path parameters take precedence over the query; `params_pri` decides between them and the body. An XML payload was
    converted by `xml_input.values`, with `body_is_text`. Raises BadInput for a malformed query or form.
    """
    http, channel = message.http, message.channel
    if http is None:
        value = _json_or_same(payload) if isinstance(payload, (str, bytes)) and payload else payload
        sources = InputSources(to_mapping(value) or _NOTHING, _NOTHING, value)
        sources.body_is_text = texts
        return sources
    text = _url_params(message) if channel.merge_url_params and (http.params or http.query) else _NOTHING
    if channel.data_format in _OBJECTS and not params_only and not is_form_message(message):
        sources = InputSources(to_mapping(payload) or _NOTHING, text, payload)
        sources.is_json_body = bool(payload) or http.method in _BODY_VERBS
        sources.body_is_text = texts
        sources.has_body = not payload and not texts and not channel.is_builtin_endpoint and bool(message.body)
    else:
        body = _NOTHING if params_only else form_params(message, payload)
        sources = InputSources(_NOTHING, _joined(body, text, channel.params_pri == BODY_FIRST), None)
        sources.is_json_body = False
    sources.body_first = channel.params_pri == BODY_FIRST
    return sources


def _url_params(message: Message) -> Params:
    http = message.http
    assert http is not None
    # If the channel has no service of its own, the path names the service, and is no input.
    path = http.params if message.channel.service else _NOTHING
    return {**parse_params(http.query), **path} if http.query else path


def _joined(body: Params, text: Params, body_first: bool) -> Params:
    if not body or not text:
        return body or text
    return {**text, **body} if body_first else {**body, **text}


def _json_or_same(payload: str | bytes) -> Any:
    """Parse text that a service passes to another, if it is JSON."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload
