"""Database drivers. Each driver defines how to connect, begin transactions, cancel statements and classify errors."""
