import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { PgkeepError } from "../../lib/errors.ts";
import type { Backups, RestoreRequest, RestoreState } from "../../lib/ports/backups.ts";
import type { Endpoint, Session } from "../../lib/ports/databases.ts";

/** What an adapter's test gives to the suite that every adapter has to pass. */
export interface BackupsUnderTest {
  backups(): Backups;
  /** A session on the database that is backed up, allowed to create tables. */
  connect(): Promise<Session>;
  /** A session on what `restore` made. */
  connectTo(endpoint: Endpoint): Promise<Session>;
}

export async function restoreToEnd(
  backups: Backups,
  request: RestoreRequest,
): Promise<Extract<RestoreState, { status: "available" }>> {
  for (;;) {
    const state = await backups.restore(request);
    if (state.status === "available") return state;
  }
}

/** Registers the tests of the port `Backups`. */
export function testBackups(name: string, subject: BackupsUnderTest): void {
  describe(`${name} keeps what the port Backups promises`, () => {
    const made: string[] = [];
    const backups = () => subject.backups();

    beforeAll(async () => {
      await run("create table contract (note text, at timestamptz default clock_timestamp())");
      await run("insert into contract values ('before the first backup')");
      await backups().create("contract-1");
    });
    afterEach(async () => {
      for (const instance of made.splice(0)) await backups().discard(instance);
    });

    async function run<Row>(sql: string): Promise<Row[]> {
      const session = await subject.connect();
      try {
        return await session.query<Row>(sql.replaceAll("contract", "public.contract"));
      } finally {
        await session.close();
      }
    }

    async function notesOf(request: Omit<RestoreRequest, "name">): Promise<string[]> {
      const instance = `contract-restore-${made.length + 1}`;
      made.push(instance);
      const state = await restoreToEnd(backups(), { name: instance, ...request });
      const session = await subject.connectTo(state.endpoint);
      try {
        const rows = await session.query<{ note: string }>("select note from public.contract order by at");
        await session.query("insert into public.contract values ('the restored instance is writable')");
        return rows.map(({ note }) => note);
      } finally {
        await session.close();
      }
    }

    it("lists a backup with its times, positions and size", async () => {
      const backup = (await backups().list()).find(({ id }) => id === "contract-1");
      expect(backup).toMatchObject({ status: "available", managed: true });
      expect(backup?.sizeBytes).toBeGreaterThan(1_000_000);
      expect(backup?.finishedAt?.getTime()).toBeGreaterThanOrEqual(backup?.startedAt.getTime() ?? 0);
    });

    it("finds a backup that exists instead of making it again", async () => {
      const [before] = (await backups().list()).filter(({ id }) => id === "contract-1");
      const again = await backups().create("contract-1");
      expect(again.startedAt).toEqual(before?.startedAt);
    });

    it("removes a backup, and not a pinned one", async () => {
      await backups().create("contract-pinned");
      await backups().pin("contract-pinned", "the auditors asked");
      await expect(backups().remove("contract-pinned")).rejects.toMatchObject({
        code: "refused",
        message: expect.stringContaining("the auditors asked"),
      });
      await backups().unpin("contract-pinned");
      await backups().remove("contract-pinned");
      expect((await backups().list()).map(({ id }) => id)).not.toContain("contract-pinned");
    });

    it("names a backup that does not exist", async () => {
      for (const attempt of [
        () => backups().remove("absent"),
        () => backups().pin("absent", "x"),
        () => backups().verify("absent"),
        () => backups().restore({ name: "x", target: { kind: "backup", backupId: "absent" } }),
      ]) {
        const error = await attempt().catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(PgkeepError);
        expect(error).toMatchObject({ code: "not-found", message: expect.stringContaining("absent") });
      }
    });

    it("verifies a backup and remembers when", async () => {
      expect((await backups().verify("contract-1")).ok).toBe(true);
      const backup = (await backups().list()).find(({ id }) => id === "contract-1");
      expect(backup?.verifiedAt).toBeInstanceOf(Date);
    });

    it("restores the state at the end of a backup", async () => {
      await run("insert into contract values ('after the first backup')");
      expect(await notesOf({ target: { kind: "backup", backupId: "contract-1" } })).toEqual([
        "before the first backup",
      ]);
    });

    it("restores to a moment exactly: what committed before is there, what committed after is not", async () => {
      await run("insert into contract values ('just before the moment')");
      await new Promise((resolve) => setTimeout(resolve, 5));
      const [row] = await run<{ moment: Date }>("select clock_timestamp() as moment");
      await new Promise((resolve) => setTimeout(resolve, 5));
      await run("insert into contract values ('just after the moment')");
      const notes = await notesOf({ target: { kind: "time", time: row?.moment as Date } });
      expect(notes).toContain("just before the moment");
      expect(notes).not.toContain("just after the moment");
    });

    it("restores to a moment after the last commit", async () => {
      await run("insert into contract values ('the last commit')");
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(await notesOf({ target: { kind: "time", time: new Date(Date.now() - 5) } })).toContain(
        "the last commit",
      );
    });

    it("continues a restore under the same name, and refuses the name for another target", async () => {
      const request = { name: "contract-twice", target: { kind: "backup", backupId: "contract-1" } } as const;
      made.push(request.name);
      const first = await restoreToEnd(backups(), request);
      expect(await restoreToEnd(backups(), request)).toEqual(first);
      await expect(backups().restore({ ...request, target: { kind: "latest" } })).rejects.toMatchObject({
        code: "refused",
      });
    });

    it("refuses a moment outside of the recovery window and says the window", async () => {
      const window = await backups().recoveryWindow();
      if (window === undefined) throw new Error("there is a backup, so there is a window");
      expect(window.latest.getTime()).toBeGreaterThanOrEqual(window.earliest.getTime());
      for (const time of [new Date("2001-01-01T00:00:00Z"), new Date(Date.now() + 3_600_000)]) {
        await expect(
          backups().restore({ name: "outside", target: { kind: "time", time } }),
        ).rejects.toMatchObject({
          code: "restore-failed",
          message: expect.stringContaining(window.earliest.toISOString()),
        });
      }
    });

    it("discards what does not exist without complaint", async () => {
      await backups().discard("never-made");
    });
  });
}
