"""The development CA. Nothing of it is needed before its own issue."""
