"""Connector kinds. Each kind is one package that implements one protocol. Other distributions can add kinds in their
own `zatotx/plugins/` directory.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
