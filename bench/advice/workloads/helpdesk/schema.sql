-- Support as a service for many tenants: all share the tables, and the largest has a seventh of the rows.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE tenants (
    id serial PRIMARY KEY,
    subdomain varchar(63) NOT NULL UNIQUE,
    name varchar(120) NOT NULL,
    plan varchar(16) NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE tenant_settings (
    id serial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    key varchar(60) NOT NULL,
    value jsonb NOT NULL,
    UNIQUE (tenant_id, key)
);

CREATE TABLE agents (
    id serial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    email varchar(254) NOT NULL,
    name varchar(120) NOT NULL,
    role varchar(16) NOT NULL,
    is_active boolean NOT NULL,
    last_seen_at timestamptz,
    UNIQUE (tenant_id, email)
);

CREATE TABLE teams (
    id serial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    name varchar(80) NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE team_members (
    team_id integer NOT NULL REFERENCES teams (id),
    agent_id integer NOT NULL REFERENCES agents (id),
    PRIMARY KEY (team_id, agent_id)
);

CREATE TABLE api_tokens (
    id serial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    token_hash char(32) NOT NULL UNIQUE,
    last_used_at timestamptz
);

CREATE TABLE customers (
    id bigserial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    email varchar(254) NOT NULL,
    name varchar(120) NOT NULL,
    phone varchar(32),
    company varchar(120),
    locale varchar(8) NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz,
    UNIQUE (tenant_id, email)
);

CREATE TABLE tickets (
    id bigserial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    number integer NOT NULL,
    customer_id bigint NOT NULL REFERENCES customers (id),
    team_id integer REFERENCES teams (id),
    assignee_id integer REFERENCES agents (id),
    merged_into_id bigint REFERENCES tickets (id),
    status varchar(12) NOT NULL,
    priority smallint NOT NULL,
    channel varchar(12) NOT NULL,
    subject varchar(255) NOT NULL,
    external_id varchar(64),
    custom jsonb NOT NULL,
    search_vector tsvector NOT NULL,
    is_spam boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    due_at timestamptz,
    solved_at timestamptz,
    deleted_at timestamptz,
    UNIQUE (tenant_id, number)
);

CREATE TABLE messages (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    ticket_id bigint NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    author_type varchar(10) NOT NULL,
    author_id bigint,
    is_internal boolean NOT NULL,
    body text NOT NULL,
    email_message_id varchar(255),
    created_at timestamptz NOT NULL
);

CREATE TABLE attachments (
    id bigserial PRIMARY KEY,
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    filename varchar(255) NOT NULL,
    size integer NOT NULL,
    sha256 char(64) NOT NULL,
    scan_status varchar(12) NOT NULL
);

CREATE TABLE tags (
    id serial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    name varchar(60) NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE ticket_tags (
    ticket_id bigint NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    tag_id integer NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    PRIMARY KEY (ticket_id, tag_id)
);

CREATE TABLE ticket_followers (
    ticket_id bigint NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    agent_id integer NOT NULL REFERENCES agents (id),
    PRIMARY KEY (ticket_id, agent_id)
);

CREATE TABLE sla_timers (
    id bigserial PRIMARY KEY,
    ticket_id bigint NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    kind varchar(20) NOT NULL,
    due_at timestamptz NOT NULL,
    stopped_at timestamptz,
    breached_at timestamptz,
    UNIQUE (ticket_id, kind)
);

CREATE TABLE csat_ratings (
    id bigserial PRIMARY KEY,
    ticket_id bigint NOT NULL UNIQUE REFERENCES tickets (id) ON DELETE CASCADE,
    agent_id integer NOT NULL REFERENCES agents (id),
    score smallint NOT NULL,
    comment text,
    created_at timestamptz NOT NULL
);

CREATE TABLE notifications (
    id bigserial PRIMARY KEY,
    recipient_id integer NOT NULL REFERENCES agents (id),
    ticket_id bigint REFERENCES tickets (id) ON DELETE SET NULL,
    kind varchar(24) NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    read_at timestamptz
);

CREATE TABLE articles (
    id serial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    slug varchar(120) NOT NULL,
    title varchar(200) NOT NULL,
    body text NOT NULL,
    is_public boolean NOT NULL,
    views integer NOT NULL,
    UNIQUE (tenant_id, slug)
);

CREATE TABLE webhooks (
    id serial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants (id),
    url varchar(255) NOT NULL,
    events varchar(40)[] NOT NULL,
    is_enabled boolean NOT NULL
);

CREATE TABLE webhook_deliveries (
    id bigserial PRIMARY KEY,
    webhook_id integer NOT NULL REFERENCES webhooks (id),
    status varchar(12) NOT NULL,
    attempts smallint NOT NULL,
    next_attempt_at timestamptz,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE audit_log (
    id bigserial PRIMARY KEY,
    tenant_id integer NOT NULL,
    actor_id integer,
    action varchar(40) NOT NULL,
    object_type varchar(20) NOT NULL,
    object_id bigint NOT NULL,
    ip inet,
    changes jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
