const millisecondsPerUnit: Record<string, number> = {
  us: 0.001,
  ms: 1,
  s: 1_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Whether two spellings of a setting's value mean the same: `30s`, `30000` and `0.5min`; `on`, `true` and `1`. */
export function sameSetting(name: string, a: string, b: string): boolean {
  if (a === b) return true;
  const meaning = name.endsWith("_timeout") ? milliseconds : truth;
  const value = meaning(a);
  return value !== undefined && value === meaning(b);
}

function milliseconds(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?\s*$/.exec(text);
  const unit = millisecondsPerUnit[match?.[2] ?? "ms"];
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit;
}

function truth(text: string): boolean | undefined {
  const word = text.trim().toLowerCase();
  if (["on", "true", "yes", "1", "t", "y"].includes(word)) return true;
  if (["off", "false", "no", "0", "f", "n"].includes(word)) return false;
  return undefined;
}
