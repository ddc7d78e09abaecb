"""Where input comes from: path parameters, query, form and body, merged by the channel's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.model.errors import BadInput
from zatotx.model.message import Message
from zatotx.service.io.elements import as_mapping
from zatotx.wire.http import form

BODY_FIRST = 'msg-over-channel-params'
FORMS = ('form', 'post')  # data formats: ours, and Zato's word for it
XML = frozenset(('xml', 'soap'))  # data formats whose values are all texts
_OBJECTS = XML | {'json'}  # data formats whose messages have parts with names
FORM = b'application/x-www-form-urlencoded'
UPLOAD = b'multipart/form-data'
TAKE_UPLOADS = ('json', '')  # beside FORMS: where the exchange reads a form with files
_NOTHING: Mapping[str, Any] = {}
_BODY_VERBS = frozenset(('POST', 'PUT', 'PATCH'))

Params = Mapping[str, Any]  # text, or a list of texts where the name was repeated


def parse_params(raw: bytes, where: str = 'query') -> Params:
    """A query or form as name -> text, or list of texts where a name is repeated. Raises BadInput where it is none."""
    if not raw:
        return _NOTHING
    try:
        return form.decode_form(raw)
    except form.Malformed as error:
        raise BadInput([(where, str(error))]) from None


def is_form(inbound: Message) -> bool:
    """Whether the body is an HTML form: by the channel's data format, else by its Content-Type, unless it is JSON that
    is called so."""
    data_format, body = inbound.channel.data_format, inbound.body
    if data_format in FORMS:
        return True
    if data_format in XML:
        return False
    content_type = inbound.headers.get(b'content-type', b'')
    if content_type[: len(UPLOAD)].lower() == UPLOAD:
        return data_format in TAKE_UPLOADS
    if not content_type.startswith(FORM):
        return False
    return data_format != 'json' or not (isinstance(body, bytes) and form.is_json_instead(body))


def form_params(inbound: Message, payload: Any) -> Params:
    """The parameters of a form in the body; {} where the body is none. Raises BadInput."""
    if not is_form(inbound):
        return _NOTHING
    if isinstance(payload, Mapping):
        return payload
    return parse_params(bytes(payload), 'form') if isinstance(payload, (bytes, bytearray)) else _NOTHING


class InputSources:
    """All input of one call: `body` is what the message says, `text` what arrived as text beside it."""

    __slots__ = ('body', 'body_first', 'is_given', 'json', 'text', 'texts', 'whole')

    def __init__(self, body: Mapping[str, Any], text: Mapping[str, Any], whole: Any) -> None:
        self.body = body
        self.text = text
        self.whole = whole  # the payload, where it is no object
        self.json = True  # a missing element is named as one of the body: `$.name`
        self.texts = False  # the body is made of texts, to be converted as those beside it are
        self.body_first = False
        self.is_given = False  # a body says what `whole` is: null and '' are values then, else they stand for nothing

    def pick(self, name: str) -> tuple[Any, bool] | None:
        """The value of `name` and whether it came as text; None where nothing has it."""
        text, body = self.text, self.body
        if name in text and not (self.body_first and name in body):
            return text[name], True
        if name in body:
            return body[name], False
        return None

    def path(self, name: str, is_text: bool) -> str:
        return name if is_text else f'$.{name}'

    def path_of_missing(self, name: str) -> str:
        return f'$.{name}' if self.json else name

    def merged(self) -> dict[str, Any]:
        """Everything, for services that declare nothing."""
        first, second = (self.text, self.body) if self.body_first else (self.body, self.text)
        return {**first, **second}


def gather_sources(inbound: Message, payload: Any, *, params_only: bool = False, texts: bool = False) -> InputSources:
    """The sources of a call. Path parameters win over the query; those against the body as `params_pri` says. Of XML,
    the payload is what `xml_in` made of it, in `texts`.

    Raises BadInput for a query or form that is none.
    """
    http, channel = inbound.http, inbound.channel
    if http is None:
        whole = _json_or_same(payload) if isinstance(payload, (str, bytes)) and payload else payload
        sources = InputSources(as_mapping(whole) or _NOTHING, _NOTHING, whole)
        sources.texts = texts
        return sources
    text = _url_params(inbound) if channel.merge_url_params and (http.params or http.query) else _NOTHING
    if channel.data_format in _OBJECTS and not params_only and not is_form(inbound):
        sources = InputSources(as_mapping(payload) or _NOTHING, text, payload)
        sources.json = bool(payload) or http.method in _BODY_VERBS
        sources.texts = texts
        sources.is_given = not payload and not texts and not channel.door and bool(inbound.body)
    else:
        body = _NOTHING if params_only else form_params(inbound, payload)
        sources = InputSources(_NOTHING, _joined(body, text, channel.params_pri == BODY_FIRST), None)
        sources.json = False
    sources.body_first = channel.params_pri == BODY_FIRST
    return sources


def _url_params(inbound: Message) -> Params:
    http = inbound.http
    assert http is not None
    # Where the channel has no service of its own, the path says which: an address, no input.
    path = http.params if inbound.channel.service else _NOTHING
    return {**parse_params(http.query), **path} if http.query else path


def _joined(body: Params, text: Params, body_first: bool) -> Params:
    if not body or not text:
        return body or text
    return {**text, **body} if body_first else {**body, **text}


def _json_or_same(payload: str | bytes) -> Any:
    """What one service hands to another as JSON text is read where it is JSON."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload
