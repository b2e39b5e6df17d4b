/** A value that travels as JSON: between steps, into `pgkeep.job_run`, to `--json`. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json | undefined };
