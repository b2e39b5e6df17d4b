import { randomUUID } from "node:crypto";
import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { log } from "../../../lib/sandbox/measures/log.ts";
import type { Measure, MeasureContext } from "../../../lib/sandbox/measures/measure.ts";
import { valueFor } from "./helpers.ts";

const refused = (user = "app") =>
  `2026-01-01 00:00:00.000 UTC [7] ${user}@shop FATAL:  password authentication failed for user "${user}"\n` +
  '2026-01-01 00:00:00.000 UTC [7] DETAIL:  Connection matched file "pg_hba.conf" line 2\n';
const other = "2026-01-01 00:00:00.000 UTC [7] LOG:  checkpoint complete\n";

describe("refused logins in the logs of the servers", () => {
  let directory: string;
  let measure: ReturnType<Measure["start"]>;
  const file = (name = "primary") => join(directory, `${name}.log`);

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), `pgkeep-test-${randomUUID().slice(0, 4)}-`));
    await writeFile(file(), refused());
    await writeFile(file("replica-1"), other);
    measure = log.start();
  });
  afterEach(() => rm(directory, { recursive: true }));

  const failed = async () => {
    const server = (name: string) => ({ name, dataDirectory: join(directory, name), port: 0 });
    const state = { primary: server("primary"), replicas: [server("replica-1"), server("replica-2")] };
    return valueFor(await measure({ state } as unknown as MeasureContext), "FailedLogins");
  };

  it("count from the second look on, of all servers together, each once", async () => {
    expect(await failed()).toBe(0);
    await appendFile(file(), other + refused() + refused());
    await appendFile(file("replica-1"), refused());
    expect(await failed()).toBe(3);
    expect(await failed()).toBe(0);
  });

  it("count when their line is whole", async () => {
    await failed();
    await appendFile(file(), refused().slice(0, 60));
    expect(await failed()).toBe(0);
    await appendFile(file(), refused().slice(60));
    expect(await failed()).toBe(1);
  });

  it("count in a log that comes later, from its begin", async () => {
    await failed();
    await writeFile(file("replica-2"), refused() + refused());
    expect(await failed()).toBe(2);
  });

  it("are not lost when a log is turned over", async () => {
    await failed();
    await appendFile(file(), refused());
    await rename(file(), `${file()}.1`);
    await writeFile(file(), other + refused());
    expect(await failed()).toBe(2);
    expect(await failed()).toBe(0);
  });

  it("count from the begin when a log was emptied", async () => {
    await appendFile(file(), other);
    await failed();
    await truncate(file(), 0);
    await appendFile(file(), refused());
    expect(await failed()).toBe(1);
  });

  it("count again after a log was away", async () => {
    await failed();
    await rm(file());
    expect(await failed()).toBe(0);
    await writeFile(file(), refused());
    expect(await failed()).toBe(1);
  });

  it("take bounded reading: a flood is counted whole, over several looks", async () => {
    await failed();
    const lines = 150_000;
    await appendFile(file(), refused("x").repeat(lines));
    const first = await failed();
    expect(first).toBeGreaterThan(30_000);
    expect(first).toBeLessThan(lines);
    let total = first;
    for (let looks = 0; looks < 10 && total < lines; looks++) total += await failed();
    expect(total).toBe(lines);
    expect(await failed()).toBe(0);
  });

  it("go on after a line without an end", async () => {
    await failed();
    await appendFile(file(), "x".repeat(700_000));
    expect(await failed()).toBe(0);
    await appendFile(file(), `\n${refused()}`);
    expect(await failed()).toBe(1);
  });
});
