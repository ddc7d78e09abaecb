"""What users subclass, what runs it, and how it is deployed."""
