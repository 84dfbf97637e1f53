-- Deterministic and skewed: u(i, salt) is a hash in [0, 1), and its powers give the heavy tails. Now is 2025-06-30 12:00.

SET session_replication_role = replica;  -- the data obey the foreign keys by construction

CREATE FUNCTION pg_temp.u(i bigint, salt bigint) RETURNS double precision LANGUAGE sql IMMUTABLE AS
    $$ SELECT (hashint8extended(i, salt) & 4503599627370495) / 4503599627370496.0::double precision $$;

INSERT INTO settings (name, value)
SELECT 'shop.setting_' || i, jsonb_build_object('value', i) FROM generate_series(1, 40) AS i;

INSERT INTO warehouses (name, country_code)
SELECT 'Warehouse ' || i, (ARRAY['DE', 'FR', 'PL', 'NL', 'ES', 'IT'])[i] FROM generate_series(1, 6) AS i;

INSERT INTO categories (parent_id, slug, name, position)
SELECT CASE WHEN i > 12 THEN 1 + i % 12 END, 'category-' || i, 'Category ' || i, i % 12 FROM generate_series(1, 120) AS i;

INSERT INTO brands (name) SELECT 'Brand ' || i FROM generate_series(1, 300) AS i;

INSERT INTO users (email, name, phone, password, is_active, is_staff, newsletter, referrer_id, created_at, last_login_at,
                   deleted_at)
SELECT (ARRAY['Anna', 'ben', 'Carla', 'david', 'Eva', 'frank', 'Greta', 'hans'])[1 + i % 8] || '.'
           || (ARRAY['Meyer', 'smith', 'Rossi', 'nowak', 'Garcia', 'dupont', 'Jansen'])[1 + i % 7] || i
           || (ARRAY['@Example.com', '@mail.example', '@post.example'])[1 + i % 3],
       (ARRAY['Anna', 'Ben', 'Carla', 'David', 'Eva', 'Frank', 'Greta', 'Hans'])[1 + i % 8] || ' '
           || (ARRAY['Meyer', 'Smith', 'Rossi', 'Nowak', 'Garcia', 'Dupont', 'Jansen'])[1 + i % 7],
       CASE WHEN pg_temp.u(i, 1) < 0.4 THEN '+49170' || lpad((i * 7919 % 10000000)::text, 7, '0') END,
       'pbkdf2$' || md5(i::text),
       pg_temp.u(i, 2) < 0.96, i % 1500 = 0, pg_temp.u(i, 3) < 0.55,
       CASE WHEN i > 1000 AND pg_temp.u(i, 4) < 0.08 THEN 1 + floor(pg_temp.u(i, 5) ^ 2 * 1000)::int END,
       '2022-06-30 12:00+00'::timestamptz + i * interval '789 seconds',
       CASE WHEN pg_temp.u(i, 6) < 0.8
            THEN '2025-06-30 12:00+00'::timestamptz - pg_temp.u(i, 7) ^ 2 * interval '600 days' END,
       CASE WHEN pg_temp.u(i, 8) < 0.02
            THEN '2025-06-30 12:00+00'::timestamptz - pg_temp.u(i, 9) * interval '300 days' END
FROM generate_series(1, 120000) AS i;

INSERT INTO addresses (user_id, kind, is_default, street, zip, city, country_code)
SELECT 1 + floor(pg_temp.u(i, 10) * 120000)::int, CASE WHEN i % 3 = 0 THEN 'billing' ELSE 'shipping' END,
       pg_temp.u(i, 11) < 0.8, 'Street ' || i % 4000, lpad((i * 31 % 99999)::text, 5, '0'), 'City ' || i % 900,
       (ARRAY['DE', 'DE', 'DE', 'DE', 'FR', 'PL', 'NL'])[1 + i % 7]
FROM generate_series(1, 150000) AS i;

INSERT INTO products (sku, slug, name, description, category_id, brand_id, price_cents, stock, popularity, is_published,
                      attributes, tags, created_at, updated_at, deleted_at)
