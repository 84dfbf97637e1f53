-- Deterministic and skewed: u(i, salt) is a hash in [0, 1). Now is 2025-06-30 12:00; appointments reach into September.

SET session_replication_role = replica;  -- the data obey the foreign keys by construction

CREATE FUNCTION pg_temp.u(i bigint, salt bigint) RETURNS double precision LANGUAGE sql IMMUTABLE AS
    $$ SELECT (hashint8extended(i, salt) & 4503599627370495) / 4503599627370496.0::double precision $$;

CREATE FUNCTION pg_temp.word(i bigint, salt bigint, length integer) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT substr(translate(md5(i || '/' || salt), '0123456789', 'aeiourstln'), 1, length) $$;

INSERT INTO practitioners (name, specialty, is_bookable)
SELECT 'Dr. ' || initcap(pg_temp.word(i, 1, 6)),
       (ARRAY['general', 'general', 'general', 'cardiology', 'dermatology', 'orthopedics', 'pediatrics'])[1 + i % 7], i % 11 > 0
FROM generate_series(1, 220) AS i;

INSERT INTO rooms (name, equipment)
SELECT 'Room ' || i, CASE WHEN i % 5 = 0 THEN ARRAY['ultrasound', 'bed'] ELSE ARRAY['bed'] END FROM generate_series(1, 160) AS i;

INSERT INTO insurers (name) SELECT 'Insurer ' || i FROM generate_series(1, 60) AS i;

INSERT INTO drugs (code, name, ingredients)
SELECT 'D' || lpad(i::text, 6, '0'), initcap(pg_temp.word(i, 2, 8)) || ' ' || (i % 8 + 1) * 50 || ' mg',
       ARRAY['substance' || floor(pg_temp.u(i, 1) ^ 2 * 900)::int, 'filler' || i % 30]
FROM generate_series(1, 6000) AS i;

INSERT INTO pharmacies (name, city, lat, lon, is_open)
SELECT 'Pharmacy ' || i, initcap(pg_temp.word(floor(pg_temp.u(i, 2) ^ 2 * 1500)::int, 3, 7)),
       47.5 + pg_temp.u(i, 3) * 7, 6 + pg_temp.u(i, 4) * 9, pg_temp.u(i, 5) < 0.93
FROM generate_series(1, 30000) AS i;

INSERT INTO patients (insurance_no, insurer_id, first_name, last_name, birth_date, gender, phone, mobile, is_active, created_at)
SELECT 'K' || lpad((i::bigint * 7919 % 1000000007)::text, 10, '0'), 1 + floor(pg_temp.u(i, 10) ^ 3 * 60)::int,
       (ARRAY['Lena', 'Tim', 'Mia', 'Jan', 'Ida', 'Max', 'Eva', 'Ben', 'Ella', 'Leo'])[1 + i % 10],
       CASE WHEN pg_temp.u(i, 11) < 0.25
            THEN (ARRAY['Müller', 'Schmidt', 'Weber', 'Fischer', 'Wagner'])[1 + floor(pg_temp.u(i, 12) * 5)::int]
            ELSE initcap(pg_temp.word(i / 4, 4, 7)) END,
       '1935-01-01'::date + floor(pg_temp.u(i, 13) * 32000)::int, CASE WHEN i % 2 = 0 THEN 'f' ELSE 'm' END,
       CASE WHEN pg_temp.u(i, 14) < 0.5 THEN '030' || lpad((i::bigint * 7919 % 10000000)::text, 7, '0') END,
       CASE WHEN pg_temp.u(i, 15) < 0.7 THEN '0170' || lpad((i::bigint * 104729 % 10000000)::text, 7, '0') END,
       pg_temp.u(i, 16) < 0.97, '2019-01-01 00:00+00'::timestamptz + i * interval '2050 seconds'
FROM generate_series(1, 100000) AS i;

INSERT INTO accounts (patient_id, email, password, last_login_at)
SELECT i, initcap(pg_temp.word(i, 5, 5)) || i || '@Mail' || i % 7 || '.example', 'argon2$' || md5(i::text),
       CASE WHEN pg_temp.u(i, 17) < 0.7 THEN '2025-06-30 12:00+00'::timestamptz - pg_temp.u(i, 18) ^ 2 * interval '700 days' END
FROM generate_series(1, 100000) AS i WHERE i % 5 < 3;

INSERT INTO consents (patient_id, kind, given_at, revoked_at)
SELECT i, kind, '2019-01-01 00:00+00'::timestamptz + i * interval '2050 seconds',
       CASE WHEN pg_temp.u(i, 19) < 0.04 THEN '2025-01-01 00:00+00'::timestamptz END
FROM generate_series(1, 100000) AS i, (VALUES ('treatment'), ('research')) AS kinds (kind)
WHERE kind = 'treatment' OR pg_temp.u(i, 20) < 0.3;

