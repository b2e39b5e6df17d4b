import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routingText, showRouting } from "../../lib/cli/routing.ts";
import { createCli } from "../../lib/cli/terminal.ts";
import type { Environment } from "../../lib/environment.ts";
import type { Routing } from "../../lib/ports/routing.ts";
import { fileRouting } from "../../lib/sandbox/routing.ts";
import { configFor } from "../helpers/config.ts";
import { routingDocument } from "../ports/routing.contract.ts";

describe("pgkeep routing show", () => {
  let directory: string;
  let closed = 0;
  const cli = createCli({
    stdout: { write: () => {} },
    stderr: { write: () => {} },
    signal: new AbortController().signal,
    homeDirectory: "/nonexistent",
    workingDirectory: "/nonexistent",
    databaseUrl: undefined,
  });
  const opening = (routing: Routing | undefined, now = "2026-01-02T03:04:35Z") => ({
    open: async (): Promise<Environment> => ({
      description: "sandbox at 127.0.0.1:1",
      config: configFor("shop"),
      ports: {
        ...(routing === undefined ? {} : { routing }),
        clock: { now: () => new Date(now), sleep: async () => {} },
        metrics: { put: async () => {} },
        notifications: { send: async () => {} },
      },
      connectAsMaster: () => Promise.reject(new Error("not needed")),
      close: async () => {
        closed++;
      },
    }),
  });
  const published = async (): Promise<Routing> => {
    const routing = fileRouting(join(await mkdtemp(join(directory, "r-")), "routing.json"));
    const document = routingDocument(1);
    const first = document.replicas[0] as (typeof document.replicas)[0];
    document.replicas.push({
      ...first,
      name: "replica-2",
      via: "direct",
      state: "lagging",
      weight: 0,
      lagBytes: 300_000_000,
      lagSeconds: 7_300,
      reason: "its replay is paused; it is behind by 286 MiB of WAL and 2 h 2 min",
    });
    document.replicas.push({ ...first, name: "replica-3", state: "unreachable", weight: 0, lagBytes: null });
    await routing.publish(document, undefined);
    return routing;
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pgkeep-test-routing-"));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it("shows state, lag, weight, since and reason of every server, and the age", async () => {
    const shown = await showRouting(opening(await published()), {});
    expect(shown).toMatchObject({ version: 1, ageSeconds: 29.322, stale: false });
    expect(routingText(shown, cli)).toMatchInlineSnapshot(`
      "test: made for version 1
      version 1, published 29 s ago, good for 3 min

      server     state        lag                   weight  since                 endpoint                         reason
      primary    no reads                                                         primary.example:5432             replicas serve the reads
      replica-1  serving      none                  100 %   2026-01-02T03:00:00Z  replica-1.example:6432 (pooler)  it has replayed all that the primary has written
      replica-2  lagging      286.1 MiB, 2 h 2 min  0 %     2026-01-02T03:00:00Z  replica-1.example:6432           its replay is paused; it is behind by 286 MiB of WAL and 2 h 2 min
      replica-3  unreachable  unknown               0 %     2026-01-02T03:00:00Z  replica-1.example:6432 (pooler)  it has replayed all that the primary has written"
    `);
  });

  it("says in capitals that nobody keeps it up to date", async () => {
    const shown = await showRouting(opening(await published(), "2026-01-02T04:00:00Z"), {});
    expect(shown.stale).toBe(true);
    expect(routingText(shown, cli)).toContain(
      "STALE: published 56 min ago, and good for 3 min only: route-replicas is not running",
    );
  });

  it("says what to do when nothing was published, or the target has no routing", async () => {
    closed = 0;
    const none = fileRouting(join(directory, "none.json"));
    await expect(showRouting(opening(none), {})).rejects.toMatchObject({
      code: "not-found",
      remedy: expect.stringContaining("pgkeep run route-replicas"),
    });
    await expect(showRouting(opening(undefined), {})).rejects.toMatchObject({ code: "refused" });
    expect(closed).toBe(2);
  });
});
