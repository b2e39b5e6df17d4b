import { bar, fixed, table } from "../../html/elements.ts";
import { type Html, html, moment, name, numberText } from "../../html/markup.ts";
import { bytesText, countText, durationText } from "../../words.ts";
import type { Known, Overview } from "../overview.ts";

/**
 * Pictures of size, load, cache and growth. Bars stand in the rows of tables that also have the numbers, so nobody
 * needs to see them; lines have a description, and their values in a table.
 */
export function charts(overview: Overview): Html {
  const { tables, load, loadByDay, cache, growth } = overview;
  return html`
${chart("size", "Size by table", tables, sizeChart)}
${chart("load", "Load by statement", load, loadChart)}
${chart("load-by-day", "Load and cache by day", loadByDay, loadByDayChart)}
${chart("cache", "Cache", cache, cacheChart)}
${chart("growth", "Growth", growth, growthChart)}`;
}

function chart<T extends object>(id: string, title: string, known: Known<T>, draw: (data: T) => Html): Html {
  return html`<section class="chart" aria-labelledby="chart-${id}"><h3 id="chart-${id}">${title}</h3>
${"reason" in known ? html`<p class="absent"><strong>No data:</strong> ${known.reason}</p>` : draw(known as T)}</section>`;
}

type Data<K extends keyof Overview> = Exclude<Overview[K], { reason: string }>;

function sizeChart({ largest, tables, bytes, unmeasured }: Data<"tables">): Html {
  const total = (one: (typeof largest)[number]) => one.heapBytes + one.toastBytes + one.indexBytes;
  const most = Math.max(1, ...largest.map(total));
  const shown = largest.reduce((sum, one) => sum + total(one), 0);
  return html`<p>${countText(tables, "table")}, ${bytesText(bytes)} together${
    bytes > shown ? `; those not shown have ${bytesText(bytes - shown)}` : ""
  }. As VACUUM and ANALYZE last counted; partitions count in their table.${
    unmeasured === 0
      ? ""
      : ` ${countText(unmeasured, "table or partition", "tables and partitions")} ${unmeasured === 1 ? "was" : "were"} never measured and ${
          unmeasured === 1 ? "counts" : "count"
        } as empty: ANALYZE them.`
  }</p>
<p class="legend" aria-hidden="true"><span class="key a"></span>rows <span class="key b"></span>indexes <span class="key c"></span>TOAST</p>
${table(
  "Size by table",
  ["Table", "", "Total", "Rows", "Indexes", "TOAST"],
  largest.map((one) => [
    html`${name(one.schema)}.${name(one.table)}`,
    bar([
      ["a", one.heapBytes / most],
      ["b", one.indexBytes / most],
      ["c", one.toastBytes / most],
    ]),
    bytesText(total(one)),
    bytesText(one.heapBytes),
    bytesText(one.indexBytes),
    bytesText(one.toastBytes),
  ]),
)}`;
}

function loadChart({ statements, totalSeconds, since }: Data<"load">): Html {
  const shown = statements.reduce((sum, one) => sum + one.totalSeconds, 0);
  const most = Math.max(Number.MIN_VALUE, ...statements.map((one) => one.totalSeconds));
  const share = (seconds: number) =>
    totalSeconds > 0 ? `${numberText1((100 * seconds) / totalSeconds)} %` : "";
  return html`<p>${durationText(totalSeconds)} of execution${since === null ? "" : html` since ${moment(since)}`}${
    totalSeconds > shown ? `; statements not shown took ${share(totalSeconds - shown)} of it` : ""
  }.</p>
${table(
  "Load by statement",
  ["Statement", "", "Share", "Time", "Calls", "Mean", "Cache hits"],
  statements.map((one) => [
    html`<code class="statement" dir="ltr">${one.statement}</code>`,
    bar([["a", one.totalSeconds / most]]),
    share(one.totalSeconds),
    durationText(one.totalSeconds),
    numberText(one.calls),
    `${numberText1(one.meanMilliseconds)} ms`,
    hitText(one),
  ]),
)}`;
}

