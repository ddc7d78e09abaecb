"""Security types. Each type is one module or one package. Other distributions can add security types in their own
`zatotx/security/` directory.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
