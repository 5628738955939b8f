"""The server: sign-in, audit, secrets, metrics, and what the queue keeps of a build"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # The first migration gave the local client its number by hand, of which the sequence knows nothing.
        op.execute("SELECT setval(pg_get_serial_sequence('clients', 'id'), (SELECT max(id) FROM clients))")
    with op.batch_alter_table("clients") as clients:
        clients.add_column(sa.Column("served_at", TIME, nullable=True))
    with op.batch_alter_table("releases") as releases:
        releases.add_column(sa.Column("registry_ref", sa.Text(), nullable=True))
        releases.add_column(sa.Column("secrets", sa.JSON(), nullable=False, server_default="[]"))
    _create_sign_in()
    _create_audit()
    _create_secrets()
    op.create_table(
        "metric_samples",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("labels", sa.String(200), primary_key=True),
        sa.Column("value", sa.Double(), nullable=False),
    )
    _extend_builds()


def _create_sign_in() -> None:
    op.create_table(
        "access_tokens",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("used_at", TIME, nullable=True),
        sa.Column("address", sa.String(64), nullable=True),
    )
    op.create_index("ix_access_tokens_user_id", "access_tokens", ["user_id"])
    op.create_table(
        "login_failures",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_login_failures_key", "login_failures", ["key", "at"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("client_id", sa.Integer(), nullable=True),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("object_type", sa.String(20), nullable=True),
        sa.Column("object_id", sa.Integer(), nullable=True),
        sa.Column("address", sa.String(64), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
    )
    op.create_index("ix_audit_client", "audit", ["client_id", "id"])


def _create_secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("client_id", sa.Integer(), sa.ForeignKey("clients.id"), nullable=False),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("ciphertext", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )
    of_client = sa.text("project_id IS NULL")
    op.create_index("uq_secrets_project", "secrets", ["project_id", "name"], unique=True)
    op.create_index(
        "uq_secrets_client",
        "secrets",
        ["client_id", "name"],
        unique=True,
        sqlite_where=of_client,
        postgresql_where=of_client,
    )


def _extend_builds() -> None:
    with op.batch_alter_table("builds") as builds:
        builds.add_column(sa.Column("origin", sa.String(10), nullable=False, server_default="cli"))
        builds.add_column(sa.Column("created_by", sa.Integer(), nullable=True))
        builds.add_column(sa.Column("builder", sa.String(80), nullable=False, server_default="shared"))
        builds.add_column(sa.Column("progress", sa.Integer(), nullable=False, server_default="0"))
        builds.add_column(sa.Column("losses", sa.Integer(), nullable=False, server_default="0"))
        builds.add_column(sa.Column("timeout_seconds", sa.Integer(), nullable=True))
        builds.add_column(sa.Column("cancel_requested_at", TIME, nullable=True))
        builds.create_foreign_key("fk_builds_created_by", "users", ["created_by"], ["id"], ondelete="SET NULL")
    op.create_index("ix_builds_client", "builds", ["client_id", "id"])
    op.create_index("ix_builds_client_status", "builds", ["client_id", "status", "id"])
    op.create_index(
        "ix_builds_queue",
        "builds",
        ["status", "client_id", sa.text("priority DESC"), "id", "project_id", "builder"],
    )


def downgrade() -> None:
    op.drop_index("ix_builds_queue", "builds")
    op.drop_index("ix_builds_client_status", "builds")
    op.drop_index("ix_builds_client", "builds")
    with op.batch_alter_table("builds") as builds:
        builds.drop_constraint("fk_builds_created_by", type_="foreignkey")
        for name in ("origin", "created_by", "builder", "progress", "losses", "timeout_seconds", "cancel_requested_at"):
            builds.drop_column(name)
    with op.batch_alter_table("releases") as releases:
        releases.drop_column("secrets")
        releases.drop_column("registry_ref")
    with op.batch_alter_table("clients") as clients:
        clients.drop_column("served_at")
    for name in ("metric_samples", "secrets", "audit", "login_failures", "access_tokens"):
        op.drop_table(name)