SELECT 'SKU-' || lpad(i::text, 8, '0'),
       'product-' || i || '-' || substr(md5(i::text), 1, 6),
       initcap((ARRAY['red', 'blue', 'light', 'sturdy', 'classic', 'modern', 'tiny', 'giant', 'oak', 'steel', 'silk'])
               [1 + floor(pg_temp.u(i, 20) * 11)::int]
           || ' ' || (ARRAY['lamp', 'chair', 'table', 'shelf', 'carpet', 'mirror', 'vase', 'desk', 'stool', 'frame',
                            'clock', 'basket', 'bench'])[1 + floor(pg_temp.u(i, 21) * 13)::int]
           || ' ' || substr(md5(i::text), 1, 4)),
       repeat('A fine thing for your home. ', 4 + i % 9),
       13 + floor(pg_temp.u(i, 22) ^ 2 * 108)::int, 1 + floor(pg_temp.u(i, 23) ^ 3 * 300)::int,
       500 + floor(pg_temp.u(i, 24) ^ 3 * 90000)::int,
       CASE WHEN pg_temp.u(i, 25) < 0.03 THEN floor(pg_temp.u(i, 26) * 5)::int ELSE 5 + floor(pg_temp.u(i, 26) * 400)::int END,
       floor(pg_temp.u(i, 27) ^ 6 * 100000)::int, pg_temp.u(i, 28) < 0.88,
       jsonb_build_object('color', (ARRAY['red', 'blue', 'black', 'white', 'green', 'oak'])[1 + floor(pg_temp.u(i, 29) * 6)::int],
                          'weight_g', i * 37 % 9000, 'model', 'M' || i * 7 % 2500, 'fragile', i % 9 = 0),
       ARRAY['tag' || floor(pg_temp.u(i, 30) ^ 3 * 400)::int, 'tag' || floor(pg_temp.u(i, 31) ^ 2 * 400)::int]::varchar[],
       '2022-06-30 12:00+00'::timestamptz + i * interval '4700 seconds',
       '2025-06-30 12:00+00'::timestamptz - pg_temp.u(i, 32) ^ 3 * interval '500 days',
       CASE WHEN pg_temp.u(i, 33) < 0.04 THEN '2025-05-01 00:00+00'::timestamptz END
FROM generate_series(1, 20000) AS i;

INSERT INTO product_images (product_id, position, url)
SELECT 1 + (i * 7919 % 20000), i % 5, 'https://images.example/' || md5(i::text) || '.jpg' FROM generate_series(1, 70000) AS i;

INSERT INTO coupons (code, percent, used_count, valid_until)
SELECT upper(substr(md5(i::text), 1, 9)), 5 + i % 4 * 5, floor(pg_temp.u(i, 40) ^ 6 * 900)::int,
       '2024-01-01 00:00+00'::timestamptz + i * interval '3 hours'
FROM generate_series(1, 5000) AS i;

INSERT INTO carts (user_id, session_key, status, created_at, updated_at)
SELECT CASE WHEN pg_temp.u(i, 50) < 0.6 THEN 1 + floor(pg_temp.u(i, 51) * 120000)::int END,
       CASE WHEN pg_temp.u(i, 50) >= 0.6 THEN md5('cart' || i) END,
       CASE WHEN pg_temp.u(i, 52) < 0.55 THEN 'ordered' WHEN pg_temp.u(i, 52) < 0.88 THEN 'abandoned' ELSE 'open' END,
       '2024-09-01 00:00+00'::timestamptz + i * interval '260 seconds',
       '2024-09-01 00:00+00'::timestamptz + i * interval '260 seconds' + pg_temp.u(i, 53) * interval '3 days'
FROM generate_series(1, 100000) AS i;

INSERT INTO cart_items (cart_id, product_id, quantity)
SELECT 1 + floor(pg_temp.u(i, 54) * 100000)::int, 1 + floor(pg_temp.u(i, 55) ^ 3 * 20000)::int, 1 + i % 3
FROM generate_series(1, 180000) AS i
ON CONFLICT DO NOTHING;

