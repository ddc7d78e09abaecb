"""Invoices over FTP: partners upload them to a channel, and a copy goes to an FTP server.

Configuration and commands: invoices_ftp.yaml.
"""

from pathlib import Path

from zatotx import Service


class Received(Service):
    """Gets each finished upload: its name, path and size. Reading a file blocks, so this is no `async def`."""

    name = 'invoices-ftp.received'

    def handle(self):
        upload = self.request.payload
        content = Path(upload['path']).read_bytes()
        self.out.ftp['Archive'].setcontents(upload['name'], content)
        self.logger.info('Archived %s with %s bytes', upload['name'], upload['size'])
