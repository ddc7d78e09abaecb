"""Outgoing SOAP: what services see of other systems that speak it."""
