import { countNow } from "./count-now.ts";
import { every } from "./every.ts";
import { heldFault, pidOf } from "./held-fault.ts";

const pauseMilliseconds = 100;
/** 16 MB, of which the session may keep 0.8 MB (100 blocks, the least that temp_buffers takes). */
const blocks = 2_000;
const rowsInBlock = 4;
const rowBytes = 1_900;

export const cacheCollapse = heldFault(
  "cache-collapse",
  ["cache-hit"],
  `read ${blocks} blocks from outside the buffers several times a second (a temporary table of 16 MB): most block reads of the database miss`,
  async (_, open, goOn) => {
    const session = await open();
    const pid = await pidOf(session);
    await session.query("set temp_buffers = 100");
    // Written whole by the statement that makes it; it vanishes with its session.
    await session.query(
      `create temporary table pgkeep_fault_scan as
       select repeat('x', ${rowBytes}) as line from generate_series(1, ${blocks * rowsInBlock})`,
    );
    const step = async () => {
      await session.query("select count(*) from pg_temp.pgkeep_fault_scan");
      await countNow(session);
    };
    await step();
    goOn((signal) => every(pauseMilliseconds, signal, step));
    return {
      message: `process ${pid} reads ${blocks} blocks that no buffer holds, again and again`,
      details: { pid, blocksPerScan: blocks, pauseMilliseconds },
    };
  },
);
