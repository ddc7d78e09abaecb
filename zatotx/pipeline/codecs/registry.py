"""Which codec reads a message and writes its answer."""

from __future__ import annotations

from collections.abc import Mapping

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.message import Message
from zatotx.pipeline.codecs.form import FormCodec, NamedFormCodec
from zatotx.pipeline.codecs.json import JsonCodec
from zatotx.pipeline.codecs.multipart import FileCodec, MultipartCodec
from zatotx.pipeline.codecs.raw import RawCodec
from zatotx.pipeline.codecs.xml import XmlCodec
from zatotx.rules.limits.limits import USUAL, MessageBudget
from zatotx.wire.http.multipart import CONTENT_TYPE

_FORM = b'application/x-www-form-urlencoded'
_JSON = b'application/json'


class Codecs:
    """Chooses the codec of a message. `budget`: what one message may hold; `others`: the formats that kinds bring."""

    def __init__(self, budget: MessageBudget = USUAL, others: Mapping[str, ICodec] | None = None) -> None:
        self._json: ICodec = JsonCodec(budget)
        self._raw: ICodec = RawCodec(budget)
        self._form: ICodec = FormCodec(budget)
        self._called_form: ICodec = NamedFormCodec(budget)
        self._multipart: ICodec = MultipartCodec(budget)
        self._take_forms: tuple[ICodec, ...] = (self._json, self._raw, self._form)
        self._by_format = {'file': FileCodec(budget), 'json': self._json, '': self._raw, 'form': self._form,
                           'post': self._form, 'xml': XmlCodec(budget), **(others or {})}  # fmt: skip

    def of(self, inbound: Message) -> ICodec:
        """By the channel's data format; a form is a form on a JSON channel too, as browsers send it, and one with files
        wherever bodies are not XML."""
        codec = self._by_format.get(inbound.channel.data_format, self._raw)
        if codec in self._take_forms:
            content_type = inbound.headers.get(b'content-type')
            if content_type is not None and content_type != _JSON:
                return self._form_instead(content_type.lower(), codec)
        return codec

    def _form_instead(self, content_type: bytes, codec: ICodec) -> ICodec:
        if content_type.startswith(CONTENT_TYPE):
            return self._multipart
        return self._called_form if content_type.startswith(_FORM) and codec is self._json else codec
