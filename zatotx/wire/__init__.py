"""Codecs, which are parsers and writers of wire formats. The package performs no I/O and uses no Twisted."""
