"""The web admin. Nothing of it is needed before its own issue."""
