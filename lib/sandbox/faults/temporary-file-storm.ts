import { countNow } from "./count-now.ts";
import { every } from "./every.ts";
import { heldFault, pidOf, requireApplication } from "./held-fault.ts";

const pauseMilliseconds = 100;
/** Of about a kilobyte each. They are written and forgotten: the disk holds one report at a time. */
const rows = 3_000;

const report = `select count(*) from (
    select id, line from (
        select o.id, repeat(o.status, 150) as line
          from shop.orders o cross join generate_series(1, ${rows}) copies limit ${rows}) lines
     order by line, id) report`;

export const temporaryFileStorm = heldFault(
  "temporary-file-storm",
  ["temporary-files"],
  "sort a report on shop.orders with too little work_mem, many times a second: megabytes of temporary files each time, never more than one on the disk",
  async (context, open, goOn) => {
    await requireApplication(context);
    const session = await open();
    const pid = await pidOf(session);
    await session.query("set work_mem = '64kB'");
    const step = async () => {
      await session.query(report);
      await countNow(session);
    };
    await step();
    goOn((signal) => every(pauseMilliseconds, signal, step));
    return {
      message: `process ${pid} sorts a report on disk again and again`,
      details: { pid, rowsPerReport: rows, pauseMilliseconds },
    };
  },
);
