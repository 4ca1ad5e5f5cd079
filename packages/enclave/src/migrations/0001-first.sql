-- The vault database. No row names a person, an account or a time: rows are found by HMACs under a key of the root.

-- Sealed state: accounts, limits, server-key versions, service time. `bucket` is the first two bytes of the key.
create table state (
  partition smallint not null default 0,
  bucket integer not null,
  key bytea not null,
  version bigint not null,
  sealed bytea not null,
  primary key (partition, bucket, key)
);

-- One row: where the state stands. `root` is the Merkle root over the buckets.
create table head (
  one boolean primary key default true check (one),
  sequence bigint not null,
  root bytea not null,
  state_key bytea not null
);

-- One row: which enclave may write. `fence` grows with each take-over.
create table lease (
  one boolean primary key default true check (one),
  fence bigint not null,
  holder text not null,
  until timestamptz not null
);

create table wallets (
  id uuid primary key,
  lookup bytea not null unique,
  server_key integer not null,
  outer_wrap bytea not null,
  payload bytea not null
);

create index wallets_by_server_key on wallets (server_key, id);
