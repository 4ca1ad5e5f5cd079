-- What a wallet's spends hold (a nonce, coins) from the plan to the end of the transaction, so that two devices that
-- build at once, or a gateway that restarts in between, never use one of them twice. Bookkeeping: the transaction itself
-- stands in `transactions`.

create table reservations (
  project uuid not null,
  user_id uuid not null,
  wallet_id uuid not null,
  network text not null,
  id text not null,
  account text not null,
  unsigned bytea not null,
  final bytea,
  held_until timestamptz,
  foreign key (project, user_id, wallet_id) references wallets (project, user_id, id),
  primary key (project, wallet_id, network, id)
);
create index reservations_unsigned on reservations (held_until) where final is null;

-- The primary key decides the race for a nonce or a coin.
create table reserved_resources (
  project uuid not null,
  wallet_id uuid not null,
  network text not null,
  account text not null,
  resource text not null,
  id text not null,
  primary key (project, wallet_id, network, account, resource),
  foreign key (project, wallet_id, network, id) references reservations on delete cascade
);
create index reserved_resources_by_reservation on reserved_resources (project, wallet_id, network, id);

-- Another transaction took the nonce or the coins, or no block may take this one any more.
alter table transactions drop constraint transactions_status_check;
alter table transactions add constraint transactions_status_check
  check (status in ('submitted', 'broadcasting', 'confirming', 'completed', 'failed', 'replaced', 'expired'));

-- The transaction that is meant to take the place of this one: while it is open, this one is not sent again.
alter table transactions add column superseded_by uuid;
