import { beforeAll, describe, expect, it } from "vitest";
import { loadParser, parseStatement, readableBytes } from "../../../lib/checks/workload/parse.ts";
import { nameOfShape, originOf, shapeOf } from "../../../lib/checks/workload/text.ts";

beforeAll(() => loadParser());

const parsed = (text: string) => {
  const facts = parseStatement(text);
  if (facts === undefined) throw new Error(`not parsed: ${text}`);
  return facts;
};
const predicates = (text: string) => parsed(text).scopes.flatMap((scope) => scope.predicates);

describe("what a statement's text tells", () => {
  it("names tables with their schemas, and takes names of WITH queries for none", () => {
    const facts = parsed(
      `with recent as (select * from "my.shop"."Or""ders" where id > $1), one as (delete from gone returning *)
       select * from recent r join public.items i on i.order_id = r.id, lateral (select 1 from inner_one) x`,
    );
    const tables = facts.scopes.flatMap(({ relations }) => relations.flatMap(({ table }) => table ?? []));
    expect(tables).toEqual([
      { schema: "my.shop", name: 'Or"ders' },
      { name: "gone" },
      { schema: "public", name: "items" },
      { name: "inner_one" },
    ]);
    expect(facts).toMatchObject({ kind: "select", writesInside: true, locksRows: false });
  });

  it.each([
    ["a = $1", { column: { name: "a" }, operator: "=", other: "value" }],
    ["$1 > t.a", { column: { qualifier: "t", name: "a" }, operator: "<", other: "value" }],
    ["a in ($1 /*, ... */)", { operator: "in", other: "value" }],
    ["a = any($1)", { operator: "any", other: "value" }],
    ["a between $1 and $2", { operator: "between", other: "value" }],
    ["a is null", { operator: "is null" }],
    ["a = $1::numeric", { operator: "=", other: "value", otherType: "numeric" }],
    ["a > now() - interval $1", { operator: ">", other: "value" }],
    ["lower(a) = $1", { wrap: { kind: "function", name: "lower", alone: true } }],
    ["date_trunc($1, a) = $2", { wrap: { kind: "function", name: "date_trunc", alone: false } }],
    ["coalesce(a, $1) = $2", { wrap: { kind: "function", name: "coalesce" } }],
    ["a::date = $1", { wrap: { kind: "cast", name: "date", alone: true } }],
    ["cast(a as text) = $1", { wrap: { kind: "cast", name: "text" } }],
    ["a + $1 < $2", { operator: "<", wrap: { kind: "operator", name: "+" } }],
    ["a ->> $1 = $2", { operator: "=", wrap: { kind: "json", name: "->>" } }],
    ["(a #>> $1)::int > $2", { operator: ">", wrap: { kind: "json", name: "#>>" } }],
    ["lower(a ->> $1) = $2", { wrap: { kind: "json", name: "->>" } }],
    ["a[$1] = $2", { wrap: { kind: "json", name: "[]" } }],
    ["a @> $1", { operator: "@>", other: "value" }],
    ["jsonb_path_exists(a, $1)", { operator: "@?", wrap: { kind: "json" } }],
    ["a like $1", { operator: "~~", pattern: "unknown" }],
    ["a ilike $1 || $2 || $3", { operator: "~~*", pattern: "unknown" }],
    ["a like '%x' escape '!'", { operator: "~~", pattern: "leading-wildcard" }],
    ["a like 'x%'", { operator: "~~", pattern: "fixed-start" }],
    ["a in (select b from u)", { operator: "in", other: "subquery" }],
  ])("reads the condition %s", (condition, expected) => {
    expect(predicates(`select a from t where ${condition} and true`)).toMatchObject([expected]);
  });

  it("takes neither side of OR for a condition that all rows meet", () => {
    expect(predicates("select a from t where (a = $1 or b = $2) and not c = $3")).toEqual([]);
  });

  it("reads limits, stars, order, aggregates and levels", () => {
    const [outer, inner] = parsed(
      `select o.*, exists (select 1 from items i where i.order_id = o.id) from orders o where o.a = $1
        order by o.b desc, o.c nulls first limit $2 offset $3`,
    ).scopes;
    expect(outer).toMatchObject({
      role: "result",
      limit: true,
      offset: true,
      stars: [{ qualifier: "o" }],
      orderBy: [
        { column: { name: "b" }, descending: true, nullsFirst: null },
        { column: { name: "c" }, descending: false, nullsFirst: true },
      ],
    });
    expect(inner).toMatchObject({ role: "test", parent: 0, limit: false });
    expect(parsed("select count(*) from t").scopes[0]).toMatchObject({ aggregated: true, stars: [] });
    expect(parsed("select max(a) over () from t").scopes[0]?.aggregated).toBe(false);
    expect(parsed("select a from t union all select b from u limit $1").scopes).toMatchObject([
      { limit: true },
      { limit: true },
    ]);
  });

  it("reads what is written", () => {
    expect(parsed("insert into s.t (a) values ($1), ($2)")).toMatchObject({
      kind: "insert",
      insertedRows: 2,
      target: { schema: "s", name: "t" },
    });
    expect(parsed("insert into t select a from u")).not.toHaveProperty("insertedRows");
    expect(parsed("update t set a = $1, b = b + 1 where id = $2")).toMatchObject({
      kind: "update",
      assigned: ["a", "b"],
    });
    expect(parsed("select 1 from t for update")).toMatchObject({ locksRows: true });
    expect(parsed("vacuum t").kind).toBe("other");
  });

  it("sees constants that pg_stat_statements has turned into something no server reads", () => {
    expect(
      parsed("select now() - interval $1, extract($2 from a), $3::date from t").unreadable,
    ).toMatchObject([
      { kind: "typed", parameter: 1 },
      { kind: "extract", parameter: 2 },
    ]);
  });

  it("gives up on what it cannot read, and reads on", () => {
    const nested = `select ${"(".repeat(3_900)}1${")".repeat(3_900)}`;
    for (const text of [
      "",
      "-- nothing",
      "select 'cut",
      "selec 1",
      "select 1; drop table x",
      "select 'a\uFFFD'",
      "select 'a\0b'",
      `select ${"1+(".repeat(2_700)}`,
      `select ${"x".repeat(readableBytes)}`,
    ]) {
      expect(parseStatement(text), text.slice(0, 40)).toBeUndefined();
    }
    parseStatement(nested);
    expect(parsed("select 1").kind).toBe("select");
  });
});

