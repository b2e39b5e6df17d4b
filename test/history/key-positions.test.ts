import { describe, expect, it } from "vitest";
import { readKeyPositions, type SequenceUse, sequencesOfToday } from "../../lib/history/key-positions.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed } from "../install/installed.ts";
import { collect } from "./collected.ts";

describe("which sequences are read", () => {
  const uses = (count: number, share: (at: number) => number | null): SequenceUse[] =>
    Array.from({ length: count }, (_, at) => ({
      tableOid: 16_384 + 5 * at,
      number: 1,
      sequenceOid: 16_385 + 5 * at,
      previous: null,
      share: share(at),
    }));
  const limits = { nearTheirEnd: 10, inTurn: 20 };

  it("is all of them, each once, where there are few", () => {
    const few = uses(30, () => null);
    expect(sequencesOfToday([...few, ...few], limits, 7).size).toBe(30);
  });

  it("is those nearest to their end each day, and every other one within the days that it takes", () => {
    const many = uses(1_000, (at) => (at < 10 ? 0.5 + at / 100 : at % 2 === 0 ? 0.001 : null));
    const nearest = many.slice(0, 10).map(({ sequenceOid }) => sequenceOid);
    const seen = new Set<number>();
    const turns = Math.ceil(990 / 20);
    for (let day = 20_000; day < 20_000 + turns; day += 1) {
      const today = sequencesOfToday(many, limits, day);
      expect([...today]).toEqual(expect.arrayContaining(nearest));
      // By chance some days have more than others.
      expect(today.size).toBeLessThan(10 + 2 * 20 + 10);
      for (const oid of today) seen.add(oid);
    }
    expect(seen.size).toBe(1_000);
  });
});

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
    const read = (nearTheirEnd: number, inTurn: number) =>
      shop.as(shop.names.monitoring, async (session) => {
        const { columns, values, notes } = await readKeyPositions(session, { nearTheirEnd, inTurn });
        expect(columns).toBe(6);
        return { positions: values.map(({ position }) => Number(position)), notes };
      });
    expect(await read(3, 3)).toEqual({ positions: [1_001, 2_001, 3_001, 4_001, 5_001, 6_001], notes: [] });
    const some = await read(2, 1);
    expect(some.positions.slice(4)).toEqual([5_001, 6_001]);
    const fresh = some.positions.filter((position) => position % 1_000 === 1).length;
    expect(some.positions.map((position) => position - (position % 1_000))).toEqual([
      1_000, 2_000, 3_000, 4_000, 5_000, 6_000,
    ]);
    expect(fresh).toBeLessThan(6);
    expect(some.notes).toEqual([
      `${fresh} of 6 sequences were read: those nearest to their end, and some of the others in turn`,
    ]);
  });

  it("leaves sequences of temporary tables alone", async () => {
    const shop = await installed(server);
    const other = await server.connect(shop.database);
    await other.query("create temporary table passing (id serial)");
    await other.query("insert into passing default values");
    const found = await shop.as(shop.names.monitoring, (session) => readKeyPositions(session));
    expect(found).toMatchObject({ columns: 1, values: [], notes: [] });
    await other.close();
  });
});
