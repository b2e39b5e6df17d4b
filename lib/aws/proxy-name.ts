/** Name of the pooling proxy of a database, as RDS keeps it: lower case. */
export function proxyName(key: string): string {
  return `pgkeep-${key}`.toLowerCase();
}
