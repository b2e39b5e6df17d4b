import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import type { DumpStore } from "../../lib/logical/store.ts";

const manifest = (id: string) => `{"id":"${id}"}\n`;
const bytesOf = (words: string) => Readable.from([Buffer.from(words)]);

/** A stream that breaks after its first bytes. */
const breaking = () =>
  Readable.from(
    (async function* () {
      yield Buffer.from("the beginning");
      throw new Error("pg_dump was killed");
    })(),
    { objectMode: false },
  );

/** What every store of logical backups must do. `make` gives adapters that share one new, empty place. */
/** @param attempts at what takes place in two steps where the store is emulated */
export function dumpStoreContract(
  name: string,
  make: () => Promise<() => Promise<DumpStore>>,
  attempts = 1,
): void {
  describe(`${name} as a store of logical backups`, () => {
    const add = async (store: DumpStore, id: string, words = "data") => {
      const draft = await store.begin(id);
      await draft.write("dump/1.dat", bytesOf(words));
      await draft.write("dump/toc.dat", bytesOf("contents"));
      await draft.commit(manifest(id));
    };
    const states = async (store: DumpStore) =>
      Object.fromEntries((await store.list()).map(({ id, state }) => [id, state]));

    it("is empty at first, and says where it is", async () => {
      const store = await (await make())();
      expect(await store.list()).toEqual([]);
      expect(await store.sweep({ dryRun: false })).toEqual([]);
      expect(store.location).not.toBe("");
    });

    it("gives back what was written, to others too", async () => {
      const open = await make();
      await add(await open(), "shop-1", "é and 漢");
      const store = await open();
      expect(await states(store)).toEqual({ "shop-1": "complete" });
      expect(await text(await store.read("shop-1", "dump/1.dat"))).toBe("é and 漢");
      expect(await store.readText("shop-1", "manifest.json")).toBe(manifest("shop-1"));
      expect((await store.files("shop-1")).sort((a, b) => (a.path < b.path ? -1 : 1))).toEqual([
        { path: "dump/1.dat", bytes: 10 },
        { path: "dump/toc.dat", bytes: 8 },
        { path: "manifest.json", bytes: manifest("shop-1").length },
      ]);
    });

    it("keeps an empty file and a large one as they are", async () => {
      const store = await (await make())();
      const draft = await store.begin("sizes");
      const block = Buffer.alloc(1024 * 1024, "0123456789abcdef");
      await draft.write("dump/empty", Readable.from([]));
      await draft.write("dump/large", Readable.from(Array.from({ length: 20 }, () => block)), 1);
      await draft.commit(manifest("sizes"));
      expect(await text(await store.read("sizes", "dump/empty"))).toBe("");
      let bytes = 0;
      for await (const chunk of await store.read("sizes", "dump/large")) {
        const part = chunk as Buffer;
        expect(part[0]).toBe("0123456789abcdef".charCodeAt(bytes % 16));
        bytes += part.length;
      }
      expect(bytes).toBe(20 * block.length);
    });

    it("shows a draft as running, never as a backup, and another may not begin it", async () => {
      const open = await make();
      const store = await open();
      const draft = await store.begin("once");
      await draft.write("dump/1.dat", bytesOf("data"));
      expect(await states(await open())).toEqual({ once: "running" });
      await expect((await open()).begin("once")).rejects.toMatchObject({
        code: "refused",
        message: expect.stringContaining("is being made already"),
      });
      expect(await (await open()).sweep({ dryRun: false })).toEqual([]);
      await draft.commit(manifest("once"));
      expect(await states(store)).toEqual({ once: "complete" });
      await expect(store.begin("once")).rejects.toThrow("exists already");
    });

    it("lets one of many begin a backup", { retry: attempts - 1 }, async () => {
      const open = await make();
      const outcomes = await Promise.allSettled(
        Array.from({ length: 6 }, async () => (await open()).begin("contended")),
      );
      const drafts = outcomes.filter((outcome) => outcome.status === "fulfilled");
      expect(drafts).toHaveLength(1);
      for (const { value } of drafts) await value.abandon();
    });

    it("leaves nothing of a draft that is abandoned", async () => {
      const store = await (await make())();
      const draft = await store.begin("half");
      await draft.write("dump/1.dat", bytesOf("data"));
      await draft.abandon();
      expect(await store.list()).toEqual([]);
      await add(store, "half");
      expect(await states(store)).toEqual({ half: "complete" });
    });

    it("fails with the source, and ends the source when it fails", async () => {
      const store = await (await make())();
      const draft = await store.begin("broken");
      await expect(draft.write("dump/1.dat", breaking())).rejects.toThrow("pg_dump was killed");
      await draft.abandon();
      expect(await store.list()).toEqual([]);
    });

    it("removes one file of a draft", async () => {
      const store = await (await make())();
      const draft = await store.begin("less");
      await draft.write("dump/clear.dat", bytesOf("secret"));
      await draft.write("dump/sealed.dat", bytesOf("sealed"));
      await draft.remove("dump/clear.dat");
      await draft.commit(manifest("less"));
      expect((await store.files("less")).map(({ path }) => path).sort()).toEqual([
        "dump/sealed.dat",
        "manifest.json",
      ]);
    });

    it("keeps texts beside the files, and replaces them", async () => {
      const store = await (await make())();
      await add(store, "marked");
      expect(await store.readText("marked", "marks.json")).toBeUndefined();
      await store.writeText("marked", "marks.json", "1");
      await store.writeText("marked", "marks.json", "2");
      expect(await store.readText("marked", "marks.json")).toBe("2");
    });

    it("removes a backup and nothing else, and says when there is none", async () => {
      const store = await (await make())();
      await add(store, "shop-1");
      await add(store, "shop-10");
      await store.remove("shop-1");
      expect(await states(store)).toEqual({ "shop-10": "complete" });
      expect(await text(await store.read("shop-10", "dump/1.dat"))).toBe("data");
      await expect(store.remove("shop-1")).rejects.toMatchObject({ code: "not-found" });
      await add(store, "shop-1", "again");
      expect(await text(await store.read("shop-1", "dump/1.dat"))).toBe("again");
    });

    it("says what is missing", async () => {
      const store = await (await make())();
      expect(await store.readText("nothing", "manifest.json")).toBeUndefined();
      await add(store, "shop-1");
      await expect(store.read("shop-1", "dump/2.dat")).rejects.toThrow("dump/2.dat");
    });

    it("takes no names that lead elsewhere", async () => {
      const store = await (await make())();
      for (const id of ["../x", "/etc", "a/b", "", ".partial-x", "a\n"]) {
        await expect(store.begin(id)).rejects.toThrow("cannot be the name");
        await expect(store.remove(id)).rejects.toThrow("cannot be the name");
        await expect(store.readText(id, "manifest.json")).rejects.toThrow("cannot be the name");
      }
    });
  });
}
