/** What a task that runs pgkeep's commands is told, as JSON in its environment. Nothing in it is secret. */
export interface TaskSetting {
  host: string;
  port: number;
  database: string;
  /** Whom it logs in as. */
  user: string;
  /** ARN of the secret with its password; without it, it logs in by IAM. */
  secretArn?: string;
  region: string;
  /** What the configuration file says there. */
  config: Record<string, unknown>;
}

/** Environment variable of the setting. */
export const taskSettingName = "PGKEEP_TASK";