INSERT INTO wishlist_items (user_id, product_id, created_at)
SELECT 1 + floor(pg_temp.u(i, 56) ^ 2 * 120000)::int, 1 + floor(pg_temp.u(i, 57) ^ 3 * 20000)::int,
       '2023-01-01 00:00+00'::timestamptz + i * interval '1300 seconds'
FROM generate_series(1, 60000) AS i
ON CONFLICT DO NOTHING;

INSERT INTO orders (number, user_id, status, channel, currency, total_cents, coupon_id, note, placed_at, shipped_at, deleted_at)
SELECT 'R' || lpad(i::text, 9, '0'), 1 + floor(pg_temp.u(i, 60) ^ 2 * 120000)::int,
       CASE WHEN i > 397500 THEN (ARRAY['pending', 'paid', 'paid', 'packing', 'shipped', 'cancelled'])
                                 [1 + floor(pg_temp.u(i, 61) * 6)::int]
            WHEN pg_temp.u(i, 61) < 0.025 THEN 'cancelled' WHEN pg_temp.u(i, 61) < 0.031 THEN 'returned' ELSE 'delivered' END,
       CASE WHEN pg_temp.u(i, 62) < 0.7 THEN 'web' WHEN pg_temp.u(i, 62) < 0.98 THEN 'app' ELSE 'phone' END,
       CASE WHEN pg_temp.u(i, 63) < 0.95 THEN 'EUR' ELSE 'PLN' END,
       900 + floor(pg_temp.u(i, 64) ^ 3 * 200000)::int,
       CASE WHEN pg_temp.u(i, 65) < 0.07 THEN 1 + floor(pg_temp.u(i, 66) ^ 2 * 5000)::int END,
       CASE WHEN pg_temp.u(i, 67) < 0.05 THEN 'Please ring twice' END,
       '2022-07-01 00:00+00'::timestamptz + sqrt(i / 400000.0) * interval '1095 days',
       CASE WHEN i < 398000 THEN '2022-07-02 00:00+00'::timestamptz + sqrt(i / 400000.0) * interval '1095 days' END,
       CASE WHEN pg_temp.u(i, 68) < 0.005 THEN '2025-03-01 00:00+00'::timestamptz END
FROM generate_series(1, 400000) AS i;

INSERT INTO order_items (order_id, product_id, quantity, price_cents, is_returned)
SELECT i, 1 + floor(pg_temp.u(i * 4 + j, 70) ^ 3 * 20000)::int, 1 + (i + j) % 3,
       500 + floor(pg_temp.u(i * 4 + j, 71) ^ 3 * 90000)::int, pg_temp.u(i * 4 + j, 72) < 0.03
FROM generate_series(1, 400000) AS i, generate_series(0, 3) AS j
WHERE j <= floor(pg_temp.u(i, 73) ^ 2 * 4);

INSERT INTO payments (order_id, provider, provider_ref, status, amount_cents, created_at)
SELECT CASE WHEN i <= 400000 THEN i ELSE i - 400000 END,
       CASE WHEN pg_temp.u(i, 80) < 0.75 THEN 'stripe' ELSE 'paypal' END, 'pi_' || md5('payment' || i),
       CASE WHEN i BETWEEN 398800 AND 400000 THEN 'authorized' WHEN i > 400000 OR pg_temp.u(i, 81) < 0.015 THEN 'failed'
            WHEN pg_temp.u(i, 81) < 0.03 THEN 'refunded' ELSE 'captured' END,
       900 + floor(pg_temp.u(i, 64) ^ 3 * 200000)::int,
       '2022-07-01 00:00+00'::timestamptz + sqrt((CASE WHEN i <= 400000 THEN i ELSE i - 400000 END) / 400000.0) * interval '1095 days'
FROM generate_series(1, 415000) AS i;

