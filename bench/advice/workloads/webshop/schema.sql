-- A web shop as an ORM makes it: primary keys, the unique constraints that the business needs, foreign keys, no more.

CREATE TABLE settings (
    id serial PRIMARY KEY,
    name varchar(80) NOT NULL UNIQUE,
    value jsonb NOT NULL
);

CREATE TABLE warehouses (
    id serial PRIMARY KEY,
    name varchar(80) NOT NULL,
    country_code char(2) NOT NULL
);

CREATE TABLE categories (
    id serial PRIMARY KEY,
    parent_id integer REFERENCES categories (id),
    slug varchar(80) NOT NULL UNIQUE,
    name varchar(80) NOT NULL,
    position integer NOT NULL
);

CREATE TABLE brands (
    id serial PRIMARY KEY,
    name varchar(80) NOT NULL UNIQUE
);

CREATE TABLE users (
    id bigserial PRIMARY KEY,
    email varchar(255) NOT NULL UNIQUE,
    name varchar(120) NOT NULL,
    phone varchar(32),
    password varchar(128) NOT NULL,
    is_active boolean NOT NULL,
    is_staff boolean NOT NULL,
    newsletter boolean NOT NULL,
    referrer_id bigint REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    last_login_at timestamptz,
    deleted_at timestamptz
);

CREATE TABLE addresses (
    id bigserial PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind varchar(16) NOT NULL,
    is_default boolean NOT NULL,
    street varchar(120) NOT NULL,
    zip varchar(12) NOT NULL,
    city varchar(80) NOT NULL,
    country_code char(2) NOT NULL
);

CREATE TABLE products (
    id bigserial PRIMARY KEY,
    sku varchar(32) NOT NULL UNIQUE,
    slug varchar(160) NOT NULL UNIQUE,
    name varchar(160) NOT NULL,
    description text NOT NULL,
    category_id integer NOT NULL REFERENCES categories (id),
    brand_id integer NOT NULL REFERENCES brands (id),
    price_cents integer NOT NULL,
    stock integer NOT NULL,
    popularity integer NOT NULL,
    is_published boolean NOT NULL,
    attributes jsonb NOT NULL,
    tags varchar[] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);

CREATE TABLE product_images (
    id bigserial PRIMARY KEY,
    product_id bigint NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    position smallint NOT NULL,
    url varchar(255) NOT NULL
);

CREATE TABLE coupons (
    id serial PRIMARY KEY,
    code varchar(40) NOT NULL UNIQUE,
    percent smallint NOT NULL,
    used_count integer NOT NULL,
    valid_until timestamptz NOT NULL
);

CREATE TABLE carts (
    id bigserial PRIMARY KEY,
    user_id bigint REFERENCES users (id) ON DELETE CASCADE,
    session_key varchar(40),
    status varchar(16) NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE cart_items (
    id bigserial PRIMARY KEY,
    cart_id bigint NOT NULL REFERENCES carts (id) ON DELETE CASCADE,
    product_id bigint NOT NULL REFERENCES products (id),
    quantity integer NOT NULL,
    UNIQUE (cart_id, product_id)
);

CREATE TABLE wishlist_items (
    id bigserial PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    product_id bigint NOT NULL REFERENCES products (id),
    created_at timestamptz NOT NULL,
    UNIQUE (user_id, product_id)
);

CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    number varchar(20) NOT NULL UNIQUE,
    user_id bigint NOT NULL REFERENCES users (id),
    status varchar(16) NOT NULL,
    channel varchar(16) NOT NULL,
    currency char(3) NOT NULL,
    total_cents integer NOT NULL,
    coupon_id integer REFERENCES coupons (id),
    note text,
    placed_at timestamptz NOT NULL,
    shipped_at timestamptz,
    deleted_at timestamptz
);

CREATE TABLE order_items (
    id bigserial PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    product_id bigint NOT NULL REFERENCES products (id),
    quantity integer NOT NULL,
    price_cents integer NOT NULL,
    is_returned boolean NOT NULL
);

CREATE TABLE payments (
    id bigserial PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id),
    provider varchar(16) NOT NULL,
    provider_ref varchar(64) NOT NULL,
    status varchar(16) NOT NULL,
    amount_cents integer NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE reviews (
    id bigserial PRIMARY KEY,
    product_id bigint NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    user_id bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    rating smallint NOT NULL,
    status varchar(16) NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (product_id, user_id)
);

CREATE TABLE stock_movements (
    id bigserial PRIMARY KEY,
    product_id bigint NOT NULL REFERENCES products (id),
    warehouse_id integer NOT NULL REFERENCES warehouses (id),
    delta integer NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE sessions (
    session_key varchar(40) PRIMARY KEY,
    user_id bigint REFERENCES users (id) ON DELETE CASCADE,
    data text NOT NULL,
    expire_date timestamptz NOT NULL
);

CREATE TABLE jobs (
    id bigserial PRIMARY KEY,
    queue varchar(40) NOT NULL,
    status varchar(16) NOT NULL,
    priority smallint NOT NULL,
    attempts smallint NOT NULL,
    payload jsonb NOT NULL,
    run_at timestamptz NOT NULL,
    locked_at timestamptz,
    finished_at timestamptz
);

CREATE TABLE events (
    id bigserial PRIMARY KEY,
    occurred_at timestamptz NOT NULL,
    kind varchar(40) NOT NULL,
    user_id bigint,
    object_type varchar(20),
    object_id bigint,
    payload jsonb NOT NULL
);
