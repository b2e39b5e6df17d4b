import type { Session } from "../../ports/databases.ts";
import type { Random } from "./random.ts";

/** How much there is to choose from; identities are 1 … count. */
export interface ShopSize {
  customers: number;
  products: number;
  warehouses: number;
}

/** Something that users of the shop do. It qualifies every name and leaves nothing on the session. */
export interface Operation {
  name: string;
  run(session: Session, random: Random, shop: ShopSize): Promise<void>;
}

export async function readShopSize(session: Session): Promise<ShopSize> {
  const [size] = await session.query<ShopSize>(
    `select (select max(id) from shop.customers) as customers, (select max(id) from shop.products) as products,
            (select max(id) from shop.warehouses) as warehouses`,
  );
  return {
    customers: size?.customers ?? 1,
    products: size?.products ?? 1,
    warehouses: size?.warehouses ?? 1,
  };
}

function someProducts(random: Random, shop: ShopSize): number[] {
  const chosen = new Set<number>();
  for (let lines = random.integer(1, 4); lines > 0; lines--) chosen.add(random.integer(1, shop.products));
  return [...chosen];
}

/** A fifth of the customers does four fifths of the shopping. */
function someCustomer(random: Random, shop: ShopSize): number {
  const regulars = Math.max(1, Math.floor(shop.customers / 5));
  return random.fraction() < 0.8 ? random.integer(1, regulars) : random.integer(1, shop.customers);
}

const placeOrder: Operation = {
  name: "place-order",
  run: async (session, random, shop) => {
    const products = someProducts(random, shop);
    const quantities = products.map(() => random.integer(1, 3));
    const warehouse = random.integer(1, shop.warehouses);
    await session.transaction(async () => {
      await session.query(
        `with wanted as (
           select w.product_id, w.quantity, w.line_number,
                  (select r.amount_cents from shop.product_prices r
                    where r.product_id = w.product_id and r.valid_from <= now()
                    order by r.valid_from desc limit 1) as amount_cents
             from unnest($2::bigint[], $3::bigint[]) with ordinality as w (product_id, quantity, line_number)
         ), new_order as (
           insert into shop.orders (customer_id, shipping_address_id, total_cents)
           select $1::bigint,
                  (select a.id from shop.addresses a where a.customer_id = $1 order by a.id limit 1),
                  (select sum(quantity * amount_cents)::bigint from wanted)
           returning id, total_cents
         ), lines as (
           insert into shop.order_items (order_id, line_number, product_id, quantity, unit_price_cents)
           select n.id, w.line_number, w.product_id, w.quantity, w.amount_cents from new_order n, wanted w
         )
         insert into shop.payments (order_id, method, status, amount_cents)
         select id, 'card', 'pending', total_cents from new_order`,
        [someCustomer(random, shop), products, quantities],
      );
      // In one order for everybody: two orders never wait for each other's stock in a circle.
      await session.query(
        `with locked as (
           select product_id from shop.stock
            where warehouse_id = $1 and product_id = any ($2::bigint[]) order by product_id for update
         )
         update shop.stock s set quantity = s.quantity - w.quantity, updated_at = now()
           from unnest($2::bigint[], $3::bigint[]) as w (product_id, quantity)
           join locked using (product_id)
          where s.warehouse_id = $1 and s.product_id = w.product_id and s.quantity >= w.quantity`,
        [warehouse, products, quantities],
      );
    });
  },
};

const payOrder: Operation = {
  name: "pay-order",
  run: async (session) => {
    await session.query(
      `with unpaid as (
         select id from shop.orders where status = 'placed' order by id limit 1 for update skip locked
       ), paid as (
         update shop.orders o set status = 'paid', updated_at = now() from unpaid u where o.id = u.id returning o.id
       )
       update shop.payments p set status = 'captured', captured_at = now()
         from paid where p.order_id = paid.id and p.status = 'pending'`,
    );
  },
};

const shipOrder: Operation = {
  name: "ship-order",
  run: async (session, random, shop) => {
    await session.query(
      `with packed as (
         select id from shop.orders where status = 'paid' and placed_at > now() - interval '7 days'
          order by placed_at limit 1 for update skip locked
       ), shipped as (
         update shop.orders o set status = 'shipped', updated_at = now() from packed p where o.id = p.id returning o.id
       )
       insert into shop.shipments (order_id, warehouse_id, tracking_code)
       select id, $1, 'PK' || lpad(id::text, 10, '0') from shipped`,
      [random.integer(1, shop.warehouses)],
    );
  },
};

const fillCart: Operation = {
  name: "fill-cart",
  run: async (session, random, shop) => {
    await session.query(
      `with cart as (insert into shop.carts (customer_id) values ($1) returning id)
       insert into shop.cart_items (cart_id, product_id, quantity)
       select cart.id, product_id, 1 from cart, unnest($2::bigint[]) as product_id`,
      [someCustomer(random, shop), someProducts(random, shop)],
    );
  },
};

