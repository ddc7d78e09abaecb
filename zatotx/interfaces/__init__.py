"""Narrow zope interfaces between the packages."""
