-- Rows, made by the server from their numbers: the same scale and time give the same rows on every
-- version. `hashint8extended(i, n) & 9223372036854775807` is a pseudo-random number without a sign for
-- row i, another one for each n. Parents' numbers are 1 … count because identities begin there.

insert into shop.countries (code, name, currency_code, vat_percent) values
  ('AT', 'Austria', 'EUR', 20), ('BE', 'Belgium', 'EUR', 21), ('CH', 'Switzerland', 'CHF', 8.1),
  ('CZ', 'Czechia', 'CZK', 21), ('DE', 'Germany', 'EUR', 19), ('DK', 'Denmark', 'DKK', 25),
  ('ES', 'Spain', 'EUR', 21), ('FI', 'Finland', 'EUR', 25.5), ('FR', 'France', 'EUR', 20),
  ('GB', 'United Kingdom', 'GBP', 20), ('GR', 'Greece', 'EUR', 24), ('HU', 'Hungary', 'HUF', 27),
  ('IE', 'Ireland', 'EUR', 23), ('IT', 'Italy', 'EUR', 22), ('LU', 'Luxembourg', 'EUR', 17),
  ('NL', 'Netherlands', 'EUR', 21), ('NO', 'Norway', 'NOK', 25), ('PL', 'Poland', 'PLN', 23),
  ('PT', 'Portugal', 'EUR', 23), ('SE', 'Sweden', 'SEK', 25);

insert into shop.warehouses (country_code, code, name)
select code, case code when 'DE' then 'BER' when 'NL' then 'RTM' when 'PL' then 'WAW' else 'MRS' end || '1',
       'Warehouse ' || name
  from shop.countries where code in ('DE', 'NL', 'PL', 'FR') order by code;

insert into shop.categories (parent_id, slug, name)
select null, 'department-' || i, 'Department ' || i from generate_series(1, 6) i order by i;
insert into shop.categories (parent_id, slug, name)
select 1 + (i - 1) % 6, 'range-' || i, 'Range ' || i from generate_series(1, 30) i order by i;

with size as (select ceil(500 * current_setting('pgkeep.scale')::numeric)::bigint as products)
insert into shop.products (category_id, sku, name, description, attributes, is_listed, created_at)
select 7 + h1 % 30, 'SH-' || lpad(i::text, 6, '0'), 'Product ' || i,
       'Made of ' || (array['oak', 'steel', 'linen', 'glass', 'cork'])[1 + h2 % 5] || '. '
         || repeat('Keeps what it promises. ', 3 + (h2 % 7)::int),
       jsonb_build_object('colour', (array['red', 'blue', 'green', 'black'])[1 + h1 % 4], 'grams', 50 + h2 % 9000),
       h2 % 20 <> 0,
       as_of - make_interval(days => 400 + (h1 % 300)::int)
  from size, generate_series(1, size.products) i,
       lateral (select hashint8extended(i, 11) & 9223372036854775807 as h1,
                       hashint8extended(i, 12) & 9223372036854775807 as h2,
                       current_setting('pgkeep.as_of')::timestamptz as as_of) row
 order by i;

insert into shop.product_prices (product_id, valid_from, amount_cents)
select p.id, p.created_at + make_interval(days => change * 150),
       199 + (hashint8extended(p.id, 21) & 9223372036854775807) % 20000 + change * 50
  from shop.products p, generate_series(0, 2) change
 order by p.id, change;

insert into shop.stock (product_id, warehouse_id, quantity, updated_at)
select p.id, w.id, 200 + (hashint8extended(p.id * 10 + w.id, 31) & 9223372036854775807) % 800,
       current_setting('pgkeep.as_of')::timestamptz
  from shop.products p, shop.warehouses w
 order by p.id, w.id;

with size as (select ceil(2000 * current_setting('pgkeep.scale')::numeric)::bigint as customers)
insert into shop.customers (public_id, email, full_name, status, created_at, updated_at)
select md5('customer ' || i)::uuid, 'customer' || i || '@example.com',
       (array['Ada', 'Björn', 'Chloé', 'Dmitri', 'Elif', 'Fátima', 'Giorgos'])[1 + h1 % 7] || ' '
         || (array['Nowak', 'Müller', 'O''Brien', 'Dubois', 'Rossi', 'Jansen'])[1 + h2 % 6],
       case when h1 % 50 = 0 then 'blocked' when h1 % 50 = 1 then 'closed' else 'active' end,
       since, since
  from size, generate_series(1, size.customers) i,
       lateral (select hashint8extended(i, 41) & 9223372036854775807 as h1,
                       hashint8extended(i, 42) & 9223372036854775807 as h2,
                       current_setting('pgkeep.as_of')::timestamptz - interval '400 days'
                         + make_interval(mins => (i % 400000)::int) as since) row
 order by i;

-- One shipping address for each customer, with the customer's number; billing addresses for every second.
insert into shop.addresses (customer_id, country_code, kind, street, city, postal_code, created_at)
select c.id, (array['AT', 'BE', 'DE', 'ES', 'FR', 'IT', 'NL', 'PL', 'SE'])[1 + h1 % 9], kind,
       'Long Street ' || 1 + h1 % 200, 'Town ' || h1 % 90, lpad((h1 % 99999)::text, 5, '0'), c.created_at
  from (values (1, 'shipping'), (2, 'billing')) kinds (rank, kind)
  join shop.customers c on rank = 1 or c.id % 2 = 0,
       lateral (select hashint8extended(c.id, 50 + rank) & 9223372036854775807 as h1) row
 order by rank, c.id;

with size as (select count(*) as customers from shop.customers)
insert into shop.carts (id, customer_id, created_at)
select md5('cart ' || i)::uuid, 1 + (hashint8extended(i, 61) & 9223372036854775807) % size.customers,
       current_setting('pgkeep.as_of')::timestamptz - make_interval(mins => i::int * 7)
  from size, generate_series(1, size.customers / 4) i
 order by i;

with size as (select count(*) as products from shop.products)
insert into shop.cart_items (cart_id, product_id, quantity, added_at)
select c.id, 1 + (first + line * 7) % size.products, line, c.created_at
  from size, shop.carts c, generate_series(1, 3) line,
       lateral (select hashtext(c.id::text)::bigint & 1048575 as first) row
 order by c.created_at, c.id, line
on conflict do nothing;

-- Two orders a customer over the last 350 days, oldest first; the newest hundredth is still unpaid.
-- Orders and lines come from one set of lines, so that the totals are right without a second write.
with size as (
  select (select count(*) from shop.customers) as customers,
         (select count(*) from shop.products) as products,
         current_setting('pgkeep.as_of')::timestamptz as as_of
), prices as (
  select distinct on (product_id) product_id, amount_cents
    from shop.product_prices, size where valid_from <= as_of
   order by product_id, valid_from desc
), lines as materialized (
  select i as order_id, line as line_number, p.product_id, 1 + h1 / 1000 % 4 as quantity, p.amount_cents
    from size
   cross join generate_series(1, size.customers * 2) i
   cross join lateral generate_series(1, 1 + (hashint8extended(i, 81) & 3)) line
   cross join lateral (select hashint8extended(i * 8 + line, 82) & 9223372036854775807 as h1) row
    join prices p on p.product_id = 1 + h1 % size.products
), totals as (
  select order_id as i, sum(quantity * amount_cents)::bigint as total_cents from lines group by order_id
), orders as (
  insert into shop.orders (customer_id, shipping_address_id, status, total_cents, placed_at, updated_at)
  select customer, customer,
         case when i > size.customers * 1.98 then 'placed'
              when h2 % 25 = 0 then 'cancelled'
              when h2 % 25 < 4 then 'paid'
              when h2 % 25 < 8 then 'shipped'
              else 'delivered' end,
         total_cents, placed, placed + interval '30 minutes'
    from size, totals,
         lateral (select 1 + (hashint8extended(i, 83) & 9223372036854775807) % size.customers as customer,
                         hashint8extended(i, 84) & 9223372036854775807 as h2,
                         as_of - interval '31 minutes'
                           - (size.customers * 2 - i) * (interval '350 days' / (size.customers * 2)) as placed) row
   order by i
)
insert into shop.order_items (order_id, line_number, product_id, quantity, unit_price_cents)
select order_id, line_number, product_id, quantity, amount_cents from lines order by order_id, line_number;

insert into shop.payments (order_id, method, status, amount_cents, created_at, captured_at)
select id, (array['card', 'transfer', 'invoice'])[1 + (hashint8extended(id, 91) & 9223372036854775807) % 3],
       case status when 'placed' then 'pending' when 'cancelled' then 'failed' else 'captured' end,
       total_cents, placed_at,
       case when status not in ('placed', 'cancelled') then placed_at + interval '10 minutes' end
  from shop.orders order by id;

insert into shop.shipments (order_id, warehouse_id, tracking_code, shipped_at, delivered_at)
select id, 1 + (hashint8extended(id, 101) & 9223372036854775807) % 4, 'PK' || lpad(id::text, 10, '0'),
       placed_at + interval '20 minutes', case when status = 'delivered' then placed_at + interval '30 minutes' end
  from shop.orders where status in ('shipped', 'delivered') order by id;

insert into shop.reviews (product_id, customer_id, rating, body, created_at)
select product_id, customer_id, 1 + (hashint8extended(order_id, 111) & 9223372036854775807) % 5,
       repeat('As expected. ', 1 + (hashint8extended(order_id, 112) & 7)::int), reviewed_at
  from (select l.product_id, o.customer_id, min(o.id) as order_id, min(o.updated_at) as reviewed_at
          from shop.orders o join shop.order_items l on l.order_id = o.id and l.line_number = 1
         where o.status = 'delivered' and hashint8extended(o.id, 113) & 1 = 0
         group by l.product_id, o.customer_id) bought
 order by order_id;

with size as (select count(*) as customers, current_setting('pgkeep.as_of')::timestamptz as as_of from shop.customers)
insert into shop.events (occurred_at, id, customer_id, kind, payload)
select as_of - i * (interval '60 days' / (size.customers * 4)), md5('event ' || i)::uuid,
       case when h1 % 3 > 0 then 1 + h1 % size.customers end,
       (array['page-view', 'page-view', 'page-view', 'search', 'cart', 'checkout', 'login'])[1 + h1 % 7],
       jsonb_build_object('path', '/products/' || 1 + h1 % 500, 'milliseconds', h1 % 900)
  from size, generate_series(1, size.customers * 4) i,
       lateral (select hashint8extended(i, 121) & 9223372036854775807 as h1) row
 order by i desc;
