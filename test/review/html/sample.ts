import type { Severity } from "../../../lib/checks/check.ts";
import type { Area, ReviewFinding } from "../../../lib/checks/review-check.ts";
import { compare, remembered } from "../../../lib/review/compare.ts";
import type { Overview } from "../../../lib/review/overview.ts";
import type { ReviewReport } from "../../../lib/review/run.ts";
import { suppress } from "../../../lib/review/suppressions.ts";
import { findingOf, reportOf, resultOf } from "../../helpers/review-report.ts";

const finding = (
  check: string,
  severity: Severity,
  table: string,
  title: string,
  given: Partial<ReviewFinding> = {},
): ReviewFinding => findingOf({ check, severity, table, title, ...given });

const results = (area: Area, ...findings: ReviewFinding[]) =>
  resultOf(findings[0]?.check ?? "", { area, findings });

const day = (back: number) => new Date(Date.UTC(2026, 10, 21 - back)).toISOString().slice(0, 10);

const gibibyte = 2 ** 30;

export const overview: Overview = {
  tables: {
    tables: 41,
    bytes: 31 * gibibyte,
    unmeasured: 2,
    largest: ["order_lines", "orders", "events", "customers", "audit", "products", "sessions", "prices"].map(
      (table, index) => ({
        schema: "public",
        table,
        heapBytes: (8 * gibibyte) / (index + 1),
        toastBytes: table === "events" ? 2 * gibibyte : 0,
        indexBytes: (3 * gibibyte) / (index + 1),
      }),
    ),
  },
  cache: {
    hits: 981_234_567,
    reads: 12_345_678,
    since: "2026-11-01T00:00:00.000Z",
    tables: [
      { schema: "public", table: "events", hits: 3_000_000, reads: 8_000_000 },
      { schema: "public", table: "order_lines", hits: 700_000_000, reads: 3_000_000 },
    ],
  },
  load: {
    totalSeconds: 86_400,
    since: "2026-11-01T00:00:00.000Z",
    statements: [
      "SELECT o.id, o.total FROM orders o WHERE o.customer_id = $1 ORDER BY o.created_at DESC LIMIT $2 OFFSET $3",
      "UPDATE products SET stock = stock - $1 WHERE id = $2",
      "SELECT count(*) FROM events WHERE kind = $1",
    ].map((statement, index) => ({
      statement,
      calls: 1_234_567 * (index + 1),
      meanMilliseconds: 12.3 / (index + 1),
      totalSeconds: 30_000 / (index + 1),
      hits: 90,
      reads: 10 * index,
    })),
  },
  loadByDay: {
    days: Array.from({ length: 30 }, (_, index) => ({
      day: day(29 - index),
      busySessions: 0.8 + 0.5 * Math.sin(index / 2) ** 2,
      hits: 1000,
      reads: 10 + (index % 7),
    })),
  },
  growth: {
    days: Array.from({ length: 90 }, (_, index) => ({
      day: day(89 - index),
      bytes: 24 * gibibyte + index * 80 * 2 ** 20,
    })),
    tables: [
      {
        schema: "public",
        table: "events",
        bytes: 6 * gibibyte,
        grownBytes: 3 * gibibyte,
        fromDay: day(89),
        toDay: day(0),
      },
      {
        schema: "public",
        table: "sessions",
        bytes: gibibyte,
        grownBytes: -gibibyte / 2,
        fromDay: day(89),
        toDay: day(0),
      },
    ],
  },
};

