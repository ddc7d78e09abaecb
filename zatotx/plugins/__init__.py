"""Connector kinds: each is one package that implements one protocol. Other distributions can add kinds in their own
`zatotx/plugins/`.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
