"""Alembic's entry: run the steps on the connection that `Database.migrate` hands over."""

from alembic import context

from billing_assets.registry.schema import metadata

# the metadata gives constraints their names
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
