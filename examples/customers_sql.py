"""Customers in a SQL database, here SQLite: REST calls add a customer and find one.

Configuration and commands: customers_sql.yaml.
"""

from zatotx import Int, NotFound, Service


class Add(Service):
    """Adds a customer. The statements are one transaction."""

    name = 'customers-sql.add'
    input = 'name', '-city'
    output = Int('id')

    async def handle(self):
        fields = {'name': self.request.input.name, 'city': self.request.input.city or ''}
        async with self.out.sql['Customers'].transaction() as transaction:
            await transaction.execute('create table if not exists customer '
                                      '(id integer primary key, name varchar(100), city varchar(100))')
            await transaction.execute('insert into customer (name, city) values (:name, :city)', fields)
            row = await transaction.fetch_one('select max(id) as id from customer')
        self.response.payload = {'id': row.id}


class Find(Service):
    """Finds a customer by number."""

    name = 'customers-sql.find'
    input = Int('id')
    output = 'name', 'city'

    async def handle(self):
        row = await self.out.sql['Customers'].fetch_one('select name, city from customer where id = :id',
                                                        {'id': self.request.input.id})
        if row is None:
            raise NotFound(self.cid, f'There is no customer {self.request.input.id}')
        self.response.payload = {'name': row.name, 'city': row.city}
