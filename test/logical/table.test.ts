import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { noClientTools, useClientTools } from "../helpers/client-tools.ts";
import { oldestAndNewest, useServer } from "../helpers/postgres.ts";

describe.each(oldestAndNewest)("one table of a logical backup, PostgreSQL %i", (major) => {
  const missing = noClientTools(major);
  if (missing !== undefined) {
    it.skip(missing, () => {});
    return;
  }
  const server = useServer(major);
  const tools = useClientTools(major);
  let directory: string;
  let url: string;
  let session: Session;
  let keyFile: string;

  const dump = async (...args: string[]) => {
    const place = ["swap", "new-key"].includes(args[0] as string) ? [] : ["--to", directory];
    const result = await runCli(["dump", ...args, "--url", url, ...place, "--json"], {
      clientEnvironment: { PATH: `${tools.directory}:/usr/bin:/bin` },
    });
    return { ...result, document: result.stdout === "" ? undefined : JSON.parse(result.stdout) };
  };
  const value = async (sql: string) => {
    const [row] = await session.query<{ value: unknown }>(`select (${sql}) as value`);
    return row?.value;
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "dumps-"));
    keyFile = join(directory, "..", `key-${major}`);
    const database = await server.createDatabase();
    url = urlOf(server.target(database));
    session = await server.connect(database);
    await session.query(`
      create schema s;
      create table s.people (id int primary key, name text);
      insert into s.people select n, 'person ' || n from generate_series(1, 50) n;
      create table s."or""ders" (id serial primary key, number int generated always as identity, person int references s.people,
        note text default 'none', total numeric check (total >= 0), double numeric generated always as (total * 2) stored,
        constraint unique_note unique (note, id)) with (fillfactor = 70);
      insert into s."or""ders" (person, note, total) select 1 + n % 50, E'COPY s.x (y) FROM stdin;\\n\\\\.\\nrow ' || n, n from generate_series(1, 200) n;
      create index on s."or""ders" (lower(note)) where total > 10;
      create table s.items (id int primary key, "order" int not null references s."or""ders");
      insert into s.items select n, n from generate_series(1, 100) n;
      create function s.touch() returns trigger language plpgsql as 'begin new.note = coalesce(new.note, ''''); return new; end';
      create trigger touch before insert on s."or""ders" for each row execute function s.touch();
      create role reader_${major}; grant select on s."or""ders" to reader_${major};`);
    expect((await dump("new-key", keyFile)).code).toBe(0);
    expect((await dump("create")).code).toBe(0);
  });
  afterAll(() => session?.close());

  it("comes back beside the original, which stays as it is", async () => {
    await session.query(
      `delete from s.items; delete from s."or""ders" where id > 120; update s."or""ders" set total = 0`,
    );
    const { code, document, stderr } = await dump("restore", "--table", 's."or""ders"', "--as", "then");
    expect(stderr).toContain("restoring");
    expect(code).toBe(0);
    expect(document).toMatchObject({ how: "beside", name: "then", rows: 200 });
    expect(await value(`select sum(total)::int from s."then"`)).toBe(20_100);
    expect(await value(`select sum(double)::int from s."then"`)).toBe(40_200);
    expect(
      await value(
        `select count(*) from s."then" where note = E'COPY s.x (y) FROM stdin;\\n\\\\.\\nrow ' || id`,
      ),
    ).toBe(200);
    expect(await value(`select sum(total)::int from s."or""ders"`)).toBe(0);
    expect(await value(`select count(*) from s."or""ders"`)).toBe(120);
  });

  it("does not touch a table that exists under the chosen name", async () => {
    const { code, stderr } = await dump("restore", "--table", 's."or""ders"', "--as", "then");
    expect(code).toBe(3);
    expect(stderr).toContain("s.then exists already");
  });

  it("says what it would swap, and swaps nothing, in a dry run", async () => {
    const { code, document } = await dump("swap", 's."or""ders"', "then", "--dry-run");
    expect(code).toBe(0);
    expect(document.statements.join("\n")).toContain("rename to");
    expect(await value(`select count(*) from s."or""ders"`)).toBe(120);
  });

  it("gives up when the lock does not come, and changes nothing", async () => {
    const other = await server.connect(session.database);
    await other.query(`begin; lock table s."or""ders" in access share mode`);
    const { code, stderr } = await dump("swap", 's."or""ders"', "then", "--lock-wait", "1");
    await other.query("rollback");
    await other.close();
    expect(code).toBe(3);
    expect(stderr).toContain("did not come within 1 s");
    expect(await value(`select count(*) from s."or""ders"`)).toBe(120);
  });

  it("refuses to swap when a view reads the original, and says so", async () => {
    await session.query(`create view s.sums as select sum(total) from s."or""ders"`);
    const { code, stderr } = await dump("swap", 's."or""ders"', "then");
    await session.query("drop view s.sums");
    expect(code).toBe(3);
    expect(stderr).toContain("the view s.sums reads it");
  });

  it("refuses to swap when rows elsewhere refer to rows that the backup does not have", async () => {
    await session.query(
      `insert into s."or""ders" (id, note, total) values (9999, 'new', 1); insert into s.items values (9999, 9999)`,
    );
    const { code, stderr } = await dump("swap", 's."or""ders"', "then");
    expect(code).toBe(3);
    expect(stderr).toContain("items_order_fkey");
    expect(await value(`select count(*) from s."or""ders"`)).toBe(121);
    await session.query("delete from s.items where id = 9999");
  });

  it("takes the original's place with its names, rights, keys, triggers and sequences", async () => {
    const describeTable = () =>
      value(`select json_build_object(
        'indexes', (select json_agg(indexdef order by indexname) from pg_indexes where schemaname = 's' and tablename = 'or"ders'),
        'constraints', (select json_agg(conname || ' ' || pg_get_constraintdef(oid) order by conname) from pg_constraint where conrelid = 's."or""ders"'::regclass and contype <> 'n'),
        'incoming', (select json_agg(conname || ' ' || pg_get_constraintdef(oid)) from pg_constraint where confrelid = 's."or""ders"'::regclass),
        'triggers', (select json_agg(pg_get_triggerdef(oid)) from pg_trigger where tgrelid = 's."or""ders"'::regclass and not tgisinternal),
        'owner', (select relowner::regrole::text || reloptions::text || relacl::text from pg_class where oid = 's."or""ders"'::regclass),
        'serial', pg_get_serial_sequence('s."or""ders"', 'id'))`);
    const before = await describeTable();
    const { code, document } = await dump("swap", 's."or""ders"', "then");
    expect(code).toBe(0);
    expect(document.keptAs).toBe('or"ders_before');
    expect(await describeTable()).toEqual(before);
    expect(await value(`select count(*) from s."or""ders"`)).toBe(200);
    expect(await value(`select count(*) from s."or""ders_before"`)).toBe(121);
    // New rows get numbers that no row had.
    await session.query(`insert into s."or""ders" (note, total) values ('after', 1)`);
    expect(await value(`select number from s."or""ders" where note = 'after'`)).toBeGreaterThan(201);
  });

  it("comes back in its place, with all that belongs to it, when it is gone", async () => {
    await session.query(`drop table s.items, s."or""ders", s."or""ders_before" cascade`);
    for (const table of ['s."or""ders"', "s.items"]) {
      const { code, document } = await dump("restore", "--table", table);
      expect(code).toBe(0);
      expect(document).toMatchObject({ how: "in-place" });
    }
    expect(await value(`select count(*) from s."or""ders"`)).toBe(200);
    expect(await value(`select count(*) from pg_index where indrelid = 's."or""ders"'::regclass`)).toBe(3);
    expect(
      await value(
        `select count(*) from pg_constraint where contype = 'f' and conrelid in ('s."or""ders"'::regclass, 's.items'::regclass)`,
      ),
    ).toBe(2);
    expect(await value(`select count(*) from pg_trigger where tgname = 'touch'`)).toBe(1);
    expect(await value(`select has_table_privilege('reader_${major}', 's."or""ders"', 'select')`)).toBe(true);
    await session.query(`insert into s."or""ders" (note, total) values ('after', 1)`);
    expect(await value(`select max(id) from s."or""ders"`)).toBe(201);
  });

  it.each(["custom", "directory"])("comes back from an encrypted %s dump", async (format) => {
    const created = await dump("create", "--format", format, "--key-file", keyFile);
    expect(created.document.manifest.encryption.format).toBe("age-v1");
    const { code, document } = await dump(
      "restore",
      created.document.id,
      "--table",
      "s.people",
      "--key-file",
      keyFile,
      "--as",
      `people_${format}`,
    );
    expect(code).toBe(0);
    expect(document).toMatchObject({ rows: 50, how: "beside" });
  });

  it("refuses when its columns are others now, and leaves nothing", async () => {
    await session.query(`alter table s.people drop column name`);
    const { code, stderr } = await dump("restore", "--table", "s.people", "--key-file", keyFile);
    expect(code).toBe(3);
    expect(stderr).toContain("other columns now");
    expect(await value("select to_regclass('s.people_restored')")).toBe(null);
  });
});
