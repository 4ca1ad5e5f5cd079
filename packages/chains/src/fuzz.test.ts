/**
 * Every parser of this package against noise and against valid inputs that were changed: it gives a value or a
 * `ChainError`, in a time that the input's length bounds, and keeps no memory. DECODER_RUNS says how many inputs each
 * parser gets; DECODER_SEED repeats a run. A further parser is a line in `parsers`.
 */
import assert from 'node:assert/strict';
import { createHash, randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base58 } from '@scure/base';
import { SigningKey, Transaction } from 'ethers';
import { parseBitcoinAddress } from './bitcoin/address.ts';
import { formatTransaction } from './bitcoin/transaction.ts';
import { ChainError } from './chain.ts';
import { parsePath } from './derivation-path.ts';
import {
  assemblePsbt,
  bitcoinCodec,
  bitcoinNetworks,
  createDescriptor,
  evmCodec,
  parseDescriptor,
  parseExtendedKey,
  psbtFromText,
  psbtToText,
  SOLANA_GENESIS,
  solanaCodec,
  solanaNetwork,
} from './index.ts';
import {
  budgetInstruction,
  compile,
  createTokenAccountInstruction,
  tokenTransferInstruction,
  transferInstruction,
} from './solana/instructions.ts';
import { associatedTokenAccount } from './solana/tokens.ts';
import { encodeMessage } from './solana/wire.ts';
import { treeHolder } from './testing/holders.ts';
import { readVector } from './testing/vectors.ts';

const RUNS = Number(process.env.DECODER_RUNS ?? 50_000);
const SEED = process.env.DECODER_SEED ?? String(randomInt(2 ** 31));

interface Parser {
  readonly name: string;
  readonly valid: readonly Uint8Array[];
  readonly parse: (input: Uint8Array) => unknown;
  /** Of a thousand inputs, how many are valid ones changed a little; the rest is noise, or a valid one's beginning. */
  readonly deep: number;
}

function parser(name: string, valid: readonly Uint8Array[], parse: Parser['parse'], deep = 1000): Parser {
  return { name, valid, parse, deep };
}

/** For text; inputs are any characters up to U+00FF. */
function textParser(name: string, valid: readonly string[], parse: (text: string) => unknown, deep = 1000): Parser {
  const asText = (input: Uint8Array) => Buffer.from(input).toString('latin1');
  return parser(
    name,
    valid.map((text) => Buffer.from(text, 'latin1')),
    (input) => parse(asText(input)),
    deep,
  );
}

const solanaKey = sha256(Uint8Array.of(7));
const evm = evmCodec(1);
const solana = solanaCodec(solanaNetwork(SOLANA_GENESIS.mainnet));