describe("names and origins of statements", () => {
  it("has one name for statements that differ in lists, numbers, comments and white space only", () => {
    const name = (text: string) => nameOfShape(shapeOf(text).shape);
    const one = name("select a from t where b in ($1)  and c = $2 /* x */");
    expect(name("select a from t\nwhere b in ($3, $4,$5) and c = $1 -- y")).toBe(one);
    expect(name("select a from t where b in ($1 /*, ... */) and c = $2")).toBe(one);
    expect(name("select a from t where b in ($1) and d = $2")).not.toBe(one);
    expect(name("insert into t values ($1, $2), ($3, $4)")).toBe(name("insert into t values ($1,$2)"));
    expect(name('select "a/*b*/" from t')).not.toBe(name('select "a" from t'));
  });

  it.each([
    [
      "controller='orders',action='show%20all',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a'",
      "controller=orders action=show all",
    ],
    [
      "application:Shop,controller:orders,line:/app/models/order.rb:12:in `total'",
      "application=Shop controller=orders line=/app/models/order.rb:12:in `total'",
    ],
    ["route='/orders/\\'x\\''", "route=/orders/'x'"],
    ["file='a%ZZ\u001b[31m'", "file=a%ZZ [31m"],
    [", ... ", undefined],
    ["user_id=42,email='x@example.com'", undefined],
  ])("reads where %s comes from, and no data", (comment, expected) => {
    expect(originOf([comment])).toBe(expected);
  });
});
