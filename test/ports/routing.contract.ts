import { describe, expect, it } from "vitest";
import type { Routing, RoutingDocument } from "../../lib/ports/routing.ts";

/** A small valid document; the number makes each one different. */
export function routingDocument(version: number, reason = `made for version ${version}`): RoutingDocument {
  return {
    formatVersion: 1,
    database: "test",
    systemIdentifier: "7300000000000000001",
    version,
    publishedAt: "2026-01-02T03:04:05.678Z",
    validForSeconds: 180,
    basis: "probed",
    reason,
    primary: {
      endpoint: { host: "primary.example", port: 5432 },
      via: "direct",
      reachable: true,
      servesReads: false,
      reason: "replicas serve the reads",
    },
    replicas: [
      {
        name: "replica-1",
        endpoint: { host: "replica-1.example", port: 6432 },
        via: "pooler",
        state: "serving",
        reason: "it has replayed all that the primary has written",
        lagBytes: 0,
        lagSeconds: 0,
        caughtUpAt: "2026-01-02T03:04:05.600Z",
        weight: 100,
        since: "2026-01-02T03:00:00.000Z",
      },
    ],
  };
}

/** What every Routing adapter must do. `make` gives adapters that share one new, empty place. */
export function routingContract(name: string, make: () => Promise<() => Routing>): void {
  describe(`${name} as a routing port`, () => {
    it("has nothing at first", async () => {
      expect(await (await make())().read()).toBeUndefined();
    });

    it("gives back exactly what was published, to others too", async () => {
      const open = await make();
      const document = routingDocument(1, "quotes \" ' and \n lines, é and 漢");
      expect(await open().publish(document, undefined)).toBe(true);
      expect(await open().read()).toEqual(document);
    });

    it("replaces the document that was expected", async () => {
      const routing = (await make())();
      await routing.publish(routingDocument(1), undefined);
      expect(await routing.publish(routingDocument(2), 1)).toBe(true);
      expect(await routing.read()).toEqual(routingDocument(2));
    });

    it("keeps a newer document when an older one was expected, or none", async () => {
      const routing = (await make())();
      await routing.publish(routingDocument(1), undefined);
      await routing.publish(routingDocument(2), 1);
      expect(await routing.publish(routingDocument(2, "late"), 1)).toBe(false);
      expect(await routing.publish(routingDocument(1, "late"), undefined)).toBe(false);
      expect(await routing.read()).toEqual(routingDocument(2));
    });

    it("publishes nothing when the expected version never was", async () => {
      const routing = (await make())();
      expect(await routing.publish(routingDocument(5), 4)).toBe(false);
      expect(await routing.read()).toBeUndefined();
    });

    it("refuses a version that does not follow the expected one", async () => {
      const routing = (await make())();
      await expect(routing.publish(routingDocument(3), 1)).rejects.toMatchObject({ code: "internal" });
      await expect(routing.publish(routingDocument(2), undefined)).rejects.toMatchObject({
        code: "internal",
      });
      expect(await routing.read()).toBeUndefined();
    });

    it("lets exactly one of many concurrent publishers win each version", async () => {
      const open = await make();
      const wins: number[] = [];
      for (let version = 1; version <= 5; version++) {
        const outcomes = await Promise.all(
          Array.from({ length: 8 }, (_, publisher) =>
            open().publish(
              routingDocument(version, `by ${publisher}`),
              version === 1 ? undefined : version - 1,
            ),
          ),
        );
        expect(outcomes.filter(Boolean)).toHaveLength(1);
        wins.push(outcomes.indexOf(true));
        expect(await open().read()).toEqual(routingDocument(version, `by ${outcomes.indexOf(true)}`));
      }
      expect(wins).toHaveLength(5);
    });
  });
}
