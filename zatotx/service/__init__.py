"""Services: the base class that users subclass, the code that runs services, and the deployment of services."""
