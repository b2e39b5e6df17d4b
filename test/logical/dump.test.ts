import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { qualified } from "../../lib/postgres/identifiers.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { noClientTools, useClientTools } from "../helpers/client-tools.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";

/** Names that mean something to a shell, to SQL, to pg_dump's patterns and to connection strings. */
const hostileDatabase = 'we\'ird "db" = $HOME\\ ?x=1 host=evil';
const hostileSchema = 'Sch*ema."x';
const hostileTables = [
  "or.de*rs",
  'a"b',
  "--help",
  "$(touch x)",
  "[a-z]+|(b)?",
  "t\nwo lines",
  "tab\\slash'",
];

describe.each(allMajors)("logical backups of PostgreSQL %i", (major) => {
  const missing = noClientTools(major);
  if (missing !== undefined) {
    it.skip(missing, () => {});
    return;
  }
  const server = useServer(major);
  const tools = useClientTools(major);
  let directory: string;
  let url: string;

  const dump = (...args: string[]) =>
    runCli(["dump", ...args, "--url", url, "--to", directory, "--json"], {
      // Before what the machine has in the usual places.
      clientEnvironment: { PATH: `${tools.directory}:/usr/bin:/bin` },
    });
  const ok = async (...args: string[]) => {
    const { code, stdout, stderr } = await dump(...args);
    expect(stderr.includes("pgkeep:") ? stderr : "").toBe("");
    expect(code).toBe(0);
    return JSON.parse(stdout);
  };
  const leavesBackupsOnly = async () => {
    const { dumps } = await ok("list");
    expect((await readdir(directory)).sort()).toEqual(dumps.map(({ id }: { id: string }) => id).sort());
  };
  const contentsOf = async (database: string) => {
    const session = await server.connect(database);
    try {
      const tables = await session.query<{ schema: string; name: string }>(
        `select n.nspname::text as schema, c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2`,
      );
      const found: Record<string, string> = {};
      for (const { schema, name } of tables) {
        const [row] = await session.query<{ hash: string }>(
          `select count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') as hash from ${qualified(schema, name)} t`,
        );
        found[`${schema}.${name}`] = row?.hash ?? "";
      }
      const objects = await session.query<{ text: string }>(
        `select pg_get_indexdef(indexrelid) as text from pg_index join pg_class c on c.oid = indexrelid join pg_namespace n on n.oid = relnamespace where n.nspname !~ '^pg_'
         union all select pg_get_constraintdef(c.oid) || conname from pg_constraint c join pg_namespace n on n.oid = connamespace where n.nspname !~ '^(pg_|information)'
         union all select pg_get_viewdef(c.oid) from pg_class c join pg_namespace n on n.oid = relnamespace where relkind = 'v' and n.nspname !~ '^(pg_|information)' order by 1`,
      );
      return { tables: found, objects: objects.map(({ text }) => text) };
    } finally {
      await session.close();
    }
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "dumps-"));
    await server.createDatabase(hostileDatabase);
    const session = await server.connect(hostileDatabase);
    await session.query(`create table public.customers (id int generated always as identity primary key, name text not null);
      insert into public.customers (name) select 'customer ' || n from generate_series(1, 500) n;
      create table public.orders (id bigserial primary key, customer int not null references public.customers, note text);
      insert into public.orders (customer, note) select 1 + n % 500, repeat(md5(n::text), 5) from generate_series(1, 3000) n;
      create index orders_note on public.orders (lower(note));
      create view public.notes as select note from public.orders;
      analyze;`);
    await session.query(`create schema "${hostileSchema.replaceAll('"', '""')}"`);
    for (const [index, name] of hostileTables.entries()) {
      await session.query(`create table ${qualified(hostileSchema, name)} (n int)`);
      await session.query(
        `insert into ${qualified(hostileSchema, name)} select generate_series(0, ${index})`,
      );
    }
    await session.close();
    url = urlOf(server.target(hostileDatabase));
  });

  const formats = [
    { format: "directory", extra: ["--jobs", "2"] },
    { format: "custom", extra: [] },
    { format: "plain", extra: [] },
    { format: "tar", extra: [] },
  ];
  it.each(formats.filter(({ format }) => format === "directory" || major === defaultMajor))(
    "dumps everything as $format, verifies it, and restores it into a new database",
    async ({ format, extra }) => {
      const { manifest } = await ok("create", "--format", format, ...extra);
      expect(manifest).toMatchObject({ format, database: hostileDatabase, encryption: null });
      expect(manifest.tables.map((table: { name: string }) => table.name)).toEqual(
        expect.arrayContaining(["orders", "customers", "notes", ...hostileTables]),
      );
      const verified = await ok("verify", manifest.id, "--deep");
      expect(verified).toMatchObject({ ok: true, problems: [], notAssessable: [] });
      const into = `restored ${format}'"x`;
      const restored = await ok("restore", manifest.id, "--into", into, "--create");
      expect(restored).toMatchObject({ created: true, database: into });
      expect(await contentsOf(into)).toEqual(await contentsOf(hostileDatabase));
    },
  );

  it("leaves nothing behind but backups", async () => {
    await leavesBackupsOnly();
  });

  // How pg_dump is called, and what its answers become, does not depend on the server's version.
  if (major !== defaultMajor) return;

  it("dumps one table or schema, whatever their names, and nothing else", async () => {
    for (const name of hostileTables) {
      const { manifest } = await ok(
        "create",
        "--table",
        qualified(hostileSchema, name),
        "--format",
        "custom",
      );
      expect(manifest.tables).toMatchObject([{ schema: hostileSchema, name, kind: "table" }]);
      expect((await ok("verify", manifest.id)).entries).toBe(2);
    }
    const { manifest } = await ok("create", "--schema", hostileSchema);
    expect(manifest.tables).toHaveLength(hostileTables.length);
    await ok("restore", manifest.id, "--into", "one schema", "--create");
    expect(Object.keys((await contentsOf("one schema")).tables)).toHaveLength(hostileTables.length);
  });

  it("leaves out what it is told to", async () => {
    const without = ["--exclude-schema", hostileSchema, "--exclude-table", "public.notes"];
    const { manifest } = await ok("create", ...without);
    expect(manifest.tables.map((table: { name: string }) => table.name)).not.toContain("notes");
    await ok("restore", manifest.id, "--into", "without", "--create");
    expect(Object.keys((await contentsOf("without")).tables)).toEqual(["public.customers", "public.orders"]);
  });

  it("dumps definitions without rows, and rows that go into them", async () => {
    const schema = (await ok("create", "--schema-only")).manifest;
    const data = (await ok("create", "--data-only", "--format", "custom")).manifest;
    await ok("verify", data.id, "--deep");
    await ok("restore", schema.id, "--into", "by halves", "--create");
    expect((await contentsOf("by halves")).tables["public.orders"]).toBe("0 ");
    await ok("restore", data.id, "--into", "by halves");
    expect(await contentsOf("by halves")).toEqual(await contentsOf(hostileDatabase));
    const again = await dump("restore", data.id, "--into", "by halves");
    expect(again.stderr).toContain("has rows already");
  });

  it("says what it would dump and restore, and does neither, in a dry run", async () => {
    const { dumps } = await ok("list");
    const planned = await ok("create", "--dry-run");
    expect(planned).toMatchObject({ dryRun: true, manifest: null, format: "directory" });
    expect((await ok("list")).dumps).toHaveLength(dumps.length);
    const full = dumps.at(-1).id;
    expect(await ok("restore", full, "--into", "not made", "--create", "--dry-run")).toMatchObject({
      dryRun: true,
    });
    expect((await dump("restore", full, "--into", "not made")).stderr).toContain(
      "there is no database not made",
    );
  });

  it("names a table or schema that is not there", async () => {
    expect((await dump("create", "--table", "public.nothing")).stderr).toContain("has no public.nothing");
    expect((await dump("create", "--schema", "nowhere")).stderr).toContain("has no nowhere");
  });

  it("works as the master user of RDS, who is no superuser", async () => {
    const database = await server.createDatabase();
    const login = await server.createMaster(database);
    const session = await server.connect(database, login);
    await session.query("create schema sales");
    await session.query("create table sales.orders (id int primary key)");
    await session.query("insert into sales.orders select generate_series(1, 10)");
    await session.close();
    // A role of the application owns a table that the master may only read.
    const superuser = await server.connect(database);
    await superuser.query(`create role application_${login.user}; create table sales.theirs (n int);
      alter table sales.theirs owner to application_${login.user}`);
    await superuser.close();
    const as = (...args: string[]) =>
      runCli(["dump", ...args, "--url", urlOf(server.target(database, login)), "--to", directory, "--json"], {
        clientEnvironment: { PATH: `${tools.directory}:/usr/bin:/bin` },
      });
    const whole = await as("create");
    expect(whole.stderr).not.toContain("pgkeep:");
    expect((await as("verify", JSON.parse(whole.stdout).manifest.id)).code).toBe(0);
    const part = JSON.parse((await as("create", "--schema", "sales")).stdout);
    const restored = await as("restore", part.manifest.id, "--into", "by master", "--create", "--no-owner");
    expect(restored.stderr).not.toContain("pgkeep:");
    expect(Object.keys((await contentsOf("by master")).tables)).toEqual(["sales.orders", "sales.theirs"]);
  });

  it("never shows the password, neither to people nor to the process list", async () => {
    const { stdout, stderr } = await dump("create");
    expect(stdout + stderr).not.toContain(server.superuser.password);
  });

  it("leaves nothing behind but backups after all of this", async () => {
    await leavesBackupsOnly();
  });
});
