"""The operational database (ODB): the configuration, and all kept versions of the deployed code."""
