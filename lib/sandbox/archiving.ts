import type { ServerSettings } from "./server.ts";

const shellQuoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
/** `%` introduces the placeholders of archive_command and restore_command. */
const inCommand = (path: string) => shellQuoted(path).replaceAll("%", "%%");

/**
 * Copies a segment into the archive so that it appears whole or not at all. A segment that is there already is
 * success when it is the same (a retry after a crash), failure otherwise: it may belong to another timeline's
 * server. The copy keeps the time of the segment's last write: whatever was acknowledged before lies in it or
 * before it.
 */
export function archiveCommand(archiveDirectory: string): string {
  const directory = inCommand(archiveDirectory);
  const final = `${directory}/%f`;
  const partial = `${directory}/.%f.partial`;
  return `if test -e ${final}; then cmp -s "%p" ${final}; else cp -p "%p" ${partial} && mv ${partial} ${final}; fi`;
}

/** Continuous archiving into that directory; an unfinished segment is archived after `timeoutSeconds` with activity. */
export function archiveSettings(archiveDirectory: string, timeoutSeconds: number): ServerSettings {
  return {
    wal_level: "replica",
    archive_mode: true,
    archive_command: archiveCommand(archiveDirectory),
    archive_timeout: timeoutSeconds,
  };
}
