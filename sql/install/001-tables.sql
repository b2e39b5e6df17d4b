-- What pgkeep keeps in a database. Runs as the role "pgkeep", which owns everything here.
-- Who may do what with it is written in lib/install/desired.ts and repaired at each install.

create table pgkeep.schema_version (
  version integer primary key,
  applied_at timestamptz not null default clock_timestamp(),
  applied_by text not null default session_user
);
comment on table pgkeep.schema_version is 'Each file of sql/install that was applied; the highest is the version of the schema';

create table pgkeep.heartbeat (
  singleton boolean primary key default true check (singleton),
  at timestamptz not null,
  written_by text not null
);
comment on table pgkeep.heartbeat is 'One row, written each minute: a restored copy shows by it how much was lost';
insert into pgkeep.heartbeat (at, written_by) values (clock_timestamp(), 'install');

create table pgkeep.job_run (
  id text primary key,
  job text not null,
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  outcome text not null default 'running' check (outcome in ('running', 'succeeded', 'failed', 'skipped')),
  seconds double precision check (seconds >= 0),
  report jsonb,
  reason text,
  error_code text,
  host text,
  check ((outcome = 'running') = (finished_at is null))
);
comment on table pgkeep.job_run is 'Each run of each job and what came of it';
create index job_run_by_job on pgkeep.job_run (job, started_at desc);
create index job_run_by_time on pgkeep.job_run (started_at);

create table pgkeep.backup_manifest (
  backup_id text primary key,
  taken_at timestamptz not null,
  manifest jsonb not null
);
comment on table pgkeep.backup_manifest is 'What the data looked like when a backup was taken; a drill compares the restored data with it';
create index backup_manifest_by_time on pgkeep.backup_manifest (taken_at);
