-- Practices that share a back end: bookings, papers, laboratory, and devices that patients wear at home.

CREATE TABLE practitioners (
    id serial PRIMARY KEY,
    name varchar(120) NOT NULL,
    specialty varchar(40) NOT NULL,
    is_bookable boolean NOT NULL
);

CREATE TABLE rooms (
    id serial PRIMARY KEY,
    name varchar(40) NOT NULL UNIQUE,
    equipment text[] NOT NULL
);

CREATE TABLE insurers (
    id serial PRIMARY KEY,
    name varchar(120) NOT NULL UNIQUE
);

CREATE TABLE drugs (
    code varchar(12) PRIMARY KEY,
    name varchar(120) NOT NULL,
    ingredients text[] NOT NULL
);

CREATE TABLE pharmacies (
    id serial PRIMARY KEY,
    name varchar(120) NOT NULL,
    city varchar(80) NOT NULL,
    lat double precision NOT NULL,
    lon double precision NOT NULL,
    is_open boolean NOT NULL
);

CREATE TABLE patients (
    id bigserial PRIMARY KEY,
    insurance_no varchar(16) NOT NULL UNIQUE,
    insurer_id integer NOT NULL REFERENCES insurers (id),
    first_name varchar(60) NOT NULL,
    last_name varchar(60) NOT NULL,
    birth_date date NOT NULL,
    gender char(1) NOT NULL,
    phone varchar(32),
    mobile varchar(32),
    is_active boolean NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE accounts (
    id bigserial PRIMARY KEY,
    patient_id bigint UNIQUE REFERENCES patients (id) ON DELETE CASCADE,
    email varchar(254) NOT NULL UNIQUE,
    password varchar(128) NOT NULL,
    last_login_at timestamptz
);

CREATE TABLE consents (
    patient_id bigint NOT NULL REFERENCES patients (id) ON DELETE CASCADE,
    kind varchar(24) NOT NULL,
    given_at timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (patient_id, kind)
);

CREATE TABLE shifts (
    id bigserial PRIMARY KEY,
    practitioner_id integer NOT NULL REFERENCES practitioners (id),
    room_id integer NOT NULL REFERENCES rooms (id),
    period tstzrange NOT NULL
);

CREATE TABLE appointments (
    id bigserial PRIMARY KEY,
    patient_id bigint NOT NULL REFERENCES patients (id),
    practitioner_id integer NOT NULL REFERENCES practitioners (id),
    room_id integer REFERENCES rooms (id),
    status varchar(16) NOT NULL,
    reason text,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    checked_in_at timestamptz,
    cancelled_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE reminders (
    id bigserial PRIMARY KEY,
    appointment_id bigint NOT NULL REFERENCES appointments (id) ON DELETE CASCADE,
    channel varchar(8) NOT NULL,
    send_at timestamptz NOT NULL,
    sent_at timestamptz
);

CREATE TABLE waiting_list (
    id serial PRIMARY KEY,
    patient_id bigint NOT NULL REFERENCES patients (id) ON DELETE CASCADE,
    specialty varchar(40) NOT NULL,
    created_at timestamptz NOT NULL,
    contacted_at timestamptz
);

CREATE TABLE documents (
    id bigserial PRIMARY KEY,
    patient_id bigint NOT NULL REFERENCES patients (id),
    author_id integer NOT NULL REFERENCES practitioners (id),
    kind varchar(24) NOT NULL,
    title varchar(160) NOT NULL,
    body text NOT NULL,
    data jsonb NOT NULL,
    labels text[] NOT NULL,
    words tsvector GENERATED ALWAYS AS (to_tsvector('simple', title || ' ' || body)) STORED,
    created_at timestamptz NOT NULL,
    signed_at timestamptz,
    deleted_at timestamptz
);

CREATE TABLE lab_results (
    id bigserial PRIMARY KEY,
    patient_id bigint NOT NULL REFERENCES patients (id),
    code varchar(12) NOT NULL,
    value numeric(10, 3) NOT NULL,
    is_abnormal boolean NOT NULL,
    taken_at timestamptz NOT NULL,
    acknowledged_at timestamptz
);

CREATE TABLE prescriptions (
    id bigserial PRIMARY KEY,
    patient_id bigint NOT NULL REFERENCES patients (id),
    practitioner_id integer NOT NULL REFERENCES practitioners (id),
    pharmacy_id integer REFERENCES pharmacies (id),
    drug_code varchar(12) NOT NULL REFERENCES drugs (code),
    status varchar(12) NOT NULL,
    issued_on date NOT NULL,
    valid_until date NOT NULL
);

CREATE TABLE invoices (
    id bigserial PRIMARY KEY,
    number varchar(20) NOT NULL UNIQUE,
    patient_id bigint NOT NULL REFERENCES patients (id),
    insurer_id integer NOT NULL REFERENCES insurers (id),
    status varchar(12) NOT NULL,
    amount_cents integer NOT NULL,
    issued_on date NOT NULL,
    due_on date NOT NULL,
    paid_at timestamptz
);

CREATE TABLE devices (
    id serial PRIMARY KEY,
    serial varchar(24) NOT NULL UNIQUE,
    patient_id bigint REFERENCES patients (id) ON DELETE SET NULL,
    status varchar(12) NOT NULL,
    firmware varchar(12) NOT NULL,
    last_seen_at timestamptz
);

CREATE TABLE device_readings (
    id bigserial PRIMARY KEY,
    device_id integer NOT NULL REFERENCES devices (id),
    metric smallint NOT NULL,
    value real NOT NULL,
    recorded_at timestamptz NOT NULL
);

CREATE TABLE alerts (
    id bigserial PRIMARY KEY,
    device_id integer NOT NULL REFERENCES devices (id),
    severity smallint NOT NULL,
    message varchar(160) NOT NULL,
    raised_at timestamptz NOT NULL,
    resolved_at timestamptz
);

CREATE TABLE outbox (
    id bigserial PRIMARY KEY,
    topic varchar(40) NOT NULL,
    payload jsonb NOT NULL,
    is_sent boolean NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE access_log (
    id bigserial PRIMARY KEY,
    patient_id bigint NOT NULL,
    user_id integer NOT NULL,
    purpose varchar(24) NOT NULL,
    at timestamptz NOT NULL
);
