"""The operations on the components of an environment. There is one module for each type of component."""
