const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1,610,612,736 → `1.5 GiB`. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Math.round(value * 10) / 10} ${units[unit]}`;
}

/** 0.25 → `0.3 s`; 90 → `90 s`; 7,500 → `2 h 5 min`; 200,000 → `2 d 7 h`. */
export function durationText(seconds: number): string {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return `${hours} h ${minutes % 60} min`;
}

/** `2 replicas`, `1 replica`, `3 indices`. */
export function countText(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/**
 * What a terminal, a mail program or a telephone would act on instead of showing: control characters, separators of
 * lines, marks that change the direction of writing or have no width, and halves of characters.
 */
export const actingCharacters =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to replace.
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f]/g;

/** Shows them as the escapes that JSON has for them, so that a document stays what it was; those of `kept` stay. */
export function escapeActing(text: string, kept = ""): string {
  return text.replace(actingCharacters, (found) =>
    kept.includes(found)
      ? found
      : found
          .split("")
          .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
          .join(""),
  );
}
