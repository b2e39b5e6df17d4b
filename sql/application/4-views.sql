create view shop.catalogue as
select p.id, p.sku, p.name, c.slug as category, p.attributes,
       (select amount_cents from shop.product_prices r
         where r.product_id = p.id and r.valid_from <= now()
         order by r.valid_from desc limit 1) as amount_cents,
       (select coalesce(sum(quantity), 0)::bigint from shop.stock s where s.product_id = p.id) as pieces
  from shop.products p
  join shop.categories c on c.id = p.category_id
 where p.is_listed;
comment on view shop.catalogue is 'Listed products with their price now and what is in stock';

create view shop.daily_revenue as
select (placed_at at time zone 'UTC')::date as day, count(*) as orders, sum(total_cents)::bigint as total_cents
  from shop.orders
 where status <> 'cancelled'
 group by 1;
comment on view shop.daily_revenue is 'Orders and their value by day, UTC';

-- From 15 on a view can check the rights of whoever reads it instead of its owner's.
do $$
begin
  if current_setting('server_version_num')::int >= 150000 then
    alter view shop.catalogue set (security_invoker = true);
    alter view shop.daily_revenue set (security_invoker = true);
  end if;
end
$$;
