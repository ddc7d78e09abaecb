"""The web admin: a browser application for the administration of a cluster."""