function loadByDayChart({ days }: Data<"loadByDay">): Html {
  const withReads = days.filter(({ hits, reads }) => hits + reads > 0);
  return html`<p>Sessions that were executing the statements of the history, on average between one day's look and the
next: at least so many.</p>
${line({
  id: "line-load",
  title: "Busy sessions by day",
  points: days.map(({ day, busySessions }) => ({ day, value: busySessions })),
  text: numberText,
  base: 10,
  fromZero: true,
})}
${
  withReads.length < 2
    ? ""
    : line({
        id: "line-cache",
        title: "Share of block reads answered from shared buffers, by day",
        points: withReads.map(({ day, hits, reads }) => ({ day, value: (100 * hits) / (hits + reads) })),
        text: (value) => `${numberText1(value)} %`,
        base: 10,
        highest: 100,
      })
}`;
}

function cacheChart({ hits, reads, since, tables }: Data<"cache">): Html {
  const most = Math.max(1, ...tables.map((one) => one.reads));
  return html`<p>Shared buffers answered <strong>${hitText({ hits, reads })}</strong> of ${numberText(hits + reads)} block reads${
    since === null ? "" : html` since ${moment(since)}`
  }. What they did not may still have come from the operating system's cache.</p>
${
  tables.length === 0
    ? ""
    : table(
        "Reads from outside shared buffers, by table",
        ["Table", "", "Blocks read", "Blocks found", "Hits"],
        tables.map((one) => [
          html`${name(one.schema)}.${name(one.table)}`,
          bar([["a", one.reads / most]]),
          numberText(one.reads),
          numberText(one.hits),
          hitText(one),
        ]),
      )
}`;
}

function growthChart({ days, tables }: Data<"growth">): Html {
  const most = Math.max(1, ...tables.map((one) => Math.abs(one.grownBytes ?? 0)));
  const [first, last] = [days[0], days.at(-1)];
  const grown = (last?.bytes ?? 0) - (first?.bytes ?? 0);
  return html`<p>${signed(grown)} from ${first?.day ?? ""} to ${last?.day ?? ""}.</p>
${line({
  id: "line-growth",
  title: "Size of the database by day",
  points: days.map(({ day, bytes }) => ({ day, value: bytes })),
  text: bytesText,
  base: 1024,
})}
${
  tables.length === 0
    ? ""
    : table(
        "Growth of the largest tables",
        ["Table", "", "Growth", "Size", "Days"],
        tables.map((one) => [
          html`${name(one.schema)}.${name(one.table)}`,
          bar([[(one.grownBytes ?? 0) < 0 ? "c" : "a", Math.abs(one.grownBytes ?? 0) / most]]),
          signed(one.grownBytes ?? 0),
          one.bytes === null ? "unknown" : bytesText(one.bytes),
          `${one.fromDay} to ${one.toDay}`,
        ]),
      )
}`;
}

const numberText1 = (value: number) => numberText(Math.round(value * 10) / 10);
const signed = (bytes: number) => `${bytes < 0 ? "−" : "+"}${bytesText(Math.abs(bytes))}`;

function hitText({ hits, reads }: { hits: number; reads: number }): string {
  return hits + reads === 0 ? "none read" : `${numberText1((100 * hits) / (hits + reads))} %`;
}

interface Line {
  id: string;
  title: string;
  /** Oldest first. */
  points: readonly { day: string; value: number }[];
  text(value: number): string;
  /** 1024 for bytes: the steps of the axis are round numbers of its powers. */
  base: 10 | 1024;
  /** No value can be above. */
  highest?: number;
  /** The axis begins at zero, always. */
  fromZero?: true;
}

