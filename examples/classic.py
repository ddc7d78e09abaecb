"""A service written for Zato, unchanged: its imports resolve to zatotx when the file is deployed."""

from zato.server.service import Float, Service


class ToFahrenheit(Service):
    """Converts degrees Celsius to Fahrenheit. A plain `def` method runs in a thread and may block."""

    name = 'demo.to-fahrenheit'

    class SimpleIO:
        input_required = (Float('celsius'),)
        output_required = ('celsius', 'fahrenheit')

    def handle(self):
        celsius = self.request.input.celsius
        self.logger.info('Converting %s', celsius)
        self.response.payload = {'celsius': celsius, 'fahrenheit': celsius * 9 / 5 + 32}
