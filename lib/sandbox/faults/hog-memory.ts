import { heldFault, pidOf } from "./held-fault.ts";

const megabytes = 200;

export const hogMemory = heldFault(
  "hog-memory",
  ["freeable-memory"],
  `keep the rows of a report in memory: an idle session whose process holds ${megabytes} MB`,
  async (_, open) => {
    const session = await open();
    const pid = await pidOf(session);
    // Memory of a cursor that outlives its transaction; in work_mem, so that none of it goes to a file.
    await session.query(`set work_mem = '${2 * megabytes}MB'`);
    await session.query("begin");
    await session.query(
      `declare pgkeep_fault_report cursor with hold for
       select repeat('x', 10000) from generate_series(1, ${megabytes * 105})`,
    );
    await session.query("commit");
    return {
      message: `process ${pid} is idle and holds ${megabytes} MB of memory`,
      details: { pid, megabytes },
    };
  },
);
