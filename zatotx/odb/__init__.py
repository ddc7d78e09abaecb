"""The operational database (ODB), which stores the configuration and the versions of the deployed code."""
