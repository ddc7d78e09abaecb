"""Twistd plugins: one module per plugin, with `Options` and `makeService`, and the modules that construct and connect
the components of each process.
"""
