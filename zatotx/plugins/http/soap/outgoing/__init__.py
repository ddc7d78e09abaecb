"""Outgoing SOAP connections: the API for services, and the machinery behind it."""
