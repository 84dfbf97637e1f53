-- Deterministic and skewed: u(i, salt) is a hash in [0, 1). Tenant 1 is the largest of 400. Now is 2025-06-30 12:00.

SET session_replication_role = replica;  -- the data obey the foreign keys by construction

CREATE FUNCTION pg_temp.u(i bigint, salt bigint) RETURNS double precision LANGUAGE sql IMMUTABLE AS
    $$ SELECT (hashint8extended(i, salt) & 4503599627370495) / 4503599627370496.0::double precision $$;

CREATE FUNCTION pg_temp.tenant(i bigint, salt bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS
    $$ SELECT 1 + floor(pg_temp.u(i, salt) ^ 3 * 400)::int $$;

INSERT INTO tenants (subdomain, name, plan, created_at)
SELECT 'tenant' || i, 'Tenant ' || i, CASE WHEN i < 40 THEN 'business' WHEN i % 3 = 0 THEN 'free' ELSE 'team' END,
       '2021-01-01 00:00+00'::timestamptz + i * interval '3 days'
FROM generate_series(1, 400) AS i;

INSERT INTO tenant_settings (tenant_id, key, value)
SELECT t, 'setting' || k, jsonb_build_object('on', (t + k) % 2 = 0)
FROM generate_series(1, 400) AS t, generate_series(1, 10) AS k;

INSERT INTO agents (tenant_id, email, name, role, is_active, last_seen_at)
SELECT CASE WHEN i <= 400 THEN i ELSE pg_temp.tenant(i, 1) END, 'Agent' || i || '@Support.example', 'Agent ' || i * 7919 % 6007,
       CASE WHEN i % 20 = 0 THEN 'admin' ELSE 'agent' END, pg_temp.u(i, 2) < 0.9,
       '2025-06-30 12:00+00'::timestamptz - pg_temp.u(i, 3) ^ 3 * interval '300 days'
FROM generate_series(1, 6000) AS i;

INSERT INTO teams (tenant_id, name)
SELECT CASE WHEN i <= 400 THEN i ELSE pg_temp.tenant(i, 4) END, 'Team ' || i FROM generate_series(1, 900) AS i;

INSERT INTO team_members (team_id, agent_id)
SELECT teams.id, agents.id FROM agents JOIN teams USING (tenant_id) WHERE pg_temp.u(agents.id * 1000 + teams.id, 5) < 0.15;

INSERT INTO api_tokens (tenant_id, token_hash, last_used_at)
SELECT pg_temp.tenant(i, 6), md5('token' || i), '2025-06-30 12:00+00'::timestamptz - i * interval '9 hours'
FROM generate_series(1, 2000) AS i;

INSERT INTO customers (tenant_id, email, name, phone, company, locale, created_at, deleted_at)
SELECT pg_temp.tenant(i, 7),
       CASE WHEN i % 3 = 0 THEN 'Customer' ELSE 'customer' END || i || '@' || 'company' || i % 3000 || '.example',
       (ARRAY['Maria', 'john', 'Wei', 'Aisha', 'Olu', 'Ingrid', 'Pedro', 'Yuki', 'Noah', 'Fatima'])[1 + i % 10] || ' '
           || initcap(substr(translate(md5(i::text), '0123456789', 'aeioulnrst'), 1, 7)),
       CASE WHEN pg_temp.u(i, 8) < 0.3 THEN '+4930' || lpad((i * 7919 % 10000000)::text, 7, '0') END,
       CASE WHEN pg_temp.u(i, 9) < 0.5 THEN 'Company ' || i % 3000 END,
       CASE WHEN pg_temp.u(i, 10) < 0.8 THEN 'en' ELSE 'de' END,
       '2022-01-01 00:00+00'::timestamptz + i * interval '914 seconds',
       CASE WHEN pg_temp.u(i, 11) < 0.03 THEN '2025-05-01 00:00+00'::timestamptz END
FROM generate_series(1, 120000) AS i;

ANALYZE agents, teams, customers;  -- the rest is joined to them

CREATE TEMPORARY TABLE staff AS
SELECT tenant_id, array_agg(agents.id ORDER BY agents.id) AS agent_ids,
       (SELECT array_agg(teams.id ORDER BY teams.id) FROM teams WHERE teams.tenant_id = agents.tenant_id) AS team_ids
FROM agents GROUP BY tenant_id;
ANALYZE staff;

CREATE TEMPORARY TABLE words AS
SELECT ARRAY['printer', 'invoice', 'refund', 'login', 'password', 'delivery', 'broken', 'late', 'question', 'upgrade', 'error',
             'crash', 'export', 'import', 'billing', 'account', 'webhook', 'timeout', 'mobile', 'desktop', 'urgent', 'feature',
             'contract', 'license', 'screen', 'battery', 'shipping', 'address', 'return', 'discount'] AS word;

INSERT INTO tickets (tenant_id, number, customer_id, team_id, assignee_id, status, priority, channel, subject, external_id,
                     custom, search_vector, is_spam, created_at, updated_at, due_at, solved_at, deleted_at)
SELECT tenant_id, row_number() OVER (PARTITION BY tenant_id ORDER BY i), customer_id,
       team_ids[1 + floor(pg_temp.u(i, 20) * cardinality(team_ids))::int],
       CASE WHEN state NOT IN ('new') AND pg_temp.u(i, 21) < 0.9
            THEN agent_ids[1 + floor(pg_temp.u(i, 22) ^ 2 * cardinality(agent_ids))::int] END,
       state, 1 + floor(pg_temp.u(i, 23) ^ 3 * 4)::int,
       (ARRAY['email', 'email', 'email', 'web', 'chat', 'api'])[1 + floor(pg_temp.u(i, 24) * 6)::int],
       subject, CASE WHEN pg_temp.u(i, 25) < 0.2 THEN 'ext-' || md5('ticket' || i) END,
       CASE WHEN pg_temp.u(i, 26) < 0.3 THEN jsonb_build_object('order_no', 'A' || i * 7 % 90001, 'vip', i % 50 = 0)
            ELSE jsonb_build_object('product', 'P' || i % 40) END,
       to_tsvector('simple', subject), pg_temp.u(i, 27) < 0.01, created_at,
       created_at + pg_temp.u(i, 28) ^ 3 * interval '40 hours',
       CASE WHEN state NOT IN ('closed', 'solved') AND pg_temp.u(i, 29) < 0.6 THEN created_at + interval '3 days' END,
       CASE WHEN state IN ('closed', 'solved') THEN created_at + pg_temp.u(i, 28) ^ 3 * interval '40 hours' END,
       CASE WHEN pg_temp.u(i, 30) < 0.015 THEN '2025-06-01 00:00+00'::timestamptz END
FROM (SELECT i, customers.id AS customer_id, customers.tenant_id,
             '2022-01-01 00:00+00'::timestamptz + sqrt(i / 300000.0) * interval '1276.5 days' AS created_at,
             CASE WHEN pg_temp.u(i, 31) < CASE WHEN i > 285000 THEN 0.85 ELSE 0.008 END
                  THEN (ARRAY['new', 'open', 'open', 'pending', 'on_hold', 'solved'])[1 + floor(pg_temp.u(i, 32) * 6)::int]
                  ELSE 'closed' END AS state,
             initcap(word[1 + floor(pg_temp.u(i, 33) * 30)::int]) || ' ' || word[1 + floor(pg_temp.u(i, 34) ^ 2 * 30)::int]
                 || ' ' || word[1 + floor(pg_temp.u(i, 35) ^ 2 * 30)::int] || ' ref' || i * 13 % 50021 AS subject
      FROM generate_series(1, 300000) AS i
      JOIN customers ON customers.id = 1 + floor(pg_temp.u(i, 36) ^ 1.5 * 120000)::int, words) AS made
JOIN staff USING (tenant_id)
ORDER BY i;

ANALYZE tickets;

UPDATE tickets SET merged_into_id = id - 40 WHERE id % 97 = 0;

INSERT INTO messages (id, tenant_id, ticket_id, author_type, author_id, is_internal, body, email_message_id, created_at)
SELECT md5('message' || i * 8 + j)::uuid, tenant_id, tickets.id,
       CASE WHEN j % 2 = 0 THEN 'customer' WHEN j = 5 THEN 'system' ELSE 'agent' END,
       CASE WHEN j % 2 = 0 THEN customer_id WHEN j = 5 THEN NULL ELSE assignee_id END,
       pg_temp.u(i * 8 + j, 40) < 0.12, repeat('Hello, it still does not work. ', 1 + (i + j)::int % 5),
       CASE WHEN channel = 'email' AND j % 2 = 0 THEN '<' || md5('mail' || i * 8 + j) || '@mail.example>' END,
       created_at + j * interval '3 hours'
FROM tickets, LATERAL (SELECT tickets.id AS i) AS same, generate_series(0, 5) AS j
WHERE j <= floor(pg_temp.u(i, 41) ^ 2 * 6)
ORDER BY created_at + j * interval '3 hours';

ANALYZE messages;

INSERT INTO attachments (message_id, filename, size, sha256, scan_status)
SELECT id, 'screenshot' || n % 40 || '.png', 1000 + (n * 7919 % 900000)::int, md5('file' || n % 80000) || md5('x' || n % 80000),
       CASE WHEN pg_temp.u(n, 42) < 0.001 THEN 'infected' WHEN created_at > '2025-06-30 08:00+00' THEN 'pending' ELSE 'clean' END
FROM (SELECT messages.id, created_at, row_number() OVER (ORDER BY created_at, id) AS n FROM messages
      WHERE id < '22000000-0000-0000-0000-000000000000') AS chosen;

INSERT INTO tags (tenant_id, name)
SELECT CASE WHEN i <= 400 THEN i ELSE pg_temp.tenant(i, 43) END, word[1 + i % 30] || '-' || i / 30
FROM generate_series(1, 4000) AS i, words;

INSERT INTO ticket_tags (ticket_id, tag_id)
SELECT tickets.id, tag_ids[1 + floor(pg_temp.u(tickets.id * 4 + j, 44) ^ 3 * cardinality(tag_ids))::int]
FROM tickets
JOIN (SELECT tenant_id, array_agg(id ORDER BY id) AS tag_ids FROM tags GROUP BY tenant_id) AS own USING (tenant_id),
     generate_series(0, 2) AS j
WHERE j < floor(pg_temp.u(tickets.id, 45) * 4)
ON CONFLICT DO NOTHING;

INSERT INTO ticket_followers (ticket_id, agent_id)
SELECT tickets.id, agent_ids[1 + floor(pg_temp.u(tickets.id, 46) * cardinality(agent_ids))::int]
FROM tickets JOIN staff USING (tenant_id) WHERE pg_temp.u(tickets.id, 47) < 0.25;

INSERT INTO sla_timers (ticket_id, kind, due_at, stopped_at, breached_at)
SELECT tickets.id, kind, created_at + waits,
       CASE WHEN status IN ('closed', 'solved') OR pg_temp.u(tickets.id, 48) < 0.5 THEN created_at + waits * pg_temp.u(tickets.id, 49) END,
       CASE WHEN status NOT IN ('closed', 'solved') AND created_at < '2025-06-26 00:00+00' THEN created_at + waits
            WHEN pg_temp.u(tickets.id, 48) > 0.97 THEN created_at + waits END
FROM tickets, (VALUES ('first_response', interval '8 hours'), ('resolution', interval '4 days')) AS kinds (kind, waits)
WHERE tickets.id % 3 = 0;

INSERT INTO csat_ratings (ticket_id, agent_id, score, comment, created_at)
SELECT id, assignee_id, 5 - floor(pg_temp.u(id, 50) ^ 3 * 5)::int,
       CASE WHEN pg_temp.u(id, 51) < 0.2 THEN 'Thank you' END, created_at + interval '3 days'
FROM tickets WHERE status = 'closed' AND assignee_id IS NOT NULL AND pg_temp.u(id, 52) < 0.22;

INSERT INTO notifications (recipient_id, ticket_id, kind, payload, created_at, read_at)
SELECT agent_ids[1 + floor(pg_temp.u(i, 60) ^ 2 * cardinality(agent_ids))::int], tickets.id,
       (ARRAY['assigned', 'replied', 'replied', 'mentioned', 'sla'])[1 + floor(pg_temp.u(i, 61) * 5)::int],
       jsonb_build_object('subject', subject), tickets.created_at + interval '5 minutes',
       CASE WHEN pg_temp.u(i, 62) < CASE WHEN i > 440000 THEN 0.6 ELSE 0.99 END THEN tickets.created_at + interval '2 hours' END
FROM generate_series(1, 480000) AS i
JOIN tickets ON tickets.id = 1 + i::bigint * 299999 / 480000 JOIN staff USING (tenant_id)
ORDER BY i;

INSERT INTO articles (tenant_id, slug, title, body, is_public, views)
SELECT pg_temp.tenant(i, 70), 'article-' || i,
       initcap(word[1 + i % 30]) || ' ' || word[1 + i * 7 % 30] || ' ' || i,
       (SELECT string_agg(word[1 + floor(pg_temp.u(i * 100 + k, 71) ^ 2 * 30)::int], ' ') FROM generate_series(1, 60) AS k)
           || ' chapter' || i % 700,
       pg_temp.u(i, 72) < 0.85, floor(pg_temp.u(i, 73) ^ 6 * 50000)::int
FROM generate_series(1, 8000) AS i, words;

INSERT INTO webhooks (tenant_id, url, events, is_enabled)
SELECT pg_temp.tenant(i, 74), 'https://hooks.example/' || i, ARRAY['ticket.created', 'ticket.solved']::varchar[], i % 7 > 0
FROM generate_series(1, 350) AS i;

INSERT INTO webhook_deliveries (webhook_id, status, attempts, next_attempt_at, body, created_at)
SELECT 1 + floor(pg_temp.u(i, 75) ^ 2 * 350)::int,
       CASE WHEN i > 199000 AND pg_temp.u(i, 76) < 0.35 THEN 'pending' WHEN pg_temp.u(i, 76) < 0.01 THEN 'failed' ELSE 'delivered' END,
       1, '2025-06-12 00:00+00'::timestamptz + i * interval '8 seconds',
       jsonb_build_object('ticket', i * 3 % 300000, 'event', 'ticket.created'),
       '2025-06-12 00:00+00'::timestamptz + i * interval '8 seconds'
FROM generate_series(1, 200000) AS i;

INSERT INTO audit_log (tenant_id, actor_id, action, object_type, object_id, ip, changes, created_at)
SELECT tenant_id, CASE WHEN pg_temp.u(i, 80) < 0.7 THEN agent_ids[1 + floor(pg_temp.u(i, 81) ^ 2 * cardinality(agent_ids))::int] END,
       (ARRAY['ticket.updated', 'ticket.updated', 'ticket.viewed', 'customer.updated', 'settings.changed'])
           [1 + floor(pg_temp.u(i, 82) * 5)::int],
       CASE WHEN pg_temp.u(i, 82) < 0.6 THEN 'ticket' ELSE 'customer' END,
       CASE WHEN pg_temp.u(i, 82) < 0.6 THEN tickets.id ELSE tickets.customer_id END,
       '10.0.0.0'::inet + i % 60000, jsonb_build_object('status', i % 5),
       '2025-02-28 00:00+00'::timestamptz + i * interval '21.1 seconds'
FROM generate_series(1, 500000) AS i
JOIN tickets ON tickets.id = 1 + (floor(300000 * (1 - pg_temp.u(i, 83) ^ 1.5)))::bigint % 300000 JOIN staff USING (tenant_id)
ORDER BY i;

SET session_replication_role = origin;

ANALYZE;
