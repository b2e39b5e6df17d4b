import type { Backup } from "../lib/ports/backups.ts";
import { planRetention } from "../lib/retention/plan.ts";
import { type BenchResult, medianSeconds } from "./bench.ts";

const count = 100_000;
const limitSeconds = 1;

/** Retention over 100,000 backups against sorting the same list once. */
export async function benchPruning(): Promise<BenchResult> {
  const now = new Date("2026-06-01T00:00:00Z");
  const backups: Backup[] = Array.from({ length: count }, (_, index) => ({
    id: `pgkeep-shop-${String(index).padStart(6, "0")}`,
    database: "shop",
    status: "available",
    startedAt: new Date(now.getTime() - index * 3_600_000 - 1_000),
    managed: true,
    ...(index % 50 === 0 ? { verifiedAt: new Date(now.getTime() - index * 3_600_000) } : {}),
  }));
  const shuffled = backups.map((backup, index) => ({ backup, key: (index * 7919) % count }));
  shuffled.sort((a, b) => a.key - b.key);
  const list = shuffled.map(({ backup }) => backup);
  const policy = { daily: 7, weekly: 4, monthly: 12 };
  const baselineSeconds = await medianSeconds(5, async () =>
    [...list].sort((a, b) => a.startedAt.getTime() - b.startedAt.getTime()),
  );
  const oursSeconds = await medianSeconds(5, async () => planRetention(list, now, policy));
  return {
    name: `pruning plan of ${count.toLocaleString("en")} backups`,
    baseline: "one sort of the list",
    baselineSeconds,
    oursSeconds,
    ratio: oursSeconds / baselineSeconds,
    limit: `≤ ${limitSeconds} s`,
    ok: oursSeconds <= limitSeconds,
  };
}
