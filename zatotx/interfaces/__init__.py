"""Small zope.interface declarations through which the packages use each other."""
