"""Outgoing SOAP connections: the API for services, and its implementation."""