INSERT INTO reviews (product_id, user_id, rating, status, body, created_at)
SELECT 1 + floor(pg_temp.u(i, 90) ^ 3 * 20000)::int, 1 + floor(pg_temp.u(i, 91) * 120000)::int,
       5 - floor(pg_temp.u(i, 92) ^ 3 * 5)::int,
       CASE WHEN i > 89400 THEN 'pending' WHEN pg_temp.u(i, 93) < 0.02 THEN 'rejected' ELSE 'approved' END,
       repeat('Quite good. ', 3 + i % 12), '2022-08-01 00:00+00'::timestamptz + i * interval '1020 seconds'
FROM generate_series(1, 90000) AS i
ON CONFLICT DO NOTHING;

INSERT INTO stock_movements (product_id, warehouse_id, delta, created_at)
SELECT 1 + floor(pg_temp.u(i, 94) ^ 2 * 20000)::int, 1 + floor(pg_temp.u(i, 95) ^ 2 * 6)::int, 20 - (i % 41),
       '2024-01-01 00:00+00'::timestamptz + i * interval '262 seconds'
FROM generate_series(1, 180000) AS i;

INSERT INTO sessions (session_key, user_id, data, expire_date)
SELECT md5('session' || i), CASE WHEN pg_temp.u(i, 96) < 0.45 THEN 1 + floor(pg_temp.u(i, 97) ^ 2 * 120000)::int END,
       repeat(md5(i::text), 2), '2025-06-16 00:00+00'::timestamptz + pg_temp.u(i, 98) * interval '29 days'
FROM generate_series(1, 150000) AS i;

INSERT INTO jobs (queue, status, priority, attempts, payload, run_at, locked_at, finished_at)
SELECT (ARRAY['mail', 'mail', 'mail', 'search', 'search', 'erp', 'images'])[1 + floor(pg_temp.u(i, 100) * 7)::int],
       CASE WHEN i > 249400 THEN 'queued' WHEN i > 249370 THEN 'running' WHEN pg_temp.u(i, 101) < 0.004 THEN 'failed'
            ELSE 'done' END,
       floor(pg_temp.u(i, 102) ^ 4 * 10)::int, 1, jsonb_build_object('object_id', i * 17 % 400000, 'kind', 'task' || i % 23),
       '2025-05-30 12:00+00'::timestamptz + i * interval '10.6 seconds',
       CASE WHEN i <= 249400 THEN '2025-05-30 12:00+00'::timestamptz + i * interval '10.6 seconds' + interval '3 seconds' END,
       CASE WHEN i <= 249370 THEN '2025-05-30 12:00+00'::timestamptz + i * interval '10.6 seconds' + interval '9 seconds' END
FROM generate_series(1, 250000) AS i;

INSERT INTO events (occurred_at, kind, user_id, object_type, object_id, payload)
SELECT '2025-06-01 12:00+00'::timestamptz + i * interval '4.1 seconds' + pg_temp.u(i, 110) * interval '3 seconds',
       (ARRAY['page.viewed', 'page.viewed', 'page.viewed', 'page.viewed', 'cart.changed', 'order.changed', 'product.changed',
              'user.login', 'search.made', 'page.viewed', 'page.viewed', 'page.viewed'])[1 + floor(pg_temp.u(i, 111) * 12)::int],
       CASE WHEN pg_temp.u(i, 112) < 0.6 THEN 1 + floor(pg_temp.u(i, 113) ^ 2 * 120000)::int END,
       CASE WHEN pg_temp.u(i, 114) < 0.5 THEN 'product' WHEN pg_temp.u(i, 114) < 0.62 THEN 'order' END,
       CASE WHEN pg_temp.u(i, 114) < 0.5 THEN 1 + floor(pg_temp.u(i, 115) ^ 3 * 20000)::int
            WHEN pg_temp.u(i, 114) < 0.62 THEN 340000 + floor(pg_temp.u(i, 115) * 60000)::int END,
       jsonb_build_object('path', '/p/' || i * 13 % 9000, 'ms', i * 7 % 900)
FROM generate_series(1, 600000) AS i;

SET session_replication_role = origin;

ANALYZE;
