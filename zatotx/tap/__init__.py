"""Twistd plugins, and the modules that construct and connect the components of each process. Each plugin is one module
with `Options` and `makeService`.
"""