/** A report with everything that one can have. */
export function sampleReport(): ReviewReport {
  const report = reportOf(
    [
      results(
        "types",
        finding(
          "keys-running-out",
          "critical",
          "events",
          "public.events.id reaches the end of integer in 21 days",
          {
            effort: "days",
            object: { schema: "public", table: "events", column: "id" },
            evidence: {
              lastValue: 2_041_234_567,
              limit: 2_147_483_647,
              tableBytes: 9 * gibibyte,
              perDay: 5e6,
            },
          },
        ),
      ),
      results(
        "security",
        finding("roles-with-too-much", "high", "app", "The login app is a superuser", {
          object: { role: "app" },
          confidence: "certain",
        }),
      ),
      {
        ...results(
          "indexes",
          ...["orders", "order_lines", "prices"].map((table) =>
            finding(
              "foreign-keys-without-index",
              "medium",
              table,
              `public.${table} has no index for its foreign key`,
              {
                since: "2026-11-01T00:00:00.000Z",
                fix: {
                  up: [`CREATE INDEX CONCURRENTLY ${table}_customer_idx ON public.${table} (customer_id);`],
                  down: [`DROP INDEX CONCURRENTLY public.${table}_customer_idx;`],
                  proof: ["before: Seq Scan, 81,234 cost", "after: Index Scan, 8.4 cost"],
                },
              },
            ),
          ),
        ),
        reason: "the replica reporting did not answer: what it uses is not known",
      },
      results(
        "workload",
        finding(
          "deep-offset",
          "medium",
          "orders",
          "Skips 12,000 rows on average: SELECT o.id FROM orders …",
          {
            confidence: "likely",
            effort: "hours",
            origin: "app/controllers/orders.rb:42",
            evidence: {
              statement: "SELECT o.id FROM orders o ORDER BY o.id LIMIT $1 OFFSET $2\n  FOR UPDATE",
              queryIds: ["-123", "456"],
              nested: { calls: 12_345_678, meanMilliseconds: 12.345_67, index: null, used: false },
            },
            example: {
              before: "SELECT id FROM orders ORDER BY id LIMIT 20 OFFSET 12000",
              after: "SELECT id FROM orders WHERE id > $1 ORDER BY id LIMIT 20",
            },
          },
        ),
      ),
      results("settings", finding("logging", "low", "log", "Slow statements are not logged")),
      results("space", finding("table-bloat", "low", "audit", "public.audit is half empty")),
      resultOf("page-checksums", { area: "settings", good: ["Pages have checksums."] }),
      resultOf("duplicate-indexes", { good: ["No index is there twice: 120 indexes."] }),
      resultOf("unused-indexes", {
        reason: "the role alice lacks the rights of pg_read_all_stats: GRANT pg_monitor TO alice;",
      }),
    ],
    {
      overview,
      replicas: ["reporting-2"],
      replicasUnseen: [{ name: "reporting", reason: "no route to host" }],
    },
  );
  const fixed = finding("duplicate-indexes", "high", "orders", "Two indexes of public.orders are the same");
  const unknown = finding("unused-indexes", "low", "old", "public.old_idx is not used");
  const earlier = remembered(
    reportOf(
      [
        ...report.results.filter(({ check }) => check !== "keys-running-out" && check !== "logging"),
        resultOf("keys-running-out"),
        resultOf("duplicate-indexes", { findings: [fixed] }),
        resultOf("unused-indexes", { findings: [unknown] }),
      ],
      { startedAt: "2026-11-14T12:00:00.000Z" },
    ),
  );
  report.comparison = compare(earlier, report);
  suppress(report, [
    { key: "table-bloat/public.audit", reason: "it is archived in December", expires: "2027-01-31" },
    { key: "table-bloat/public.gone", reason: "long ago" },
  ]);
  return report;
}

/** Tries to get out of elements, attributes, script, style and pictures. */
export const hostileTexts = [
  `</script><img src=x onerror="document.title='broken out'">`,
  `"><svg onload="document.title='broken out'"></svg><x y="`,
  `' onfocus='document.title="broken out"' autofocus='`,
  `--></style></title></code></pre></details><iframe srcdoc="<script>parent.document.title='broken out'</script>"></iframe>`,
  `javascript:document.title='broken out'//{{7*7}}\${document.title='broken out'}`,
  `&lt;img src=x onerror=alert(1)&gt; &#60;script&#62;`,
  `שלום "طاولة" \u202e\u2066txt.exe\u0000\u001b[31m\r\n𝓾𝓷𝓲 \ud800 é`,
] as const;

/** Every text of the report is hostile, evidence and its names included. */
export function hostileReport(): ReviewReport {
  const spoiled = (value: unknown, at: number): unknown => {
    const text = hostileTexts[at % hostileTexts.length] ?? "";
    if (typeof value === "string") return /^\d{4}-\d\d-\d\dT/.test(value) ? value : text;
    if (Array.isArray(value)) return value.map((one, index) => spoiled(one, at + index));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, one], index) => [
        key,
        ["severity", "confidence", "effort", "area", "verdict", "check", "key", "day"].includes(key)
          ? key === "key"
            ? `${String(one)}${text}`
            : one
          : spoiled(one, at + index + 1),
      ]),
    );
  };
  const report = spoiled(sampleReport(), 0) as ReviewReport;
  for (const one of report.results.flatMap(({ findings }) => findings)) {
    for (const [index, text] of hostileTexts.entries()) one.evidence[text] = hostileTexts[index] ?? null;
  }
  return report;
}

/** As many as nobody wants. */
export function largeReport(count: number): ReviewReport {
  const severities: readonly Severity[] = ["critical", "high", "medium", "low"];
  const areas: readonly Area[] = ["indexes", "workload", "space"];
  return reportOf(
    areas.map((area) =>
      resultOf(`check-of-${area}`, {
        area,
        findings: Array.from({ length: count / areas.length }, (_, index) =>
          finding(
            `check-of-${area}`,
            severities[index % 4] ?? "low",
            `${area}_${index}`,
            `public.${area}_${index} is not as it should be`,
            {
              evidence: {
                statement: `SELECT * FROM ${area}_${index} WHERE a = $1 `.repeat(20),
                calls: index,
              },
            },
          ),
        ),
      }),
    ),
  );
}
