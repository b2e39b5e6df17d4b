import { describe, expect, it } from "vitest";
import { declaredPorts } from "../../lib/jobs/declared-ports.ts";
import { type AnyStep, done, step } from "../../lib/jobs/job.ts";
import type { Json } from "../../lib/json.ts";
import type { NeedablePorts } from "../../lib/ports/index.ts";

const declared = (calls?: { backups: ("list" | "remove")[] }): AnyStep =>
  step<Json, Json, "backups">("prune", {
    where: "control-plane",
    needs: ["backups"],
    timeoutSeconds: 1,
    run: async () => done(null),
    ...(calls === undefined ? {} : { calls }),
  });

class Kept {
  readonly #backups = ["a"];
  list = async () => this.#backups;
  async remove() {
    this.#backups.pop();
  }
}

const ports = () => ({ backups: new Kept() }) as unknown as NeedablePorts;

describe("the ports of a step", () => {
  it("have the functions that it declares", async () => {
    const { backups } = declaredPorts(declared({ backups: ["list", "remove"] }), ports());
    await backups.remove("a");
    expect(await backups.list()).toEqual([]);
  });

  it("refuse every other one, by name", () => {
    const { backups } = declaredPorts(declared({ backups: ["list"] }), ports());
    expect(() => backups.remove("a")).toThrow("step prune does not declare that it calls backups.remove");
  });

  it("are whole for a step that declares nothing", async () => {
    const { backups } = declaredPorts(declared(), ports());
    await backups.remove("a");
    expect(await backups.list()).toEqual([]);
  });
});
