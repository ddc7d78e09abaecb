"""Codecs of data formats, one per module; `registry` selects the one that decodes a message and encodes its reply."""

from __future__ import annotations

from zatotx.pipeline.codecs.form import FormCodec, NamedFormCodec
from zatotx.pipeline.codecs.json import JsonCodec
from zatotx.pipeline.codecs.raw import RawCodec
from zatotx.pipeline.codecs.registry import CodecRegistry
from zatotx.pipeline.codecs.xml import XmlCodec

__all__ = ['CodecRegistry', 'FormCodec', 'JsonCodec', 'NamedFormCodec', 'RawCodec', 'XmlCodec']
