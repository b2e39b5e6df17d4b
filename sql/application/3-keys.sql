-- Keys between tables, each with an index that its checks can use, and the indexes that the workload's
-- queries use. Made after the rows: one pass for each key instead of one probe for each row.
create unique index customers_email_key on shop.customers (lower(email));
create unique index reviews_product_customer_key on shop.reviews (product_id, customer_id);

create index addresses_customer_idx on shop.addresses (customer_id);
create index addresses_country_idx on shop.addresses (country_code);
create index categories_parent_idx on shop.categories (parent_id);
create index products_category_idx on shop.products (category_id);
create index warehouses_country_idx on shop.warehouses (country_code);
create index stock_warehouse_idx on shop.stock (warehouse_id);
create index carts_customer_idx on shop.carts (customer_id);
create index carts_created_idx on shop.carts (created_at);
create index cart_items_product_idx on shop.cart_items (product_id);
create index orders_customer_idx on shop.orders (customer_id, placed_at desc);
create index orders_address_idx on shop.orders (shipping_address_id);
create index orders_placed_idx on shop.orders (placed_at);
create index orders_unpaid_idx on shop.orders (id) where status = 'placed';
create index order_items_product_idx on shop.order_items (product_id);
create index payments_order_idx on shop.payments (order_id);
create index shipments_order_idx on shop.shipments (order_id);
create index shipments_warehouse_idx on shop.shipments (warehouse_id);
create index reviews_customer_idx on shop.reviews (customer_id);
create index events_customer_idx on shop.events (customer_id, occurred_at desc);

alter table shop.addresses
  add foreign key (customer_id) references shop.customers (id),
  add foreign key (country_code) references shop.countries (code);
alter table shop.categories add foreign key (parent_id) references shop.categories (id);
alter table shop.products add foreign key (category_id) references shop.categories (id);
alter table shop.product_prices add foreign key (product_id) references shop.products (id);
alter table shop.warehouses add foreign key (country_code) references shop.countries (code);
alter table shop.stock
  add foreign key (product_id) references shop.products (id),
  add foreign key (warehouse_id) references shop.warehouses (id);
alter table shop.carts add foreign key (customer_id) references shop.customers (id);
alter table shop.cart_items
  add foreign key (cart_id) references shop.carts (id) on delete cascade,
  add foreign key (product_id) references shop.products (id);
alter table shop.orders
  add foreign key (customer_id) references shop.customers (id),
  add foreign key (shipping_address_id) references shop.addresses (id);
alter table shop.order_items
  add foreign key (order_id) references shop.orders (id),
  add foreign key (product_id) references shop.products (id);
alter table shop.payments add foreign key (order_id) references shop.orders (id);
alter table shop.shipments
  add foreign key (order_id) references shop.orders (id),
  add foreign key (warehouse_id) references shop.warehouses (id);
alter table shop.reviews
  add foreign key (product_id) references shop.products (id),
  add foreign key (customer_id) references shop.customers (id);
alter table shop.events add foreign key (customer_id) references shop.customers (id);
