"""Where input comes from: path parameters, query, form and body, merged by the channel's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from zatotx.model.faults import BadInput
from zatotx.model.message import Inbound
from zatotx.service.elements import as_mapping

MAX_PARAMS = 1000
BODY_FIRST = 'msg-over-channel-params'
FORM = b'application/x-www-form-urlencoded'
_NOTHING: Mapping[str, Any] = {}
_BODY_VERBS = frozenset(('POST', 'PUT', 'PATCH'))

Params = dict[str, Any]  # text, or a list of texts where the name was repeated


def parse_params(raw: bytes, where: str = 'query') -> Params:
    """A query or form as name -> text, or list of texts where a name is repeated. Bytes that are no UTF-8 become
    U+FFFD. Raises BadInput over 1,000 parameters."""
    params: Params = {}
    if not raw:
        return params
    try:
        pairs = parse_qsl(
            raw.decode('utf-8', 'replace'), keep_blank_values=True, errors='replace', max_num_fields=MAX_PARAMS
        )
    except ValueError:
        raise BadInput([(where, f'more than {MAX_PARAMS} parameters')]) from None
    for name, value in pairs:
        before = params.get(name)
        if before is None:
            params[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            params[name] = [before, value]
    return params


def is_form(inbound: Inbound) -> bool:
    """Whether the body is an HTML form, by its Content-Type."""
    return inbound.headers.get(b'content-type', b'')[: len(FORM)].lower() == FORM


def form_params(inbound: Inbound, payload: Any) -> Params:
    """The parameters of a form in the body; {} where the body is none."""
    if inbound.channel.data_format == 'form':
        return dict(payload) if isinstance(payload, Mapping) else {}
    if not inbound.channel.data_format and isinstance(payload, (bytes, bytearray)) and is_form(inbound):
        return parse_params(bytes(payload), 'form')
    return {}


class Sources:
    """All input of one call: `body` is what the message says, `text` what arrived as text beside it."""

    __slots__ = ('body', 'body_first', 'json', 'text', 'whole')

    def __init__(self, body: Mapping[str, Any], text: Mapping[str, Any], whole: Any) -> None:
        self.body = body
        self.text = text
        self.whole = whole  # the payload, where it is no object
        self.json = True  # a missing element is named as one of the body: `$.name`
        self.body_first = False

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


def gather(inbound: Inbound, payload: Any, *, params_only: bool = False) -> Sources:
    """The sources of a call. Path parameters win over the query; those against the body as `params_pri` says.

    Raises BadInput for a query that cannot be one.
    """
    whole: Any = payload
    if isinstance(payload, (str, bytes, bytearray)) and inbound.http is None and payload:
        whole = _json_or_same(payload)
    body = _NOTHING if params_only else (as_mapping(whole) or _NOTHING)
    http = inbound.http
    if http is None:
        return Sources(body, _NOTHING, whole)
    channel = inbound.channel
    form = form_params(inbound, payload) if channel.data_format in ('', 'form') else _NOTHING
    text: Mapping[str, Any] = _NOTHING
    if channel.merge_url_params and (http.params or http.query):
        text = {**parse_params(http.query), **http.params}
    sources = Sources(body, text, whole)
    sources.body_first = channel.params_pri == BODY_FIRST
    if channel.data_format != 'json':
        sources.text = _joined(form, text, sources.body_first) if not params_only else text
        sources.body, sources.json, sources.whole = _NOTHING, False, None
    elif not payload and http.method not in _BODY_VERBS:
        sources.json = False
    return sources


def _joined(form: Mapping[str, Any], text: Mapping[str, Any], form_first: bool) -> Mapping[str, Any]:
    if not form:
        return text
    return {**text, **form} if form_first else {**form, **text}


def _json_or_same(payload: str | bytes | bytearray) -> Any:
    """What one service hands to another as JSON text is read where it is an object or array."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload
