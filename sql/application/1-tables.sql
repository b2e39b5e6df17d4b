-- The sample application: a shop. Tables with the rules that one row can check;
-- keys between tables and secondary indexes follow in 3-keys.sql, after the rows are in.
create schema shop;
comment on schema shop is 'Sample application of the pgkeep sandbox';

create table shop.countries (
  code text primary key check (code ~ '^[A-Z]{2}$'),
  name text not null unique check (name <> ''),
  currency_code text not null check (currency_code ~ '^[A-Z]{3}$'),
  vat_percent numeric(4, 2) not null check (vat_percent between 0 and 50)
);
comment on table shop.countries is 'Countries that the shop delivers to; quiet after the load';

create table shop.customers (
  id bigint generated always as identity primary key,
  public_id uuid not null default gen_random_uuid() unique,
  email text not null check (email like '%_@_%' and length(email) <= 320),
  full_name text not null check (full_name <> ''),
  status text not null default 'active' check (status in ('active', 'blocked', 'closed')),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on table shop.customers is 'People who buy';

create table shop.addresses (
  id bigint generated always as identity primary key,
  customer_id bigint not null,
  country_code text not null,
  kind text not null check (kind in ('billing', 'shipping')),
  street text not null check (street <> ''),
  city text not null check (city <> ''),
  postal_code text not null check (length(postal_code) between 2 and 12),
  created_at timestamptz not null default now()
);
comment on table shop.addresses is 'Where customers live and receive; quiet after the load';

create table shop.categories (
  id bigint generated always as identity primary key,
  parent_id bigint check (parent_id <> id),
  slug text not null unique check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
  name text not null check (name <> '')
);
comment on table shop.categories is 'Tree of product categories; quiet after the load';

create table shop.products (
  id bigint generated always as identity primary key,
  category_id bigint not null,
  sku text not null unique check (sku ~ '^[A-Z]{2}-[0-9]{6}$'),
  name text not null check (name <> ''),
  description text not null,
  attributes jsonb not null default '{}' check (jsonb_typeof(attributes) = 'object'),
  is_listed boolean not null default true,
  created_at timestamptz not null default now()
);
comment on table shop.products is 'What is sold; quiet after the load';

create table shop.product_prices (
  product_id bigint not null,
  valid_from timestamptz not null,
  amount_cents bigint not null check (amount_cents > 0),
  primary key (product_id, valid_from)
);
comment on table shop.product_prices is 'Price history in euro cents: the newest row that has begun is the price; quiet after the load';

create table shop.warehouses (
  id bigint generated always as identity primary key,
  country_code text not null,
  code text not null unique check (code ~ '^[A-Z]{3}[0-9]$'),
  name text not null check (name <> '')
);
comment on table shop.warehouses is 'Where the stock lies; quiet after the load';

-- Updated by each order: free space on every page lets new versions stay on it, without index entries.
create table shop.stock (
  product_id bigint not null,
  warehouse_id bigint not null,
  quantity bigint not null check (quantity >= 0),
  updated_at timestamptz not null default now(),
  primary key (product_id, warehouse_id)
) with (fillfactor = 80);
comment on table shop.stock is 'Pieces of a product in a warehouse';

create table shop.carts (
  id uuid primary key default gen_random_uuid(),
  customer_id bigint not null,
  created_at timestamptz not null default now()
);
comment on table shop.carts is 'Baskets that have not become an order; removed when ordered or abandoned';

create table shop.cart_items (
  cart_id uuid not null,
  product_id bigint not null,
  quantity bigint not null check (quantity between 1 and 99),
  added_at timestamptz not null default now(),
  primary key (cart_id, product_id)
);
comment on table shop.cart_items is 'What lies in a basket';

create table shop.orders (
  id bigint generated always as identity primary key,
  customer_id bigint not null,
  shipping_address_id bigint not null,
  status text not null default 'placed' check (status in ('placed', 'paid', 'shipped', 'delivered', 'cancelled')),
  total_cents bigint not null check (total_cents >= 0),
  placed_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (updated_at >= placed_at)
) with (fillfactor = 90);
comment on table shop.orders is 'What was ordered, and how far it is';

create table shop.order_items (
  order_id bigint not null,
  line_number bigint not null check (line_number > 0),
  product_id bigint not null,
  quantity bigint not null check (quantity between 1 and 99),
  unit_price_cents bigint not null check (unit_price_cents > 0),
  primary key (order_id, line_number)
);
comment on table shop.order_items is 'Lines of an order, with the price at that time';

create table shop.payments (
  id bigint generated always as identity primary key,
  order_id bigint not null,
  method text not null check (method in ('card', 'transfer', 'invoice')),
  status text not null check (status in ('pending', 'captured', 'refunded', 'failed')),
  amount_cents bigint not null check (amount_cents >= 0),
  created_at timestamptz not null default now(),
  captured_at timestamptz check (captured_at >= created_at),
  check ((status in ('captured', 'refunded')) = (captured_at is not null))
) with (fillfactor = 90);
comment on table shop.payments is 'Money for orders';

create table shop.shipments (
  id bigint generated always as identity primary key,
  order_id bigint not null,
  warehouse_id bigint not null,
  tracking_code text not null unique check (tracking_code <> ''),
  shipped_at timestamptz not null default now(),
  delivered_at timestamptz check (delivered_at >= shipped_at)
);
comment on table shop.shipments is 'Parcels on their way';

create table shop.reviews (
  id bigint generated always as identity primary key,
  product_id bigint not null,
  customer_id bigint not null,
  rating smallint not null check (rating between 1 and 5),
  body text not null,
  created_at timestamptz not null default now()
);
comment on table shop.reviews is 'What customers say about products';

create table shop.events (
  occurred_at timestamptz not null default now(),
  id uuid not null default gen_random_uuid(),
  customer_id bigint,
  kind text not null check (kind in ('page-view', 'search', 'cart', 'checkout', 'login')),
  payload jsonb not null check (jsonb_typeof(payload) = 'object'),
  primary key (occurred_at, id)
) partition by range (occurred_at);
comment on table shop.events is 'What visitors did; a partition for each month, UTC';

-- Three months back (the load reaches 60 days), this one, and three ahead for the workload.
do $$
declare
  this_month timestamp := date_trunc('month', current_setting('pgkeep.as_of')::timestamptz at time zone 'UTC');
  first_day timestamp;
begin
  for months in -3 .. 3 loop
    first_day := this_month + make_interval(months => months);
    execute format(
      'create table shop.%I partition of shop.events for values from (%L) to (%L)',
      'events_' || to_char(first_day, 'YYYY_MM'),
      first_day at time zone 'UTC',
      (first_day + interval '1 month') at time zone 'UTC'
    );
  end loop;
end
$$;