INSERT INTO shifts (practitioner_id, room_id, period)
SELECT 1 + i % 220, 1 + i * 7 % 160, tstzrange(starts, starts + interval '8 hours')
FROM (SELECT i, '2024-10-01 06:00+00'::timestamptz + (i / 220) * interval '1 day' + (i % 3) * interval '2 hours' AS starts
      FROM generate_series(0, 77000) AS i) AS days
WHERE extract(isodow FROM starts) < 6;

INSERT INTO appointments (patient_id, practitioner_id, room_id, status, reason, starts_at, ends_at, checked_in_at, cancelled_at,
                          created_at, updated_at)
SELECT 1 + floor(pg_temp.u(i, 30) ^ 1.3 * 100000)::int, 1 + floor(pg_temp.u(i, 31) ^ 1.5 * 220)::int,
       1 + floor(pg_temp.u(i, 32) * 160)::int, state, CASE WHEN pg_temp.u(i, 33) < 0.3 THEN 'Follow-up' END,
       starts, starts + interval '20 minutes',
       CASE WHEN state = 'done' THEN starts - interval '6 minutes' WHEN state = 'checked_in' THEN starts - interval '9 minutes' END,
       CASE WHEN state = 'cancelled' THEN starts - interval '1 day' END,
       starts - pg_temp.u(i, 35) * interval '60 days',
       least(starts + interval '15 minutes', '2025-06-30 12:00+00'::timestamptz - pg_temp.u(i, 35) * interval '20 days')
FROM (SELECT i, starts,
             CASE WHEN pg_temp.u(i, 36) < 0.05 THEN 'cancelled' WHEN starts > '2025-06-30 12:00+00' THEN 'booked'
                  WHEN starts > '2025-06-30 10:00+00' THEN 'checked_in' WHEN pg_temp.u(i, 36) < 0.07 THEN 'no_show'
                  ELSE 'done' END AS state
      FROM (SELECT i, date_trunc('hour', '2021-07-01 00:00+00'::timestamptz + i * interval '371 seconds')
                   + (i % 3) * interval '20 minutes' AS starts
            FROM generate_series(1, 350000) AS i) AS slots) AS made;

INSERT INTO reminders (appointment_id, channel, send_at, sent_at)
SELECT id, CASE WHEN id % 3 = 0 THEN 'sms' ELSE 'mail' END, starts_at - interval '1 day',
       CASE WHEN starts_at - interval '1 day' < '2025-06-30 11:58+00' THEN starts_at - interval '1 day' + interval '20 seconds' END
FROM appointments WHERE id > 190000 AND pg_temp.u(id, 37) < 0.8;

INSERT INTO waiting_list (patient_id, specialty, created_at, contacted_at)
SELECT 1 + i * 13 % 100000, (ARRAY['general', 'cardiology', 'dermatology', 'orthopedics', 'pediatrics'])[1 + i % 5],
       '2025-01-01 00:00+00'::timestamptz + i * interval '40 minutes',
       CASE WHEN i < 5500 THEN '2025-01-03 00:00+00'::timestamptz + i * interval '40 minutes' END
FROM generate_series(1, 6400) AS i;

INSERT INTO documents (patient_id, author_id, kind, title, body, data, labels, created_at, signed_at, deleted_at)
SELECT 1 + floor(pg_temp.u(i, 40) ^ 1.3 * 100000)::int, 1 + floor(pg_temp.u(i, 41) ^ 1.5 * 220)::int,
       (ARRAY['letter', 'letter', 'finding', 'finding', 'referral', 'image'])[1 + floor(pg_temp.u(i, 42) * 6)::int],
       'Report ' || pg_temp.word(i % 900, 6, 6),
       (SELECT string_agg('term' || floor(pg_temp.u(i * 20::bigint + k, 43) ^ 3 * 3000)::int, ' ') FROM generate_series(1, 12) AS k)
           || repeat(' and so on', 20),
       CASE WHEN pg_temp.u(i, 44) < 0.35 THEN jsonb_build_object('external_id', 'X' || i::bigint * 7919 % 1000003, 'source', 'fax')
            ELSE jsonb_build_object('source', 'app', 'icd', 'I' || floor(pg_temp.u(i, 45) ^ 3 * 1200)::int, 'pages', i % 7) END,
       ARRAY['label' || floor(pg_temp.u(i, 46) ^ 2 * 300)::int, 'year' || 2021 + i / 37500],
       '2021-07-01 00:00+00'::timestamptz + i * interval '841 seconds',
       CASE WHEN i < 148000 OR pg_temp.u(i, 47) < 0.4 THEN '2021-07-02 00:00+00'::timestamptz + i * interval '841 seconds' END,
       CASE WHEN pg_temp.u(i, 48) < 0.02 THEN '2025-05-01 00:00+00'::timestamptz END
FROM generate_series(1, 150000) AS i;

