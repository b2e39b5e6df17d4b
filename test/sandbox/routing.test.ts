import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { RoutingDocument } from "../../lib/ports/routing.ts";
import { fileRouting } from "../../lib/sandbox/routing.ts";
import { routingContract, routingDocument } from "../ports/routing.contract.ts";

const made: string[] = [];
const newFile = async (): Promise<string> => {
  const directory = await mkdtemp(join(tmpdir(), "pgkeep-test-routing-"));
  made.push(directory);
  return join(directory, "routing.json");
};

afterAll(async () => {
  await Promise.all(made.map((directory) => rm(directory, { recursive: true, force: true })));
});

routingContract("a file", async () => {
  const file = await newFile();
  return () => fileRouting(file);
});

describe("the routing document as a file", () => {
  const shown = async (file: string): Promise<RoutingDocument> => JSON.parse(await readFile(file, "utf8"));

  it("is readable by applications under its own name, and leaves no temporary file", async () => {
    const file = await newFile();
    await fileRouting(file).publish(routingDocument(1), undefined);
    expect(await shown(file)).toEqual(routingDocument(1));
    expect((await stat(file)).mode & 0o444).toBe(0o444);
    expect((await readdir(join(file, ".."))).sort()).toEqual(["routing.json", "routing.json.versions"]);
    expect(await readdir(`${file}.versions`)).toHaveLength(1);
  });

  it("does not keep old versions forever", async () => {
    const file = await newFile();
    const routing = fileRouting(file);
    for (let version = 1; version <= 50; version++) {
      expect(await routing.publish(routingDocument(version), version === 1 ? undefined : version - 1)).toBe(
        true,
      );
    }
    expect((await readdir(`${file}.versions`)).length).toBeLessThanOrEqual(20);
    expect((await shown(file)).version).toBe(50);
  });

  it("recovers from a publisher that was killed between claiming a version and showing it", async () => {
    const file = await newFile();
    const routing = fileRouting(file);
    await routing.publish(routingDocument(1), undefined);
    await writeFile(join(`${file}.versions`, "0000000002.json"), JSON.stringify(routingDocument(2)));
    await writeFile(join(`${file}.versions`, ".half-written.tmp"), '{"formatVersion":');
    expect(await routing.read()).toEqual(routingDocument(2));
    expect(await routing.publish(routingDocument(3), 2)).toBe(true);
    expect((await shown(file)).version).toBe(3);
  });

  it("says which file is damaged and what to do", async () => {
    const file = await newFile();
    const routing = fileRouting(file);
    await routing.publish(routingDocument(1), undefined);
    const damaged = join(`${file}.versions`, "0000000002.json");
    await writeFile(damaged, JSON.stringify({ ...routingDocument(2), replicas: [{ name: "x" }] }));
    await expect(routing.read()).rejects.toMatchObject({
      code: "internal",
      message: expect.stringContaining(damaged),
      remedy: expect.stringContaining("remove it"),
    });
    await rm(damaged);
    expect(await routing.read()).toEqual(routingDocument(1));
  });

  it("never shows half a document, and loses no publication, while processes compete and are killed", async () => {
    const file = await newFile();
    const script = `
      import { fileRouting } from ${JSON.stringify(resolve("lib/sandbox/routing.ts"))};
      const [file, name, template] = process.argv.slice(-3);
      const routing = fileRouting(file);
      for (;;) {
        const previous = await routing.read();
        const document = { ...JSON.parse(template), version: (previous?.version ?? 0) + 1, reason: name };
        if (await routing.publish(document, previous?.version)) console.log(document.version);
      }`;
    const publish = (name: string) => {
      const child = spawn(
        process.execPath,
        [
          "--import",
          "tsx",
          "--input-type=module",
          "-e",
          script,
          file,
          name,
          JSON.stringify(routingDocument(1)),
        ],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      let output = "";
      child.stdout.on("data", (chunk) => {
        output += chunk;
      });
      const ended = new Promise((done) => child.once("close", done));
      return { child, ended, versions: () => output.split("\n").slice(0, -1).map(Number) };
    };
    const publishers = ["a", "b", "c"].map(publish);
    let seen = 0;
    const until = Date.now() + 30_000;
    while (Date.now() < until && publishers.some(({ versions }) => versions().length < 15)) {
      const text = await readFile(file, "utf8").catch(() => undefined);
      if (text !== undefined) {
        const document = JSON.parse(text) as RoutingDocument;
        expect(document.version).toBeGreaterThan(0);
        seen++;
      }
      await new Promise((done) => setTimeout(done, 2));
    }
    for (const { child } of publishers) child.kill("SIGKILL");
    await Promise.all(publishers.map(({ ended }) => ended));
    const won = publishers.flatMap(({ versions }) => versions());
    expect(seen).toBeGreaterThan(0);
    expect(new Set(won).size).toBe(won.length);
    const last = (await fileRouting(file).read())?.version ?? 0;
    // Each version has one winner; the three that were killed may not have told of their last one.
    expect(won.length).toBeGreaterThanOrEqual(last - publishers.length);
    expect(await fileRouting(file).publish(routingDocument(last + 1), last)).toBe(true);
    expect((await shown(file)).version).toBe(last + 1);
  });
});
