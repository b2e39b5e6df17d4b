import { describe, expect, it } from "vitest";
import { majorOf } from "../../lib/postgres/versions.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";

describe.each(allMajors)("a test server of PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("runs that version, on loopback only, with passwords required", async () => {
    const session = await server.connect("postgres");
    expect(majorOf(session.serverVersionNumber)).toBe(major);
    const [settings] = await session.query<Record<string, string>>(
      `select current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets,
              current_setting('data_checksums') as checksums, current_setting('shared_preload_libraries') as libraries`,
    );
    expect(settings).toEqual({
      addresses: "127.0.0.1",
      sockets: "",
      checksums: "on",
      libraries: "pg_stat_statements",
    });
    await session.close();
    await expect(server.connect("postgres", { user: "postgres", password: "wrong" })).rejects.toMatchObject({
      code: "authentication",
    });
  });

  it("has a master user as RDS has: no superuser, but extensions and roles are its to grant", async () => {
    const database = await server.createDatabase('odd "name" ü\n');
    const login = await server.createMaster(database);
    const master = await server.connect(database, login);
    expect(master.isSuperuser).toBe(false);
    await master.query("create role somebody nologin");
    await master.query("grant pg_monitor to somebody");
    await master.query("grant execute on function public.bt_index_check(regclass) to somebody");
    await master.query("create extension if not exists pgstattuple");
    await master.query("create extension pg_trgm with schema public");
    await expect(master.query("alter system set work_mem = '1MB'")).rejects.toMatchObject({
      code: "insufficient-privilege",
    });
    await master.close();
  });
});
