import { describe, expect, it } from "vitest";
import { alarmsFor } from "../../lib/alarms/catalogue.ts";
import { configOf, contextOf, topologies } from "../alarms/contexts.ts";
import { observabilityOf, ofType } from "./observability.ts";

interface Widget {
  type: string;
  x: number;
  y: number;
  width: number;
  height: number;
  properties: { title?: string; markdown?: string; metrics?: unknown[]; alarms?: unknown[] };
}

function widgetsOf(topology: (typeof topologies)[number]): Widget[] {
  const [dashboard] = ofType(observabilityOf(configOf(topology)).resources, "AWS::CloudWatch::Dashboard");
  const body = dashboard?.properties.DashboardBody;
  // Tokens such as the region are in between: any text will do for them.
  const text =
    typeof body === "string"
      ? body
      : (body as { "Fn::Join": [string, unknown[]] })["Fn::Join"][1]
          .map((part) => (typeof part === "string" ? part : "x"))
          .join("");
  return (JSON.parse(text) as { widgets: Widget[] }).widgets;
}

describe.each(topologies)("the dashboard of %s", (topology) => {
  const widgets = widgetsOf(topology);

  it("asks four questions from top to bottom", () => {
    const headings = widgets.filter(({ type }) => type === "text").toSorted((a, b) => a.y - b.y);
    expect(headings.map(({ properties }) => properties.markdown)).toEqual([
      "# Is it up?",
      "# Is it full?",
      "# Is it slow?",
      "# Is it protected?",
    ]);
  });

  it("shows the state of every alarm, and a graph for every entry", () => {
    const alarms = alarmsFor(contextOf(configOf(topology)));
    const shown = widgets
      .filter(({ type }) => type === "alarm")
      .flatMap(({ properties }) => properties.alarms ?? []);
    expect(shown).toHaveLength(alarms.length);
    const graphs = widgets.filter(({ type }) => type === "metric").map(({ properties }) => properties.title);
    expect(graphs.toSorted()).toEqual([...new Set(alarms.map(({ entry }) => entry))].toSorted());
    for (const { type, properties } of widgets) {
      if (type === "metric") expect(properties.metrics?.length, properties.title).toBeGreaterThan(0);
    }
  });

  it("fits CloudWatch's grid and limit", () => {
    expect(widgets.length).toBeLessThanOrEqual(500);
    for (const { x, width } of widgets) expect(x + width).toBeLessThanOrEqual(24);
    const overlapping = widgets.filter((one, index) =>
      widgets.some(
        (other, at) =>
          at > index &&
          one.x < other.x + other.width &&
          other.x < one.x + one.width &&
          one.y < other.y + other.height &&
          other.y < one.y + one.height,
      ),
    );
    expect(overlapping).toEqual([]);
  });
});
