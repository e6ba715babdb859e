"""Which pack holds an instance: the sender of each pack, and short hashes of what is in it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Packs from before have no hashes: their sidecars are read when an instance is looked for."""
    op.add_column("pack", sa.Column("hospital_id", sa.BigInteger()))
    op.execute(
        "update pack set hospital_id = coalesce("
        " (select hospital_id from conflict where conflict.pack_id = pack.id limit 1),"
        " (select hospital_id from study where study.id = pack.study_id))"
    )
    op.alter_column("pack", "hospital_id", nullable=False)
    op.create_foreign_key("fk_pack_hospital_id_hospital", "pack", "hospital", ["hospital_id"], ["id"])
    op.add_column("pack", sa.Column("instance_hashes", sa.LargeBinary()))
    op.create_index("ix_pack_hospital_id", "pack", ["hospital_id", "id"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_pack_hospital_id", table_name="pack")
    op.drop_column("pack", "instance_hashes")
    op.drop_column("pack", "hospital_id")