INSERT INTO lab_results (patient_id, code, value, is_abnormal, taken_at, acknowledged_at)
SELECT 1 + floor(pg_temp.u(i, 50) ^ 1.3 * 100000)::int, 'L' || floor(pg_temp.u(i, 51) ^ 2 * 120)::int,
       (pg_temp.u(i, 52) * 300)::numeric(10, 3), pg_temp.u(i, 53) < 0.06,
       '2021-07-01 00:00+00'::timestamptz + i * interval '420 seconds',
       CASE WHEN pg_temp.u(i, 53) < 0.06 AND i < 297000 THEN '2021-07-02 00:00+00'::timestamptz + i * interval '420 seconds' END
FROM generate_series(1, 300000) AS i;

INSERT INTO prescriptions (patient_id, practitioner_id, pharmacy_id, drug_code, status, issued_on, valid_until)
SELECT 1 + floor(pg_temp.u(i, 60) ^ 1.3 * 100000)::int, 1 + floor(pg_temp.u(i, 61) ^ 1.5 * 220)::int,
       CASE WHEN pg_temp.u(i, 62) < 0.85 THEN 1 + floor(pg_temp.u(i, 63) ^ 3 * 30000)::int END,
       'D' || lpad((1 + floor(pg_temp.u(i, 64) ^ 3 * 6000))::text, 6, '0'),
       CASE WHEN i > 243000 THEN 'open' WHEN pg_temp.u(i, 65) < 0.02 THEN 'expired' ELSE 'filled' END,
       '2021-07-01'::date + i / 171, '2021-09-29'::date + i / 171
FROM generate_series(1, 250000) AS i;

INSERT INTO invoices (number, patient_id, insurer_id, status, amount_cents, issued_on, due_on, paid_at)
SELECT 'I' || lpad(i::text, 9, '0'), 1 + floor(pg_temp.u(i, 70) ^ 1.3 * 100000)::int, 1 + floor(pg_temp.u(i, 71) ^ 3 * 60)::int,
       CASE WHEN i > 196000 AND pg_temp.u(i, 72) < 0.8 THEN 'sent' WHEN pg_temp.u(i, 72) < 0.006 THEN 'dunned' ELSE 'paid' END,
       1000 + floor(pg_temp.u(i, 73) ^ 3 * 90000)::int, '2021-07-01'::date + i / 137, '2021-07-31'::date + i / 137,
       CASE WHEN i <= 196000 THEN '2021-07-20 00:00+00'::timestamptz + i * interval '630 seconds' END
FROM generate_series(1, 200000) AS i;

INSERT INTO devices (serial, patient_id, status, firmware, last_seen_at)
SELECT 'SN' || lpad((i * 7919 % 99991)::text, 8, '0'), CASE WHEN i % 9 > 0 THEN 1 + i * 37 % 100000 END,
       CASE WHEN pg_temp.u(i, 80) < 0.9 THEN 'active' ELSE 'retired' END, '2.' || i % 6,
       '2025-06-30 12:00+00'::timestamptz - pg_temp.u(i, 81) ^ 8 * interval '90 days'
FROM generate_series(1, 2000) AS i;

INSERT INTO device_readings (device_id, metric, value, recorded_at)
SELECT 1 + floor(pg_temp.u(i, 82) ^ 1.5 * 2000)::int, floor(pg_temp.u(i, 83) ^ 2 * 6)::int, 40 + pg_temp.u(i, 84) ^ 2 * 140,
       '2025-06-13 12:00+00'::timestamptz + i * interval '1.62 seconds' + pg_temp.u(i, 85) * interval '5 seconds'
FROM generate_series(1, 900000) AS i;

INSERT INTO alerts (device_id, severity, message, raised_at, resolved_at)
SELECT 1 + floor(pg_temp.u(i, 86) ^ 2 * 2000)::int, 1 + floor(pg_temp.u(i, 87) ^ 3 * 4)::int, 'Value out of range ' || i % 50,
       '2024-01-01 00:00+00'::timestamptz + i * interval '787 seconds',
       CASE WHEN i < 59700 OR pg_temp.u(i, 88) < 0.3 THEN '2024-01-01 02:00+00'::timestamptz + i * interval '787 seconds' END
FROM generate_series(1, 60000) AS i;

INSERT INTO outbox (topic, payload, is_sent, created_at)
SELECT (ARRAY['appointment', 'appointment', 'document', 'invoice'])[1 + i % 4], jsonb_build_object('id', i * 11 % 300000),
       i < 149800, '2025-06-10 00:00+00'::timestamptz + i * interval '11.8 seconds'
FROM generate_series(1, 150000) AS i;

INSERT INTO access_log (patient_id, user_id, purpose, at)
SELECT 1 + floor(pg_temp.u(i, 90) ^ 1.3 * 100000)::int, 1 + floor(pg_temp.u(i, 91) ^ 2 * 500)::int,
       (ARRAY['treatment', 'treatment', 'billing', 'research'])[1 + floor(pg_temp.u(i, 92) * 4)::int],
       '2025-05-01 00:00+00'::timestamptz + i * interval '10.4 seconds'
FROM generate_series(1, 500000) AS i;

SET session_replication_role = origin;

ANALYZE;
