"""Codecs: parsers and writers of wire formats. No I/O, no Twisted."""
