"""Database drivers: how each connects, begins transactions, cancels statements and reports errors."""
