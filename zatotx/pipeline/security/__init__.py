"""Authentication of callers: the authentication policy, and one authenticator for each type of security definition."""
