"""Data formats: one codec each. A new format is one class here (or, later, one more file) and a line in `CODECS`."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.exchange import ICodec
from zatotx.model.faults import BadRequest
from zatotx.model.message import Inbound
from zatotx.wire import form, json

_BODY_METHODS = frozenset({'POST', 'PUT', 'PATCH'})
_FORM = b'application/x-www-form-urlencoded'
_JSON = b'application/json'


@implementer(ICodec)
class JsonCodec:
    """RFC 8259 JSON both ways."""

    content_type = b'application/json'

    def decode(self, inbound: Inbound) -> object:
        """The value of the body; None where the message brings none. Raises BadRequest for malformed JSON: an empty
        body is malformed too, unless the method has none or the input comes in the URL."""
        body = inbound.body
        if not body:
            if _brings_body(inbound):
                raise BadRequest(inbound.cid, 'Malformed JSON: the body is empty')
            return None
        try:
            return json.decode(body)  # type: ignore[arg-type]  # the pipeline has read spooled bodies back
        except json.Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed JSON: {error}') from None

    def encode(self, value: object) -> bytes:
        return json.encode(value)

    def fault(self, cid: str, status: int, details: str) -> bytes:
        return json.encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': cid, 'details': details}})


@implementer(ICodec)
class RawCodec(JsonCodec):
    """No data format: the body is the payload, bytes as they came. Answers that are neither text nor bytes, and
    errors, go out as JSON."""

    def decode(self, inbound: Inbound) -> object:
        return inbound.body


@implementer(ICodec)
class FormCodec(JsonCodec):
    """application/x-www-form-urlencoded in, JSON out."""

    def decode(self, inbound: Inbound) -> object:
        """Field name -> text, or a list of texts where it is repeated. Raises BadRequest."""
        try:
            return form.decode(inbound.body)  # type: ignore[arg-type]  # read back as above
        except form.Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed form: {error}') from None


class Codecs:
    """Chooses the codec of a message."""

    def __init__(self) -> None:
        self._json: ICodec = JsonCodec()
        self._raw: ICodec = RawCodec()
        self._form: ICodec = FormCodec()
        self._by_format = {'json': self._json, '': self._raw, 'form': self._form, 'post': self._form}

    def of(self, inbound: Inbound) -> ICodec:
        """By the channel's data format; a form is a form on a JSON channel too, as browsers and curl send it."""
        codec = self._by_format.get(inbound.channel.data_format, self._raw)
        if codec is self._json:
            content_type = inbound.headers.get(b'content-type')
            if content_type is not None and content_type != _JSON and content_type.startswith(_FORM):
                return self._form
        return codec


def _brings_body(inbound: Inbound) -> bool:
    """Whether a body must be there: the method has one, and the URL carries no input in its stead."""
    http = inbound.http
    if http is None or inbound.channel.door:
        return False
    return http.method in _BODY_METHODS and not http.query and not http.params
