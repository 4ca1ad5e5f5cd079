-- The primary database: accounts, sealed client secrets, wallets by public data, transactions, the ledger.
-- Every row of a project carries the project, and the composite foreign keys make a row that points into another
-- project impossible. Ids are UUIDv7, so that `order by id` is the order of creation. No secret is here in the clear:
-- tokens are SHA-256 hashes, client secrets are sealed by the enclave, stored answers by the gateway's own key.

create table projects (
  id uuid primary key,
  name text not null,
  environment text not null check (environment in ('sandbox', 'production')),
  created_at timestamptz not null
);

create table api_keys (
  id uuid primary key,
  project uuid not null references projects,
  kind text not null check (kind in ('secret', 'publishable')),
  label text not null,
  hint text not null,
  hash bytea not null unique check (length(hash) = 32),
  created_at timestamptz not null,
  revoked_at timestamptz
);
create index api_keys_by_project on api_keys (project, id);

create table users (
  id uuid primary key,
  project uuid not null references projects,
  email text,
  external_id text,
  -- Sealed by the version of the server key beside it.
  client_secret bytea not null,
  server_key integer not null,
  -- The server key to which this secret could not be rewrapped; says that the event was written.
  refused_key integer,
  created_at timestamptz not null,
  unique (project, id),
  constraint users_email unique (project, email),
  constraint users_external_id unique (project, external_id)
);
create index users_by_server_key on users (server_key, id);

create table client_keys (
  id uuid primary key,
  project uuid not null,
  user_id uuid not null,
  algorithm text not null check (algorithm in ('p256', 'ed25519')),
  public_key bytea not null,
  label text not null,
  created_at timestamptz not null,
  revoked_at timestamptz,
  foreign key (project, user_id) references users (project, id),
  unique (project, user_id, public_key),
  unique (project, user_id, id)
);

create table sessions (
  token_hash bytea primary key check (length(token_hash) = 32),
  project uuid not null,
  user_id uuid not null,
  client_key uuid not null,
  created_at timestamptz not null,
  used_at timestamptz not null,
  expires_at timestamptz not null,
  foreign key (project, user_id, client_key) references client_keys (project, user_id, id)
);
create index sessions_by_user on sessions (project, user_id);

-- Operators belong to no project.
create table operator_sessions (
  token_hash bytea primary key check (length(token_hash) = 32),
  operator text not null,
  created_at timestamptz not null,
  used_at timestamptz not null,
  expires_at timestamptz not null
);

create table vaults (
  id uuid primary key,
  project uuid not null,
  user_id uuid not null,
  scheme text not null check (scheme in ('dual-secret')),
  label text not null,
  status text not null check (status in ('setting_up', 'active', 'locked', 'recovering', 'closed')),
  exported_at timestamptz,
  created_at timestamptz not null,
  foreign key (project, user_id) references users (project, id),
  unique (project, user_id, id)
);

create table wallets (
  id uuid primary key,
  project uuid not null,
  user_id uuid not null,
  vault_id uuid not null,
  chain text not null,
  network text not null,
  public_key bytea not null,
  address text not null,
  second_wrap boolean not null,
  exported_at timestamptz,
  created_at timestamptz not null,
  foreign key (project, user_id, vault_id) references vaults (project, user_id, id),
  unique (project, user_id, id)
);
create index wallets_by_vault on wallets (project, vault_id, id);

create table transactions (
  id uuid primary key,
  project uuid not null,
  user_id uuid not null,
  wallet_id uuid not null,
  chain text not null,
  tx_hash text not null,
  raw bytea not null,
  status text not null check (status in ('submitted', 'broadcasting', 'confirming', 'completed', 'failed')),
  confirmations integer not null default 0,
  receipt jsonb,
  intent jsonb not null,
  created_at timestamptz not null,
  foreign key (project, user_id, wallet_id) references wallets (project, user_id, id),
  unique (wallet_id, tx_hash)
);
create index transactions_by_wallet on transactions (project, wallet_id, id);
create index transactions_open on transactions (id) where status in ('submitted', 'broadcasting', 'confirming');

-- One row per Idempotency-Key of a principal. `resource_id` is the id of what the request creates, chosen before it runs.
create table idempotency (
  scope bytea not null check (length(scope) = 32),
  key_hash bytea not null check (length(key_hash) = 32),
  request_hash bytea not null,
  resource_id uuid not null,
  status text not null check (status in ('running', 'failed', 'done')),
  gateway text not null,
  boot uuid not null,
  started_at timestamptz not null,
  response bytea,
  primary key (scope, key_hash)
);
create index idempotency_by_age on idempotency (started_at);

-- The ledger, as the package `store` wants it.
create table events (
  id uuid primary key,
  body text not null,
  added_at timestamptz not null default clock_timestamp(),
  seq bigint,
  hash bytea,
  check ((seq is null) = (hash is null))
);
create unique index events_seq on events (seq) where seq is not null;
create index events_unchained on events (added_at, id) where seq is null;

create table heads (
  seq bigint primary key,
  hash bytea not null,
  signature bytea not null,
  signed_at timestamptz not null
);

-- The second mirror of the enclave's state: one row.
create table mirrors (
  id integer primary key check (id = 1),
  document bytea not null,
  signature bytea not null,
  stored_at timestamptz not null
);

create table backups (
  name text primary key,
  made_at timestamptz not null,
  manifest bytea not null,
  signature bytea not null
);

-- Who runs a job, and until when nobody else may. By the database's time.
create table jobs (
  name text primary key,
  holder uuid not null,
  until timestamptz not null
);