const size = { width: 720, height: 220, left: 84, right: 16, top: 14, bottom: 30 };
function line({ id, title, points, text, base, highest, fromZero }: Line): Html {
  const values = points.map(({ value }) => value);
  const lowest = fromZero === true ? 0 : Math.min(...values);
  const ticks = ticksOf(lowest, Math.max(...values), base, highest);
  const [low, high] = [ticks[0] ?? 0, ticks.at(-1) ?? 1];
  const [begin, end] = [points[0], points.at(-1)];
  if (begin === undefined || end === undefined) return html``;
  const [from, until] = [Date.parse(begin.day), Date.parse(end.day)];
  const x = (day: string) =>
    size.left +
    ((size.width - size.left - size.right) * (Date.parse(day) - from)) / Math.max(1, until - from);
  const y = (value: number) =>
    size.height - size.bottom - ((size.height - size.top - size.bottom) * (value - low)) / (high - low);
  const path = points.map(({ day, value }) => `${fixed(x(day))} ${fixed(y(value))}`).join("L");
  const floor = fixed(y(low));
  const middle = points[Math.floor(points.length / 2)];
  const labels = [begin, ...(points.length > 4 && middle !== undefined ? [middle] : []), end];
  return html`<figure><svg class="line" viewBox="0 0 ${size.width} ${size.height}" role="img" aria-labelledby="${id}-title" aria-describedby="${id}-text">
<title id="${id}-title">${title}</title>
<desc id="${id}-text">From ${text(begin.value)} on ${begin.day} to ${text(end.value)} on ${end.day}; lowest ${text(
    Math.min(...values),
  )}, highest ${text(Math.max(...values))}.</desc>
${ticks.map(
  (
    tick,
  ) => html`<line class="grid" x1="${size.left}" x2="${size.width - size.right}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}"/>
<text x="${size.left - 8}" y="${fixed(y(tick) + 4)}" text-anchor="end">${text(tick)}</text>`,
)}
${
  // A filled area says "so much of it", which is true above zero only.
  low === 0
    ? html`<path class="area" d="M${fixed(x(begin.day))} ${floor}L${path}L${fixed(x(end.day))} ${floor}Z"/>`
    : ""
}
<path class="stroke" d="M${path}"/>
${labels.map(
  ({ day }, index) =>
    html`<text x="${fixed(x(day))}" y="${size.height - 8}" text-anchor="${
      index === 0 ? "start" : index === labels.length - 1 ? "end" : "middle"
    }">${day}</text>`,
)}
</svg><figcaption>${title}${low === 0 ? "" : `; the axis begins at ${text(low)}`}</figcaption>
<details class="values"><summary>Values: ${title.toLowerCase()}</summary>${table(
    title,
    ["Day", "Value"],
    points.map(({ day, value }) => [day, text(value)]),
  )}</details></figure>`;
}

/** Smaller differences are a flat line: nothing that is drawn has more digits. */
const smallest = 1e-3;

/**
 * Three to six round numbers around the values. The axis begins at zero unless that would make a flat line of what
 * changes by less than half.
 */
export function ticksOf(
  low: number,
  high: number,
  base: 10 | 1024,
  highest = Number.POSITIVE_INFINITY,
): number[] {
  const bottom = low > high / 2 ? low : 0;
  const span = high - bottom < smallest ? Math.max(high, 1) : high - bottom;
  const unit = base ** Math.floor(Math.log(span) / Math.log(base));
  const ten = 10 ** Math.floor(Math.log10(span / unit));
  const step = ([0.2, 0.5, 1, 2, 5, 10].find((one) => span / (one * ten * unit) <= 4.5) ?? 10) * ten * unit;
  const first = Math.floor(bottom / step) * step;
  const ticks: number[] = [];
  for (let index = 0; index < 8; index += 1) {
    const tick = first + index * step;
    if (tick > highest + step / 1000) break;
    ticks.push(Math.round(tick * 1e6) / 1e6);
    if (tick >= high) break;
  }
  return ticks.length > 1 ? ticks : [first, first + step];
}
