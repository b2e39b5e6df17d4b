import { open } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Proved, prove } from "../../lib/drill/prove.ts";
import { backUp } from "../../lib/jobs/back-up.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { pageBytes, pageChecksum } from "../../lib/sandbox/page-checksum.ts";
import { stopServer } from "../../lib/sandbox/server.ts";
import { oldestAndNewest } from "../helpers/postgres.ts";
import { useShop } from "../helpers/shop.ts";
import { restoreToEnd } from "../ports/backups.contract.ts";

describe.each(oldestAndNewest)("proving a restored server of PostgreSQL %i", (major) => {
  const shop = useShop(major);
  const name = "damaged";
  let backupId = "";
  const request = () => ({ name, target: { kind: "backup" as const, backupId } });
  const dataDirectory = () => join(shop.primary.places.scratchDirectory, name, "data");

  beforeAll(async () => {
    await shop.sql("vacuum (freeze, analyze)");
    await shop.run(backUp);
    backupId = (await shop.backups.list())[0]?.id ?? "";
  });
  afterEach(() => shop.backups.discard(name));

  async function pathOf(relation: string): Promise<string> {
    const [row] = await shop.sql<{ path: string }>(`select pg_relation_filepath('${relation}') as path`);
    return row?.path ?? "";
  }

  /** Restores, changes one page while the server is down, and proves. */
  async function proveWith(
    path: string,
    block: number,
    change: (page: Buffer) => void,
    options: { fixChecksum: boolean },
  ): Promise<Proved> {
    await restoreToEnd(shop.backups, request());
    await stopServer(dataDirectory());
    const file = await open(join(dataDirectory(), path), "r+");
    const page = Buffer.alloc(pageBytes);
    await file.read(page, 0, pageBytes, block * pageBytes);
    change(page);
    if (options.fixChecksum) {
      page.writeUInt16LE(
        pageChecksum(new Uint32Array(page.buffer, page.byteOffset, pageBytes / 4), 0, block),
        8,
      );
    }
    await file.write(page, 0, pageBytes, block * pageBytes);
    await file.close();
    return proveNow();
  }

  async function proveNow(): Promise<Proved> {
    const startedAt = new Date();
    const { endpoint } = await restoreToEnd(shop.backups, request());
    return prove({
      connectRestored: () => shop.ports.restored?.connect(endpoint, { role: "drill" }) as never,
      connectPrimary: () => shop.ports.primary?.connect({ role: "drill" }) as never,
      backupId,
      database: "shop",
      startedAt,
      now: () => new Date(),
      statisticsPatienceMilliseconds: 0,
    });
  }

  const failures = (proved: Proved) => proved.proofs.filter(({ ok }) => !ok);

  it("finds a heap page whose checksum is wrong, and names table and block", async () => {
    const proved = await proveWith(await pathOf("public.countries"), 2, (page) => page.fill(7, 8000, 8100), {
      fixChecksum: false,
    });
    const heap = failures(proved).find(({ name: proof }) => proof === "heap-pages");
    expect(heap?.detail).toMatch(/table public\.countries.*invalid page in block 2 of relation/);
  });

  it("finds a heap page that is damaged under a right checksum", async () => {
    const proved = await proveWith(
      await pathOf("public.countries"),
      2,
      // The tuple header of the newest tuple: t_infomask2 says 2,047 columns.
      (page) => page.writeUInt16LE(0x07ff, page.readUInt16LE(14) + 18),
      { fixChecksum: true },
    );
    const heap = failures(proved).find(({ name: proof }) => proof === "heap-pages");
    expect(heap?.detail).toMatch(/table public\.countries block 2 item \d+: number of attributes/);
  });

  it("finds an index page that is damaged under a right checksum, and names index and table", async () => {
    const proved = await proveWith(
      await pathOf("public.orders_by_customer"),
      1,
      // Swap two line pointers in the middle of the page: the order of keys is violated.
      (page) => {
        const at = 24 + 4 * 20;
        const [first, second] = [page.readUInt32LE(at), page.readUInt32LE(at + 80)];
        page.writeUInt32LE(second, at);
        page.writeUInt32LE(first, at + 80);
      },
      { fixChecksum: true },
    );
    const indexes = failures(proved).find(({ name: proof }) => proof === "indexes");
    expect(indexes?.detail).toMatch(/index public\.orders_by_customer of table public\.orders: /);
  });

  it("finds a row that lost the row its foreign key promises", async () => {
    const { endpoint } = await restoreToEnd(shop.backups, request());
    const session = await connect({ ...endpoint, database: "shop", ...shop.primary.places.superuser });
    await session.query("set session_replication_role = replica");
    await session.query("delete from public.customers where id = 8");
    await session.query("select setval('public.orders_id_seq', 3)");
    await session.close();
    const proved = await proveNow();
    const details = failures(proved).map(({ name: proof, detail }) => `${proof}: ${detail}`);
    expect(details).toEqual([
      expect.stringMatching(/^contents: table public\.customers: it has 1999 rows, and had 2000/),
      expect.stringMatching(/^foreign-keys: 3 rows of table public\.orders have no row in public\.customers/),
      expect.stringMatching(/^sequences: sequence public\.orders_id_seq continues with 4/),
    ]);
  });

  it("passes what is whole, and proves each table by its contents", async () => {
    const proved = await proveNow();
    expect(failures(proved)).toEqual([]);
    expect(proved.proofs).toContainEqual({
      name: "contents",
      ok: true,
      detail: "3 tables have the same contents",
    });
    expect(proved.notAssessable).toEqual([]);
  });
});
