"""Outgoing REST connections: the API for services, and its implementation."""
