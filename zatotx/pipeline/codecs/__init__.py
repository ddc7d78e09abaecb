"""Data formats: one codec a file; `choose.py` says which one reads a message and writes its answer."""

from __future__ import annotations

from zatotx.pipeline.codecs.form import FormCodec, NamedFormCodec
from zatotx.pipeline.codecs.json import JsonCodec
from zatotx.pipeline.codecs.raw import RawCodec
from zatotx.pipeline.codecs.registry import Codecs
from zatotx.pipeline.codecs.xml import XmlCodec

__all__ = ['Codecs', 'FormCodec', 'JsonCodec', 'NamedFormCodec', 'RawCodec', 'XmlCodec']
