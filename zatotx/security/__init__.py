"""Security types: one module each, or one folder. A package elsewhere can ship one too, in a `zatotx/security/` of its
own."""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
