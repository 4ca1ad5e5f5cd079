/**
 * The instructions that Kedge writes and can explain: SOL and token transfers, approvals, creating an associated token
 * account, the compute budget, memos. Reading is strict: the exact data length, the exact number of accounts, and
 * whoever has to sign signs; anything else is `unknown`, which whoever shows it says aloud. Pure.
 */
import { base58 } from '@scure/base';
import { ASSOCIATED_TOKEN_PROGRAM, associatedTokenAccount, TOKEN_PROGRAM } from './tokens.ts';
import type { Message } from './wire.ts';

export const SYSTEM_PROGRAM = '11111111111111111111111111111111';
export const COMPUTE_BUDGET_PROGRAM = 'ComputeBudget111111111111111111111111111111';
const MEMO_PROGRAMS: readonly string[] = [
  'MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr',
  'Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo',
];
const RENT_SYSVAR = 'SysvarRent111111111111111111111111111111111';

export interface AccountRole {
  readonly address: string;
  readonly signs: boolean;
  readonly writes: boolean;
}

export interface Instruction {
  readonly program: string;
  readonly accounts: readonly AccountRole[];
  readonly data: Uint8Array;
}

/** What an instruction does. Addresses in base58, amounts in the smallest unit. */
export type Action =
  | { readonly kind: 'transfer'; readonly from: string; readonly to: string; readonly amount: bigint }
  | {
      readonly kind: 'token_transfer' | 'token_approve';
      /** The token account that pays. */
      readonly source: string;
      /** Null: the instruction doesn't say (`Transfer`, `Approve`); the checked ones do, and the program holds them to it. */
      readonly mint: string | null;
      /** The token account that receives, or who may take. */
      readonly to: string;
      readonly authority: string;
      readonly amount: bigint;
    }
  | {
      readonly kind: 'create_token_account';
      readonly payer: string;
      readonly account: string;
      readonly wallet: string;
      readonly mint: string;
    }
  | { readonly kind: 'unit_limit' | 'unit_price' | 'data_limit' | 'heap'; readonly value: bigint }
  | { readonly kind: 'nonce' }
  | { readonly kind: 'memo' }
  | { readonly kind: 'unknown' };

const UNKNOWN: Action = { kind: 'unknown' };

/** The message's instructions, with addresses and roles instead of indexes. */
export function instructionsOf(message: Message, addresses: readonly string[]): readonly Instruction[] {
  const { required, readonlySigned, readonlyUnsigned, keys, instructions } = message;
  const roleOf = (at: number): AccountRole => ({
    address: addresses[at]!,
    signs: at < required,
    writes: at < required ? at < required - readonlySigned : at < keys.length - readonlyUnsigned,
  });
  return instructions.map(({ program, accounts, data }) => ({
    program: addresses[program]!,
    accounts: accounts.map(roleOf),
    data,
  }));
}

export function actionOf(instruction: Instruction): Action {
  if (MEMO_PROGRAMS.includes(instruction.program)) return { kind: 'memo' };
  switch (instruction.program) {
    case SYSTEM_PROGRAM:
      return systemAction(instruction);
    case TOKEN_PROGRAM:
      return tokenAction(instruction);
    case ASSOCIATED_TOKEN_PROGRAM:
      return createAction(instruction);
    case COMPUTE_BUDGET_PROGRAM:
      return budgetAction(instruction);
    default:
      return UNKNOWN;
  }
}

/** SystemInstruction: a tag of 4 bytes; 2 is Transfer, 4 AdvanceNonceAccount. */
function systemAction({ accounts, data }: Instruction): Action {
  const view = viewOf(data);
  const tag = data.length >= 4 ? view.getUint32(0, true) : -1;
  if (tag === 4 && data.length === 4) return { kind: 'nonce' };
  const [from, to] = accounts;
  const fits = tag === 2 && data.length === 12 && accounts.length === 2;
  if (!fits || !from?.signs || !from.writes || !to?.writes) return UNKNOWN;
  return { kind: 'transfer', from: from.address, to: to.address, amount: view.getBigUint64(4, true) };
}

/** TokenInstruction: a tag of 1 byte; 3 Transfer, 4 Approve, 12 TransferChecked, 13 ApproveChecked. */
function tokenAction({ accounts, data }: Instruction): Action {
  const tag = data[0];
  const checked = tag === 12 || tag === 13;
  if ((tag !== 3 && tag !== 4 && !checked) || data.length !== (checked ? 10 : 9)) return UNKNOWN;
  // Owners that are multisig accounts of the token program take further accounts: not explained here.
  if (accounts.length !== (checked ? 4 : 3)) return UNKNOWN;
  const [source, mint, to, authority] = checked ? accounts : [accounts[0], null, accounts[1], accounts[2]];
  const moves = tag === 3 || tag === 12;
  if (!source?.writes || !authority?.signs || !to || (moves && !to.writes)) return UNKNOWN;
  return {
    kind: moves ? 'token_transfer' : 'token_approve',
    source: source.address,
    mint: mint?.address ?? null,
    to: to.address,
    authority: authority.address,
    amount: viewOf(data).getBigUint64(1, true),
  };
}

