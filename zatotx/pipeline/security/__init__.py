"""Authentication of callers: the authentication policy, and the infrastructure of authenticators for security
definitions.
"""
