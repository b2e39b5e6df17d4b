import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { securityChecks } from "../../lib/checks/security/index.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import { createLogin, expectMended, runChecks, useStandby } from "../helpers/review.ts";

const named = (name: string) => {
  const found = securityChecks.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no check ${name}`);
  return found;
};
const resultOf = async (session: Session, name: string) => {
  const [result] = (await runChecks([named(name)], session)).results;
  if (result === undefined) throw new Error("no result");
  return result;
};
const run = async (session: Session, ...statements: string[]) => {
  for (const statement of statements) await session.query(statement);
};

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

describe.each(majors)("review of security on PostgreSQL %i", (major) => {
  const server = useServer(major);
  const fresh = async () => server.connect(await server.createDatabase());

  it("finds nothing in a new database, but what 14 leaves open", async () => {
    const session = await fresh();
    const { results } = await runChecks(securityChecks, session);
    expect(results.flatMap(({ findings }) => findings.map(({ key }) => key))).toEqual(
      major < 15 ? ["public-create/public"] : [],
    );
    expect(results.filter(({ verdict }) => verdict === "not-assessable")).toEqual([]);
    await session.close();
  });

  it("finds logins with too much, not those of a service or for replication", async () => {
    const session = await fresh();
    await run(
      session,
      'create role "the ""app" login superuser',
      "create role files login",
      "grant pg_execute_server_program to files",
      "create role maker login createrole createdb",
      "create role past_policies login bypassrls",
      "create role copies login replication",
      "create role group_of_some createrole",
      "create role plain login",
    );
    const { findings } = await resultOf(session, "roles-with-too-much");
    expect(findings.map(({ object, severity }) => [object.role, severity])).toEqual([
      ["files", "high"],
      ["maker", "medium"],
      ["past_policies", "medium"],
      ['the "app', "high"],
    ]);
    for (const finding of findings) await expectMended(named("roles-with-too-much"), session, finding);
    await run(
      session,
      "drop role files",
      "drop role maker",
      "drop role past_policies",
      'drop role "the ""app"',
      "drop role copies",
      "drop role group_of_some",
      "drop role plain",
    );
    await session.close();
  });

  it("finds what is open to everybody, now and by default, and closes it", async () => {
    const session = await fresh();
    await run(
      session,
      "revoke create on schema public from public",
      'create schema "o""pen"',
      'grant usage, create on schema "o""pen" to public',
      "create schema closed",
      'create table "o""pen"."; drop" (a int)',
      'grant insert, select on "o""pen"."; drop" to public',
      "create view public.seen as select 1 as a",
      "grant select on public.seen to public",
      "create table closed.inside (a int)",
      "grant all on closed.inside to public",
      "create sequence public.numbers",
      "grant usage on sequence public.numbers to public",
      "create table public.fine (a int)",
      "grant select on public.fine to pg_monitor",
      "alter default privileges in schema public grant select on tables to public",
      "alter default privileges grant usage on sequences to public",
    );
    expect((await resultOf(session, "public-create")).findings.map(({ key }) => key)).toEqual([
      'public-create/o"pen',
    ]);
    const grants = await resultOf(session, "public-grants");
    expect(grants.findings.map(({ object, severity }) => [object.table, severity])).toEqual([
      ["inside", "low"],
      ["; drop", "high"],
      ["numbers", "medium"],
      ["seen", "medium"],
    ]);
    const defaults = await resultOf(session, "public-defaults");
    expect(defaults.findings.map(({ key }) => key)).toEqual([
      "public-defaults/postgres/public/tables",
      "public-defaults/postgres/any schema/sequences",
    ]);
    for (const name of ["public-create", "public-grants", "public-defaults"]) {
      for (const finding of (await resultOf(session, name)).findings) {
        await expectMended(named(name), session, finding);
      }
    }
    await session.close();
  });

  it("finds functions that their callers can lead astray", async () => {
    const session = await fresh();
    const body = "language plpgsql security definer as $$ begin return 1; end $$";
    await run(
      session,
      'create schema "f""n"',
      `create function "f""n"."x; drop"(a int, b text[]) returns int ${body}`,
      `create procedure public.does() language plpgsql security definer as $$ begin end $$`,
      "revoke execute on procedure public.does() from public",
      `create function public.half() returns int set search_path = public ${body}`,
      `create function public.safe() returns int set search_path = pg_catalog, public, pg_temp ${body}`,
      `create function public.empty() returns int set search_path = '' ${body}`,
      "create function public.bound() returns int security definer language sql begin atomic select 1; end",
      "create function public.invoker() returns int language sql as 'select 1'",
      "create role owner_of_one nologin",
      `create function public.owned() returns int ${body}`,
      "alter function public.owned() owner to owner_of_one",
    );
    const { findings } = await resultOf(session, "security-definer");
    expect(findings.map(({ object, severity }) => [object.name, severity])).toEqual([
      ["x; drop(a integer, b text[])", "critical"],
      ["does()", "high"],
      ["half()", "low"],
      ["owned()", "high"],
    ]);
    for (const finding of findings) await expectMended(named("security-definer"), session, finding);
    await run(session, "drop function public.owned()", "drop role owner_of_one");
    await session.close();
  });

  it("finds where row security does not hold", async () => {
    const session = await fresh();
    await run(
      session,
      "create role guard_owner login password 'not-a-secret'",
      "create table public.asleep (a int)",
      "create policy few on public.asleep using (a = 1)",
      "create table public.open (a int)",
      "alter table public.open enable row level security",
      "create policy everything on public.open using (true)",
      "create table public.good (a int)",
      "alter table public.good enable row level security",
      "alter table public.good force row level security",
      "create policy few on public.good using (a = 1)",
      "create policy reads on public.good for select using (true)",
      "create table public.owned (a int)",
      "alter table public.owned enable row level security",
      "create policy few on public.owned using (a = 1)",
      "alter table public.owned owner to guard_owner",
      "create view public.around as select * from public.good",
      "create view public.unshared as select * from public.good",
      "grant select on public.around to guard_owner",
    );
    const owner = await server.connect(session.database, { user: "guard_owner", password: "not-a-secret" });
    const { findings } = await resultOf(session, "row-security");
    expect(findings.map(({ key, severity }) => [key, severity])).toEqual([
      ["row-security/public.asleep/disabled", "high"],
      ["row-security/public.open/open", "medium"],
      ["row-security/public.owned/owner", "medium"],
      ["row-security/public.around/view", "medium"],
    ]);
    for (const finding of findings.filter(({ fix }) => fix !== undefined)) {
      await expectMended(named("row-security"), session, finding);
    }
    expect(findings.filter(({ fix }) => fix !== undefined)).toHaveLength(major >= 15 ? 2 : 1);
    await owner.close();
    await run(session, "drop owned by guard_owner", "drop role guard_owner");
    await session.close();
  });

  it("finds passwords kept as MD5, and never shows one", async () => {
    const session = await fresh();
    await run(
      session,
      "set password_encryption = 'md5'",
      "create role old_one login password 'correct horse'",
      "reset password_encryption",
      "create role new_one login password 'correct horse'",
    );
    const result = await resultOf(session, "passwords");
    expect(result.findings.map(({ key }) => key)).toEqual(["passwords/md5 of old_one"]);
    expect(JSON.stringify(result)).not.toMatch(/md5[0-9a-f]{32}|correct horse/);
    await run(session, "drop role old_one", "drop role new_one");
    await session.close();
  });

  it("finds rules that let somebody in without a proof, or that cannot be read", async () => {
    const session = await fresh();
    const file = join(server.dataDirectory, "pg_hba.conf");
    const before = await readFile(file, "utf8");
    await appendFile(
      file,
      "host all all 10.0.0.0/8 trust\nhost all all 127.0.0.2/32 trust\nhost shop app 10.1.0.0/16 password\nhost all all nonsense\n",
    );
    try {
      const { findings } = await resultOf(session, "client-authentication");
      expect(
        findings.map(({ severity, title }) => [severity, /lets|asks|cannot be read/.exec(title)?.[0]]),
      ).toEqual([
        ["critical", "lets"],
        ["medium", "lets"],
        ["high", "asks"],
        ["high", "cannot be read"],
      ]);
    } finally {
      await writeFile(file, before);
    }
    expect((await resultOf(session, "client-authentication")).verdict).toBe("pass");
    await session.close();
  });

  it("leaves out what extensions and pgkeep own", async () => {
    const session = await fresh();
    await run(
      session,
      "revoke create on schema public from public",
      "create schema pgkeep",
      "create table pgkeep.own (a int)",
      "grant all on pgkeep.own to public",
      "create function pgkeep.f() returns int security definer language plpgsql as $$ begin return 1; end $$",
      "create extension pg_stat_statements schema public",
      "create extension dblink schema public",
    );
    const { results } = await runChecks(securityChecks, session);
    expect(results.flatMap(({ findings }) => findings)).toEqual([]);
    await session.close();
  });
});

describe("review of security", () => {
  const server = useServer(defaultMajor);

  it("says what a role that may only connect cannot see, and sees the rest", async () => {
    const database = await server.createDatabase();
    const logins = [await createLogin(server, database), await createLogin(server, database, ["pg_monitor"])];
    const admin = await server.connect(database);
    await run(
      admin,
      "create table public.t (a int)",
      "grant insert on public.t to public",
      `alter database ${database} set password_encryption = 'md5'`,
    );
    const session = await server.connect(database, logins[0]);
    const { results } = await runChecks(securityChecks, session);
    const of = (name: string) => results.find(({ check }) => check === name);
    expect(of("public-grants")?.verdict).toBe("findings");
    expect(of("client-authentication")).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("superuser"),
    });
    expect(of("unencrypted-connections")).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("GRANT pg_monitor"),
    });
    expect(of("passwords")).toMatchObject({
      verdict: "findings",
      reason: expect.stringContaining("superuser"),
    });
    const monitor = await server.connect(database, logins[1]);
    expect((await resultOf(monitor, "unencrypted-connections")).verdict).toBe("pass");
    for (const one of [admin, session, monitor]) await one.close();
  });

  it("waits for no lock on a table", async () => {
    const session = await server.connect(await server.createDatabase());
    await run(
      session,
      "create table public.busy (a int)",
      "create policy few on public.busy using (a = 1)",
      "create policy all_rows on public.busy using (true)",
      "grant select on public.busy to public",
    );
    const other = await server.connect(session.database);
    const keys = async () =>
      (await runChecks(securityChecks, session)).results.flatMap(({ findings }) =>
        findings.map(({ key }) => key),
      );
    const before = await keys();
    expect(before).toContain("row-security/public.busy/disabled");
    await other.transaction(async () => {
      await other.query("lock table public.busy in access exclusive mode");
      expect(await keys()).toEqual(before);
    });
    await other.close();
    await session.close();
  });

  it("says that a server which listens to the network cannot encrypt", async () => {
    const session = await server.connect(await server.createDatabase());
    await session.query("alter system set listen_addresses = '*'");
    expect((await resultOf(session, "unencrypted-connections")).verdict).toBe("pass");
    await session.close();
  });
});

describe("review of security on a standby", () => {
  const pair = useStandby();

  it("finds the same as on the primary", async () => {
    await run(pair.primary, "create table public.t (a int)", "grant select on public.t to public");
    await pair.caughtUp();
    const keys = async (session: Session) =>
      (await runChecks(securityChecks, session)).results.flatMap(({ findings }) =>
        findings.map(({ key }) => key),
      );
    expect(await keys(pair.standby)).toEqual(await keys(pair.primary));
    expect(await keys(pair.standby)).toContain("public-grants/public.t");
  });
});