/** Create (no data, or 0) and CreateIdempotent (1). The account has to be the one that derivation gives. */
function createAction({ accounts, data }: Instruction): Action {
  const known = data.length === 0 || (data.length === 1 && data[0]! <= 1);
  const [payer, account, wallet, mint, system, token, rent] = accounts;
  if (!known || accounts.length < 6 || accounts.length > 7) return UNKNOWN;
  if (system?.address !== SYSTEM_PROGRAM || token?.address !== TOKEN_PROGRAM) return UNKNOWN;
  if ((rent !== undefined && rent.address !== RENT_SYSVAR) || !payer?.signs || !account || !wallet || !mint)
    return UNKNOWN;
  if (associatedTokenAccount(wallet.address, mint.address).address !== account.address) return UNKNOWN;
  return {
    kind: 'create_token_account',
    payer: payer.address,
    account: account.address,
    wallet: wallet.address,
    mint: mint.address,
  };
}

/** ComputeBudgetInstruction: 1 RequestHeapFrame, 2 SetComputeUnitLimit, 3 SetComputeUnitPrice, 4 SetLoadedAccountsDataSizeLimit. */
function budgetAction({ data }: Instruction): Action {
  const view = viewOf(data);
  if (data[0] === 3 && data.length === 9) return { kind: 'unit_price', value: view.getBigUint64(1, true) };
  const kind = ([null, 'heap', 'unit_limit', null, 'data_limit'] as const)[data[0] ?? 0];
  return kind && data.length === 5 ? { kind, value: BigInt(view.getUint32(1, true)) } : UNKNOWN;
}

// Writing.

export function transferInstruction(from: string, to: string, amount: bigint): Instruction {
  const data = new Uint8Array(12);
  viewOf(data).setUint32(0, 2, true);
  viewOf(data).setBigUint64(4, amount, true);
  return { program: SYSTEM_PROGRAM, accounts: [payer(from), written(to)], data };
}

export function tokenTransferInstruction(transfer: {
  readonly source: string;
  readonly mint: string;
  readonly destination: string;
  readonly owner: string;
  readonly amount: bigint;
  readonly decimals: number;
}): Instruction {
  const { source, mint, destination, owner, amount, decimals } = transfer;
  const data = new Uint8Array(10);
  data[0] = 12;
  viewOf(data).setBigUint64(1, amount, true);
  data[9] = decimals;
  const accounts = [written(source), read(mint), written(destination), { ...read(owner), signs: true }];
  return { program: TOKEN_PROGRAM, accounts, data };
}

/** CreateIdempotent: no error if another made the account in the meantime. */
export function createTokenAccountInstruction(create: {
  readonly payer: string;
  readonly account: string;
  readonly wallet: string;
  readonly mint: string;
}): Instruction {
  const accounts = [
    payer(create.payer),
    written(create.account),
    ...[create.wallet, create.mint, SYSTEM_PROGRAM, TOKEN_PROGRAM].map(read),
  ];
  return { program: ASSOCIATED_TOKEN_PROGRAM, accounts, data: Uint8Array.of(1) };
}

export function budgetInstruction(kind: 'unit_limit' | 'unit_price' | 'data_limit', value: bigint): Instruction {
  const data = new Uint8Array(kind === 'unit_price' ? 9 : 5);
  data[0] = { unit_limit: 2, unit_price: 3, data_limit: 4 }[kind];
  if (kind === 'unit_price') viewOf(data).setBigUint64(1, value, true);
  else viewOf(data).setUint32(1, Number(value), true);
  return { program: COMPUTE_BUDGET_PROGRAM, accounts: [], data };
}

/**
 * A version 0 message without lookup tables. `mentioned` are keys that no instruction uses and that stand in the message
 * all the same: with the receiver's wallet among them, whoever reads the bytes can derive whose token account is paid.
 */
export function compile(
  feePayer: string,
  blockhash: string,
  instructions: readonly Instruction[],
  mentioned: readonly string[] = [],
): Message {
  const roles = new Map<string, AccountRole>([[feePayer, payer(feePayer)]]);
  const add = (role: AccountRole) => {
    const { signs = false, writes = false } = roles.get(role.address) ?? {};
    roles.set(role.address, { address: role.address, signs: signs || role.signs, writes: writes || role.writes });
  };
  for (const { accounts } of instructions) for (const account of accounts) add(account);
  for (const { program } of instructions) add(read(program));
  for (const address of mentioned) add(read(address));
  const all = [...roles.values()];
  const ordered = [
    ...all.filter(({ signs, writes }) => signs && writes),
    ...all.filter(({ signs, writes }) => signs && !writes),
    ...all.filter(({ signs, writes }) => !signs && writes),
    ...all.filter(({ signs, writes }) => !signs && !writes),
  ].map(({ address }) => address);
  const indexOf = (address: string) => ordered.indexOf(address);
  return {
    version: 0,
    required: all.filter(({ signs }) => signs).length,
    readonlySigned: all.filter(({ signs, writes }) => signs && !writes).length,
    readonlyUnsigned: all.filter(({ signs, writes }) => !signs && !writes).length,
    keys: ordered.map((address) => base58.decode(address)),
    blockhash: base58.decode(blockhash),
    instructions: instructions.map(({ program, accounts, data }) => ({
      program: indexOf(program),
      accounts: accounts.map(({ address }) => indexOf(address)),
      data,
    })),
  };
}

function payer(address: string): AccountRole {
  return { address, signs: true, writes: true };
}

function written(address: string): AccountRole {
  return { address, signs: false, writes: true };
}

function read(address: string): AccountRole {
  return { address, signs: false, writes: false };
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}
