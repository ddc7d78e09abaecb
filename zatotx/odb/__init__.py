"""The operational database: everything an administrator configures, and every version of the deployed code."""
