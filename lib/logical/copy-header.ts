import { Transform, type TransformCallback } from "node:stream";
import { PgkeepError } from "../errors.ts";

/** Longest name is 63 bytes, a table has at most 1,600 columns: more than this is no header. */
const maxHeaderBytes = 1024 * 1024;
const name = '(?:"(?:[^"]|"")*"|[^\\s"(),.;]+)';
const copy = new RegExp(`(^|\\n)COPY ${name}\\.${name} (\\((?:${name}(?:, )?)*\\) )?FROM stdin;\\n`);
const starts = /(?:^|\n)COPY /;

/**
 * Sends the rows of a script that pg_dump or pg_restore wrote for one table to another table: only the first
 * COPY statement before the rows is changed, whatever the rows look like.
 * @param table as SQL, quoted
 * @throws PgkeepError `restore-failed` when there is no such statement
 */
export function redirectCopy(table: string): Transform {
  let head: Buffer | undefined = Buffer.alloc(0);
  const lost = () =>
    new PgkeepError("restore-failed", "the dump has no rows in a form that can be redirected");
  return new Transform({
    transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback) {
      if (head === undefined) {
        done(null, chunk);
        return;
      }
      head = Buffer.concat([head, chunk]);
      // One byte a character, so that positions are the same in both.
      const text = head.toString("latin1");
      const start = starts.exec(text);
      const found = copy.exec(text);
      if (found === null || start === null) {
        done(head.length > maxHeaderBytes ? lost() : null);
        return;
      }
      // What looks like a statement further down would be among the rows.
      if (found.index !== start.index) {
        done(lost());
        return;
      }
      const statement = `${found[1]}COPY ${table} ${Buffer.from(found[2] ?? "", "latin1").toString()}FROM stdin;\n`;
      const rest = head.subarray(found.index + found[0].length);
      const before = head.subarray(0, found.index);
      head = undefined;
      done(null, Buffer.concat([before, Buffer.from(statement), rest]));
    },
    flush(done) {
      done(head === undefined ? null : lost());
    },
  });
}
