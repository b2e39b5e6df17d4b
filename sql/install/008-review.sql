-- What review-database has found: the newest report is what the next run compares with.

create table pgkeep.review_report (
  id text primary key,
  started_at timestamptz not null,
  report jsonb not null
);
comment on table pgkeep.review_report is 'Reports of review-database, the JSON of `pgkeep review --json`; the oldest are deleted';
create index review_report_started_at on pgkeep.review_report (started_at);
