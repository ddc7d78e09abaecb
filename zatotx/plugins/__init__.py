"""Kinds: one folder a protocol. A package elsewhere can ship one too, in a `zatotx/plugins/` of its own."""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
