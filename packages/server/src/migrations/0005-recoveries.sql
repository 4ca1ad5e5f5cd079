-- Approver lists, recoveries and what is sent to people about them. All of it is the gateway's copy, for people: who
-- decides, how the votes stand and whether something may be released is the enclave's sealed state. Work that is due is
-- found by `next_due_at`, which is null wherever nothing is to be done, so that the partial indexes hold open rows alone.

create table approver_lists (
  id uuid primary key,
  project uuid not null references projects,
  name text not null,
  policy jsonb not null,
  window_s integer not null,
  cooling_period_s integer not null,
  links_suffice boolean not null,
  created_at timestamptz not null,
  unique (project, id)
);
create index approver_lists_by_project on approver_lists (project, id);

create table approvers (
  project uuid not null,
  list uuid not null,
  id uuid not null,
  position integer not null,
  name text not null,
  email text,
  -- As `p256:…` or `ed25519:…`; null for those who vote by a link.
  public_key text,
  veto boolean not null,
  must_approve boolean not null,
  primary key (project, list, id),
  foreign key (project, list) references approver_lists (project, id)
);

-- `content`: what the list would become, as the approvers are asked.
create table list_changes (
  id uuid primary key,
  project uuid not null,
  list uuid not null,
  status text not null check (status in ('opening', 'open', 'applied', 'declined', 'expired', 'failed')),
  content jsonb not null,
  rules_hash bytea not null check (length(rules_hash) = 32),
  outcome jsonb,
  next_due_at timestamptz,
  created_at timestamptz not null,
  foreign key (project, list) references approver_lists (project, id),
  unique (project, id)
);
create index list_changes_by_list on list_changes (project, list, id);
create index list_changes_due on list_changes (next_due_at, id) where next_due_at is not null;

-- Bound once, for good.
alter table backup_keys add column approver_list uuid;
alter table backup_keys add constraint backup_keys_approver_list
  foreign key (project, approver_list) references approver_lists (project, id);

-- Ids that a throw-away key was made for. The recovery of the same id uses it.
create table rehearsals (
  id uuid primary key,
  project uuid not null,
  key_id uuid not null,
  created_at timestamptz not null,
  foreign key (project, key_id) references backup_keys (project, id),
  unique (project, id)
);

create table recoveries (
  id uuid primary key,
  project uuid not null,
  key_id uuid not null,
  list uuid not null,
  network text not null,
  account text not null,
  -- Null where the plan names its transactions.
  sweep_to text,
  sandbox boolean not null,
  status text not null,
  plan_hash bytea not null check (length(plan_hash) = 32),
  backup_id uuid,
  participants jsonb not null,
  outcome jsonb,
  waits_for jsonb not null,
  cooling_left_s integer,
  -- Channels that took the first alert, as the enclave was told.
  alerts_accepted integer not null default 0,
  reminders jsonb not null,
  timeline jsonb not null,
  votes_until timestamptz not null,
  transaction_ids jsonb not null,
  certificate bytea,
  certificate_signature bytea,
  next_due_at timestamptz,
  created_at timestamptz not null,
  foreign key (project, key_id) references backup_keys (project, id),
  foreign key (project, list) references approver_lists (project, id),
  foreign key (project, backup_id) references key_backups (project, id),
  unique (project, id)
);
create index recoveries_by_project on recoveries (project, id);
create index recoveries_by_key on recoveries (project, key_id, id);
create index recoveries_due on recoveries (next_due_at, id) where next_due_at is not null;

create table recovery_transactions (
  project uuid not null,
  recovery uuid not null,
  position integer not null,
  plan_id text not null,
  bytes bytea not null,
  primary key (project, recovery, position),
  foreign key (project, recovery) references recoveries (project, id)
);

-- Over a recovery, or over a change of a list.
create table recovery_votes (
  project uuid not null,
  subject uuid not null,
  approver uuid not null,
  choice text not null check (choice in ('approve', 'reject')),
  at timestamptz not null,
  primary key (project, subject, approver)
);

-- What a link in a mail lets somebody do once. The token is here as its SHA-256, and sealed by the gateway's own key for
-- as long as mails with it may still have to be written.
create table recovery_links (
  token_hash bytea primary key check (length(token_hash) = 32),
  project uuid not null,
  kind text not null check (kind in ('vote_recovery', 'vote_change', 'cancel_recovery')),
  subject uuid not null,
  recipient uuid not null,
  email text not null,
  sealed_token bytea not null,
  used_at timestamptz,
  foreign key (project) references projects
);
create unique index recovery_links_of on recovery_links (project, subject, kind, recipient);

-- Parts of a cold key, each sealed to the enclave by an officer. Gone when the recovery is released or over.
create table thaws (
  id uuid primary key,
  project uuid not null,
  recovery uuid not null,
  sealed_share bytea not null,
  foreign key (project, recovery) references recoveries (project, id)
);
create index thaws_of on thaws (project, recovery, id);

create table drills (
  project uuid not null,
  key_id uuid not null,
  every_days integer not null,
  remind jsonb not null,
  next_due_at timestamptz,
  primary key (project, key_id),
  foreign key (project, key_id) references backup_keys (project, id)
);
create index drills_due on drills (next_due_at, key_id) where next_due_at is not null;

-- Written in the commit of what it tells of, and once: `occasion` names what, `recipient` to whom.
create table mails (
  id uuid primary key,
  project uuid not null references projects,
  subject uuid not null,
  kind text not null,
  occasion text not null,
  recipient uuid not null,
  email text not null,
  attempts integer not null default 0,
  next_due_at timestamptz,
  sent_at timestamptz,
  created_at timestamptz not null
);
create unique index mails_once on mails (project, subject, occasion, recipient);
create index mails_due on mails (next_due_at, id) where next_due_at is not null;