const { regtest, mainnet } = bitcoinNetworks;
const bitcoin = bitcoinCodec(regtest);
const vault = readVector<{ keys: readonly string[] }>('vault.json');
const descriptors = [
  `wsh(sortedmulti(2,${vault.keys.map((key) => `${key}/<0;1>/*`)}))`,
  `wpkh(${vault.keys[0]}/0/*)`,
  `tr(${'a3'.repeat(32)})`,
];

const bitcoinAddresses = [
  '1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2',
  '3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy',
  'bc1q43c8968rrf5hhkxeua97s42ytrs7qyzla3j6l8wu52qldydj309shyfawn',
  'bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0',
];

const parsers: readonly Parser[] = [
  parser('PSBT', psbts(), (raw) => bitcoin.decode(raw), 300),
  parser('PSBT, for signing', psbts(), (raw) => bitcoin.digests(raw), 100),
  parser('Bitcoin transaction', bitcoinTransactions(), (raw) => bitcoin.decode(raw)),
  textParser('PSBT as text', psbts().map(psbtToText), (text) => psbtFromText(text)),
  textParser('descriptor', descriptors, (text) => parseDescriptor(text, mainnet, { checksum: 'optional' }), 300),
  textParser('Bitcoin address', bitcoinAddresses, (text) => parseBitcoinAddress(text, mainnet)),
  textParser(
    'extended key',
    vault.keys.map((key) => key.slice(key.indexOf(']') + 1)),
    parseExtendedKey,
    300,
  ),
  textParser('derivation path', ["m/48'/0'/0'/2'", '48h/0h/0h/2h/0/7', '0/2147483647'], parsePath),
  parser('EVM transaction', evmTransactions(), (raw) => evm.decode(raw), 300),
  parser('EVM transaction, signed', [signedEvmTransaction()], (raw) => evm.decode(raw), 20),
  textParser('EVM address', [`0x${'aB'.repeat(20)}`.toLowerCase()], (text) => evm.parseAddress(text)),
  parser('Solana message', solanaMessages(), (raw) => solana.decode(raw), 200),
  parser('Solana transaction', solanaMessages().map(signed), (raw) => solana.decode(raw), 20),
  textParser('Solana address', [base58.encode(sha256(Uint8Array.of(1)))], (text) => solana.parseAddress(text)),
];

/** What a computer under load may take for the shortest input, and for each further byte of it. */
const TIME_MS = 60;
const TIME_MS_PER_BYTE = 0.02;
const HEAP_GROWTH_MAX = 16 * 2 ** 20;

describe(`parsers, ${RUNS} inputs each, DECODER_SEED=${SEED}`, () => {
  for (const { name, valid, parse, deep } of parsers) {
    test(name, () => {
      const random = randomSource(`${SEED} ${name}`);
      for (const input of valid) parse(input);
      for (let run = 0; run < 500; run++) attempt(parse, inputFor(valid, deep, random));
      const before = heapUsed();
      for (let run = 0; run < RUNS; run++) attempt(parse, inputFor(valid, deep, random));
      const growth = heapUsed() - before;
      assert.ok(growth < HEAP_GROWTH_MAX, `${growth} bytes were kept`);
    });

    test(`${name}: work grows no faster than the input`, () => {
      const random = randomSource(`${SEED} ${name} long`);
      for (const length of [1_000, 10_000, 100_000, 1_000_000]) {
        for (const one of valid) {
          attempt(parse, concat(one, new Uint8Array(length)));
          attempt(parse, repeated(one, length));
          attempt(parse, concat(one.subarray(0, 1 + random.below(one.length)), random.bytes(length)));
        }
        for (const byte of [0x00, 0x31, 0x7f, 0x80, 0xfe, 0xff]) attempt(parse, new Uint8Array(length).fill(byte));
      }
    });
  }
});

/** Gives a value or throws a `ChainError`, in time. A slow try is tried again: the machine may have had other work. */
function attempt(parse: Parser['parse'], input: Uint8Array): void {
  const allowed = TIME_MS + TIME_MS_PER_BYTE * input.length;
  let fastest = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 5 && fastest > allowed; tries++) {
    const start = performance.now();
    try {
      parse(input);
    } catch (error) {
      assert.ok(error instanceof ChainError, `${error}: ${Buffer.from(input).toString('hex')}`);
      assert.match(error.message, /^[\x20-\uffff]{1,600}$/);
    }
    fastest = Math.min(fastest, performance.now() - start);
  }
  assert.ok(fastest <= allowed, `${fastest} ms for ${Buffer.from(input).toString('hex').slice(0, 9_999)}`);
}

function heapUsed(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

function inputFor(valid: readonly Uint8Array[], deep: number, random: Source): Uint8Array {
  const one = valid[random.below(valid.length)]!;
  if (random.below(1000) < deep) return mutate(one, valid[random.below(valid.length)]!, random);
  return random.below(2) === 0 ? random.bytes(random.below(300)) : one.subarray(0, random.below(one.length));
}

/** Lengths as the formats here spell huge ones: RLP, compact-u16, Bitcoin's CompactSize. */
const HUGE_LENGTHS = ['bfffffffffffffffff', 'ffffffffffffffffff', 'ffff03', '808003', 'feffffffff', 'fdffff', 'ff'].map(
  (hex) => new Uint8Array(Buffer.from(hex, 'hex')),
);

/** One change, sometimes several: a byte, a bit, a cut, an extension, a piece of another, a length beyond all bounds. */
function mutate(valid: Uint8Array, other: Uint8Array, random: Source): Uint8Array {
  let bytes = valid;
  do {
    const at = random.below(Math.max(1, bytes.length));
    const [head, tail] = [bytes.slice(0, at), bytes.slice(at)];
    const huge = HUGE_LENGTHS[random.below(HUGE_LENGTHS.length)]!;
    const changes = [
      () => concat(head, Uint8Array.of(random.below(256)), tail.slice(1)),
      () => concat(head, Uint8Array.of((tail[0] ?? 0) ^ (1 << random.below(8))), tail.slice(1)),
      () => head,
      () => concat(bytes, random.bytes(1 + random.below(8))),
      () => concat(head, tail.slice(1 + random.below(8))),
      () => concat(head, other.subarray(random.below(other.length))),
      () => concat(head, tail.slice(0, random.below(40)), tail),
      () => concat(head, huge, tail),
      () => concat(head, huge, tail.slice(huge.length)),
    ];
    bytes = changes[random.below(changes.length)]!();
  } while (random.below(4) === 0);
  return bytes;
}

/** Quick, and the same for the same seed. */
function randomSource(seed: string) {
  let block = createHash('sha512').update(seed).digest();
  let at = 0;
  const next = () => {
    if (at + 4 > block.length) {
      block = createHash('sha512').update(block).digest();
      at = 0;
    }
    at += 4;
    return block.readUInt32LE(at - 4);
  };
  return {
    below: (bound: number) => next() % bound,
    bytes(length: number) {
      const bytes = new Uint8Array(length);
      for (let k = 0; k < length; k += 4) {
        const word = next();
        for (let b = 0; b < 4 && k + b < length; b++) bytes[k + b] = word >>> (8 * b);
      }
      return bytes;
    },
  };
}
type Source = ReturnType<typeof randomSource>;

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function repeated(bytes: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => bytes[at % bytes.length]!);
}

