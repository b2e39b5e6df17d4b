import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { runCli, urlOf } from "../helpers/cli.ts";
import { noClientTools, useClientTools } from "../helpers/client-tools.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

const reason = noClientTools(defaultMajor);
const server = useServer(defaultMajor);
const tools = useClientTools(defaultMajor);

// What lib/constructs/dump-task.ts relies on.
it.skipIf(reason !== undefined)(
  `the reporting login dumps everything of the application, and prunes by the rules ${reason ?? ""}`,
  async () => {
    const { database, names, as } = await installed(server);
    await as(names.migrations, async (session) => {
      await session.query("create schema sales");
      await session.query(
        "create table sales.orders (id int generated always as identity primary key, note text)",
      );
      await session.query("insert into sales.orders (note) select 'n' || n from generate_series(1, 100) n");
      await session.query("create table public.plain (id bigserial primary key)");
    });
    const directory = await mkdtemp(join(tmpdir(), "reported-"));
    const { code, stdout, stderr } = await runCli(
      [
        ...["dump", "create", "--prune", "--exclude-schema", "pgkeep", "--to", directory, "--json"],
        ...["--url", urlOf(server.target(database, { user: names.reporting, password }))],
      ],
      { clientEnvironment: { PATH: `${tools.directory}:/usr/bin:/bin` } },
    );
    expect(code, stderr).toBe(0);
    const { manifest, pruned } = JSON.parse(stdout);
    expect(
      manifest.tables.map((table: { schema: string; name: string }) => `${table.schema}.${table.name}`),
    ).toEqual(expect.arrayContaining(["sales.orders", "public.plain"]));
    expect(pruned).toMatchObject({ kept: 1, deleted: [] });
  },
);
