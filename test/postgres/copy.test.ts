import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { expect, it } from "vitest";
import { useServer } from "../helpers/postgres.ts";

const server = useServer();

it("moves rows of any size from one server to another, as many as there are", async () => {
  const database = await server.createDatabase();
  const [from, to] = [await server.connect(database), await server.connect(database)];
  // Rows smaller and larger than a block, and lines that look like the end of the data.
  await from.query("create table public.a (n int, text text)");
  await from.query("create table public.b (n int, text text)");
  await from.query("insert into public.a select n, repeat('x', n % 50) from generate_series(1, 50000) n");
  await from.query(
    "insert into public.a values (0, repeat('größe', 500000)), (-1, E'\\\\.\\n\\\\.'), (-2, null)",
  );
  const copy = to.copyIn("copy public.b from stdin");
  await pipeline(from.copyOut("copy public.a to stdout"), copy);
  expect(copy.rows).toBe(50_003);
  const [different] = await from.query(
    "select count(*) as count from (select * from public.a except all select * from public.b) as d",
  );
  expect(different).toEqual({ count: 0 });
  expect(await to.query("select 1 as one")).toEqual([{ one: 1 }]);
  await Promise.all([from.close(), to.close()]);
});

it("waits for a slow reader instead of gathering rows in memory", async () => {
  const database = await server.createDatabase();
  const session = await server.connect(database);
  const copy = session.copyOut("copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout");
  const iterator = copy[Symbol.asyncIterator]();
  await iterator.next();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(copy.readableLength).toBeLessThan(2_000_000);
  let bytes = 0;
  for await (const chunk of { [Symbol.asyncIterator]: () => iterator }) bytes += (chunk as Buffer).length;
  expect(bytes).toBeGreaterThan(99_000_000);
  await session.close();
});

it("keeps no row when the server refuses one or the source fails, and the session goes on", async () => {
  const database = await server.createDatabase();
  const session = await server.connect(database);
  await session.query("create table public.t (n int primary key)");
  const rows = (...lines: string[]) => Readable.from(lines.map((line) => Buffer.from(`${line}\n`)));
  await expect(pipeline(rows("1", "1"), session.copyIn("copy public.t from stdin"))).rejects.toMatchObject({
    sqlState: "23505",
  });
  const failing = Readable.from(
    (async function* () {
      yield Buffer.from("1\n");
      throw new Error("the source is gone");
    })(),
  );
  await expect(pipeline(failing, session.copyIn("copy public.t from stdin"))).rejects.toThrow(
    "the source is gone",
  );
  await expect(pipeline(rows("1"), session.copyIn("copy public.absent from stdin"))).rejects.toMatchObject({
    sqlState: "42P01",
  });
  await expect(
    pipeline(
      session.copyOut("copy (select 1 / n from generate_series(-5, 5) n) to stdout"),
      async (chunks) => {
        for await (const _ of chunks);
      },
    ),
  ).rejects.toThrow(/division by zero/);
  expect(await session.query("select count(*) as count from public.t")).toEqual([{ count: 0 }]);
  await session.close();
});

it("stops the server's statement when nobody reads on, and at the signal", async () => {
  const database = await server.createDatabase();
  const watcher = await server.connect(database);
  const running = async () =>
    (
      await watcher.query<{ count: number }>(
        "select count(*) as count from pg_stat_activity where query like 'copy (select repeat%' and state = 'active'",
      )
    )[0]?.count;
  const endless = "copy (select repeat('x', 1000), generate_series(1, 1000000000)) to stdout";
  const session = await server.connect(database);
  const stream = session.copyOut(endless).on("error", () => {});
  await new Promise((resolve) => stream.once("data", resolve));
  expect(await running()).toBe(1);
  stream.destroy();
  await expect.poll(running, { timeout: 10_000 }).toBe(0);
  await session.close();

  const ending = new AbortController();
  const other = await server.connect(database, undefined, { signal: ending.signal });
  const reading = pipeline(other.copyOut(endless), async (chunks) => {
    for await (const _ of chunks) ending.abort(new Error("enough"));
  });
  await expect(reading).rejects.toThrow("enough");
  await expect.poll(running, { timeout: 10_000 }).toBe(0);
  await Promise.all([other.close(), watcher.close()]);
});
