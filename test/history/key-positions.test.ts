import { describe, expect, it } from "vitest";
import { collectTablesQuery } from "../../lib/history/collect-tables.ts";
import { readKeyPositions } from "../../lib/history/key-positions.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed } from "../install/installed.ts";
import { collect } from "./collected.ts";

describe("reading where sequences stand", () => {
  const server = useServer();

  it("keeps those whose turn it is not as they were seen last, and says so", async () => {
    const shop = await installed(server);
    await shop.as(undefined, async (session) => {
      for (let at = 0; at < 6; at += 1) {
        await session.query(`create table public.t${at} (id serial)`);
        await session.query(`select setval('public.t${at}_id_seq', ${1_000 * (at + 1)})`);
      }
    });
    await collect(shop);
    await shop.as(undefined, async (session) => {
      for (let at = 0; at < 6; at += 1) {
        await session.query(`select setval('public.t${at}_id_seq', ${1_000 * (at + 1) + 1})`);
      }
    });
    const read = (nearTheirEnd: number, inTurn: number, day?: number) =>
      shop.as(shop.names.monitoring, async (session) => {
        const { columns, values, notes } = await readKeyPositions(session, { nearTheirEnd, inTurn }, day);
        expect(columns).toBe(6);
        return { positions: values.map(({ position }) => Number(position)), notes };
      });
    expect(await read(3, 3)).toEqual({ positions: [1_001, 2_001, 3_001, 4_001, 5_001, 6_001], notes: [] });
    const seen = new Set<number>();
    for (const day of [20_000, 20_001, 20_002, 20_003]) {
      const { positions, notes } = await read(2, 1, day);
      expect(positions).toEqual(expect.arrayContaining([5_001, 6_001]));
      for (const position of positions) seen.add(position);
      const some = `the sequences of ${positions.length} of 6 columns were read: those nearest to their end, and some of the others in turn`;
      expect(notes).toEqual(positions.length === 6 ? [] : [some]);
    }
    expect([...seen].sort()).toEqual([1_001, 2_001, 3_001, 4_001, 5_001, 6_001]);
    // Nothing was noted of any: the first that come are the nearest.
    await shop.as(undefined, (session) => session.query("delete from pgkeep.history_table"));
    expect((await read(2, 1, 20_000)).positions.length).toBeGreaterThanOrEqual(2);
  });

  it("keeps what was seen last of the tables and columns that are not read", async () => {
    const shop = await installed(server);
    await shop.as(undefined, async (session) => {
      await session.query("create table public.pair (a serial, b bigserial, c serial)");
      await session.query("create table public.other (id serial)");
      for (const [sequence, position] of [
        ["pair_a_seq", 10],
        ["pair_b_seq", 20],
        ["pair_c_seq", 2_000_000_000],
        ["other_id_seq", 40],
      ]) {
        await session.query("select setval(format('public.%I', $1::text)::regclass, $2)", [
          sequence,
          position,
        ]);
      }
    });
    await collect(shop);
    const noted = () =>
      shop.as(undefined, (session) =>
        session.query(
          "select table_name, key_columns, key_values::text[] from pgkeep.history_table where schema_name = 'public' order by 1",
        ),
      );
    const before = await noted();
    expect(before).toEqual([
      { table_name: "other", key_columns: [1], key_values: ["40"] },
      { table_name: "pair", key_columns: [1, 2, 3], key_values: ["10", "20", "2000000000"] },
    ]);
    await shop.as(undefined, async (session) => {
      await session.query("select setval('public.pair_c_seq', 2000000007)");
      await session.query("alter table public.pair drop column a");
    });
    await shop.as(shop.names.monitoring, async (session) => {
      // As on a day on which it is the turn of none of the other's, and one of the pair's cannot be read.
      const [pair] = await session.query<{ oid: number }>("select 'public.pair'::regclass::oid::int8 as oid");
      const keys = [
        [pair?.oid, pair?.oid],
        [2, 3],
        [null, "2000000007"],
      ];
      await session.query(collectTablesQuery, ["2100-01-01", ...keys]);
      expect(await noted()).toEqual([
        before[0],
        { table_name: "pair", key_columns: [3], key_values: ["2000000007"] },
      ]);
    });
    await collect(shop);
    expect(await noted()).toEqual([
      before[0],
      { table_name: "pair", key_columns: [2, 3], key_values: ["20", "2000000007"] },
    ]);
  });

  it("leaves sequences of temporary tables alone", async () => {
    const shop = await installed(server);
    const other = await server.connect(shop.database);
    await other.query("create temporary table passing (id serial)");
    await other.query("insert into passing default values");
    const found = await shop.as(shop.names.monitoring, (session) => readKeyPositions(session));
    expect(found).toMatchObject({ columns: 1, values: [{ position: null }], notes: [] });
    await other.close();
  });
});
