"""The certificate authority, which issues, renews and revokes the certificates that the components of an environment
use among each other.
"""
