-- A run whose steps run in different processes cannot hold a lock between them: it holds a lease instead.
alter table pgkeep.job_run add column leased_until timestamptz;
