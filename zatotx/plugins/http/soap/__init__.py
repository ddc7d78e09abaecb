"""SOAP as HTTP carries it: which channel a message is for, how it is read and answered."""
