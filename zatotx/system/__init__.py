"""Files and threads of the operating system, which several layers share."""