// Valid inputs.

/** Of each kind that is signed for, and what other wallets make. */
function psbts(): readonly Uint8Array[] {
  const { sections } = readVector<{ sections: Record<string, { title: string; hex: string }[]> }>('bip174.json');
  const foreign = sections['The following are valid PSBTs']!.find(({ title }) => title.includes('one P2WSH input'))!;
  const holders = [1, 2, 3].map((byte) => treeHolder(new Uint8Array(16).fill(byte), '48h/1h/0h/2h'));
  const ours = (['p2wpkh', 'p2tr', 'p2wsh'] as const).map((script) => {
    const keys = (script === 'p2wsh' ? holders : holders.slice(0, 1)).map(({ key }) => key);
    const account = createDescriptor({ script, threshold: keys.length === 1 ? 1 : 2, keys }, regtest);
    const [output, change] = [account.derive({ change: 0, index: 0 }), account.derive({ change: 1, index: 0 })];
    const coin = { txid: '11'.repeat(32), vout: 0, amount: 90_000n, output, previous: null };
    return assemblePsbt(account, [coin], [{ amount: 80_000n, script: change.script, own: change }]);
  });
  return [...ours, new Uint8Array(Buffer.from(foreign.hex, 'hex'))];
}

function bitcoinTransactions(): readonly Uint8Array[] {
  const output = { amount: 5_000n, script: new Uint8Array(22).fill(20, 1, 2) };
  const input = { txid: '11'.repeat(32), vout: 0, sequence: 0xfffffffd, scriptSig: new Uint8Array(), witness: [] };
  const signed = { ...input, witness: [new Uint8Array(71), new Uint8Array(33)] };
  return [[signed], [signed, { ...input, vout: 1, scriptSig: new Uint8Array(107) }]].map((inputs) =>
    formatTransaction({ version: 2, lockTime: 0, inputs, outputs: [output, output] }),
  );
}

function evmTransactions(): readonly Uint8Array[] {
  const to = `0x${'35'.repeat(20)}`;
  const erc20 = `0xa9059cbb${'00'.repeat(12)}${'35'.repeat(20)}${'00'.repeat(31)}07`;
  const common = { to, nonce: 7, gasLimit: 60_000n, chainId: 1 };
  const fees = { maxFeePerGas: 9n, maxPriorityFeePerGas: 1n };
  const accessList: [string, string[]][] = [[to, [`0x${'11'.repeat(32)}`]]];
  return [
    Transaction.from({ ...common, type: 2, value: 1n, ...fees }).unsignedSerialized,
    Transaction.from({ ...common, type: 2, data: erc20, accessList, ...fees }).unsignedSerialized,
    Transaction.from({ ...common, type: 0, value: 1n, gasPrice: 9n }).unsignedSerialized,
  ].map(bytesOf);
}

function signedEvmTransaction(): Uint8Array {
  const transaction = Transaction.from(`0x${Buffer.from(evmTransactions()[0]!).toString('hex')}`);
  transaction.signature = new SigningKey(sha256(Uint8Array.of(8))).sign(transaction.unsignedHash);
  return bytesOf(transaction.serialized);
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex.slice(2), 'hex'));
}

function solanaMessages(): readonly Uint8Array[] {
  const name = (seed: number) => base58.encode(ed25519.getPublicKey(sha256(Uint8Array.of(seed))));
  const [from, to, mint] = [base58.encode(ed25519.getPublicKey(solanaKey)), name(2), name(3)];
  const [source, account] = [from, to].map((wallet) => associatedTokenAccount(wallet, mint).address);
  const blockhash = name(4);
  const budget = [budgetInstruction('unit_limit', 1_000n), budgetInstruction('unit_price', 9n)];
  const moved = { source: source!, mint, destination: account!, owner: from, amount: 7n, decimals: 6 };
  const created = createTokenAccountInstruction({ payer: from, account: account!, wallet: to, mint });
  const native = compile(from, blockhash, [...budget, transferInstruction(from, to, 7n)]);
  return [
    native,
    { ...native, version: 'legacy' as const },
    compile(from, blockhash, [...budget, tokenTransferInstruction(moved)], [to]),
    compile(from, blockhash, [...budget, created, tokenTransferInstruction(moved)]),
  ].map(encodeMessage);
}

function signed(message: Uint8Array): Uint8Array {
  return concat(Uint8Array.of(1), ed25519.sign(message, solanaKey), message);
}