const removeOldCarts: Operation = {
  name: "remove-old-carts",
  run: async (session) => {
    await session.query(
      `delete from shop.carts where id in
         (select id from shop.carts order by created_at limit 2 for update skip locked)`,
    );
  },
};

const restock: Operation = {
  name: "restock",
  run: async (session, random, shop) => {
    await session.query(
      `update shop.stock set quantity = quantity + 50, updated_at = now()
        where product_id = $1 and warehouse_id = $2 and quantity < 500`,
      [random.integer(1, shop.products), random.integer(1, shop.warehouses)],
    );
  },
};

const writeReview: Operation = {
  name: "write-review",
  run: async (session, random, shop) => {
    await session.query(
      `insert into shop.reviews (product_id, customer_id, rating, body) values ($1, $2, $3, 'As expected.')
       on conflict (product_id, customer_id) do update set rating = excluded.rating, created_at = now()`,
      [random.integer(1, shop.products), someCustomer(random, shop), random.integer(1, 5)],
    );
  },
};

const recordEvent: Operation = {
  name: "record-event",
  run: async (session, random, shop) => {
    await session.query("insert into shop.events (customer_id, kind, payload) values ($1, $2, $3)", [
      someCustomer(random, shop),
      random.pick(["page-view", "page-view", "search", "cart", "login"]),
      { path: `/products/${random.integer(1, shop.products)}`, milliseconds: random.integer(5, 900) },
    ]);
  },
};

export const writes: readonly [Operation, ...Operation[]] = [
  placeOrder,
  placeOrder,
  payOrder,
  payOrder,
  shipOrder,
  shipOrder,
  fillCart,
  fillCart,
  removeOldCarts,
  restock,
  writeReview,
  recordEvent,
  recordEvent,
];

/** One statement of one kind: what most reads and reports are. */
function statement(
  name: string,
  sql: string,
  values: (random: Random, shop: ShopSize) => unknown[] = () => [],
): Operation {
  return {
    name,
    run: async (session, random, shop) => {
      await session.query(sql, values(random, shop));
    },
  };
}

export const reads: readonly [Operation, ...Operation[]] = [
  statement("product-page", "select * from shop.catalogue where id = $1", (random, shop) => [
    random.integer(1, shop.products),
  ]),
  statement(
    "product-reviews",
    "select rating, body, created_at from shop.reviews where product_id = $1 limit 10",
    (random, shop) => [random.integer(1, shop.products)],
  ),
  statement(
    "category-page",
    "select id, sku, name from shop.products where category_id = $1 and is_listed order by name limit 20",
    (random) => [random.integer(7, 36)],
  ),
  statement(
    "log-in",
    "select id, full_name, status from shop.customers where lower(email) = $1",
    (random, shop) => [`customer${someCustomer(random, shop)}@example.com`],
  ),
  statement(
    "order-history",
    `select id, status, total_cents, placed_at from shop.orders
      where customer_id = $1 order by placed_at desc limit 10`,
    (random, shop) => [someCustomer(random, shop)],
  ),
  statement(
    "order-page",
    `select o.id, o.status, l.line_number, l.quantity, p.name, m.status as payment, s.tracking_code
       from shop.orders o
       join shop.order_items l on l.order_id = o.id
       join shop.products p on p.id = l.product_id
       left join shop.payments m on m.order_id = o.id
       left join shop.shipments s on s.order_id = o.id
      where o.id = $1 order by l.line_number`,
    (random, shop) => [random.integer(1, shop.customers * 2)],
  ),
  statement(
    "cart-page",
    `select c.id, i.product_id, i.quantity from shop.carts c join shop.cart_items i on i.cart_id = c.id
      where c.customer_id = $1`,
    (random, shop) => [someCustomer(random, shop)],
  ),
  statement(
    "visit-history",
    `select occurred_at, kind from shop.events
      where customer_id = $1 and occurred_at > now() - interval '30 days' order by occurred_at desc limit 20`,
    (random, shop) => [someCustomer(random, shop)],
  ),
];

export const reports: readonly [Operation, ...Operation[]] = [
  statement("revenue-by-day", "select * from shop.daily_revenue where day > current_date - 30 order by day"),
  statement(
    "best-sellers",
    `select p.name, sum(l.quantity) as pieces from shop.orders o
       join shop.order_items l on l.order_id = o.id join shop.products p on p.id = l.product_id
      where o.placed_at > now() - interval '30 days' and o.status <> 'cancelled'
      group by p.id order by pieces desc limit 20`,
  ),
  statement(
    "stock-by-warehouse",
    `select w.code, sum(s.quantity) as pieces, count(*) filter (where s.quantity < 50) as short
       from shop.stock s join shop.warehouses w on w.id = s.warehouse_id group by w.code order by w.code`,
  ),
  statement(
    "visits-by-kind",
    `select kind, count(*) as visits, avg((payload ->> 'milliseconds')::numeric) as milliseconds
       from shop.events where occurred_at > now() - interval '7 days' group by kind order by kind`,
  ),
];
