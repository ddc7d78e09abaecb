"""The drivers of databases: how each connects, begins transactions, cancels statements and reports errors."""
