"""Run by Alembic with the connection that `catalog.schema.migrate` hands over."""

from alembic import context

import catalog.tables
import catalog.tables_access
import catalog.tables_asking
import catalog.tables_audit
import catalog.tables_cds
import catalog.tables_dicom
import catalog.tables_investigation
import catalog.tables_items
import catalog.tables_people
import catalog.tables_quality
import catalog.tables_repeats
import catalog.tables_reports
import catalog.tables_review
import catalog.tables_supply  # noqa: F401 - their tables join the metadata
from catalog.tables_base import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
