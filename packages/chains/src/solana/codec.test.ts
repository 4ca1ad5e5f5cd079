/** Solana without a node: Solana's own library as a second opinion, and bytes that would like to show something else. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { base58 } from '@scure/base';
import {
  type Address,
  address,
  appendTransactionMessageInstructions,
  assertIsFullySignedTransaction,
  type Blockhash,
  compileTransaction,
  createKeyPairSignerFromPrivateKeyBytes,
  createTransactionMessage,
  getBase58Decoder,
  getCompiledTransactionMessageDecoder,
  getProgramDerivedAddress,
  getSignatureFromTransaction,
  getTransactionDecoder,
  getTransactionEncoder,
  isOffCurveAddress,
  type Instruction as KitInstruction,
  pipe,
  setTransactionMessageFeePayer,
  setTransactionMessageLifetimeUsingBlockhash,
  signTransaction,
} from '@solana/kit';
import fc from 'fast-check';
import { NATIVE_ASSET } from '../chain.ts';
import { assertCode } from '../testing/refusals.ts';
import { SOLANA_GENESIS, solanaCodec, solanaNetwork } from './codec.ts';
import {
  budgetInstruction,
  COMPUTE_BUDGET_PROGRAM,
  compile,
  createTokenAccountInstruction,
  type Instruction,
  SYSTEM_PROGRAM,
  tokenTransferInstruction,
  transferInstruction,
} from './instructions.ts';
import { TOKEN_ACCOUNT_DEPOSIT } from './intent.ts';
import { ASSOCIATED_TOKEN_PROGRAM, associatedTokenAccount, isOnCurve, TOKEN_PROGRAM } from './tokens.ts';
import { encodeMessage, encodeTransaction, parseRaw, TRANSACTION_BYTES_MAX } from './wire.ts';

const NETWORK = solanaNetwork(SOLANA_GENESIS.mainnet);
const codec = solanaCodec(NETWORK);
const BLOCKHASH = base58.encode(sha256(Uint8Array.of(1)));

test('networks are named as CAIP-2 names them', () => {
  assert.deepEqual(Object.values(SOLANA_GENESIS).map(solanaNetwork), [
    'solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp',
    'solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1',
    'solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z',
  ]);
  for (const network of ['', 'solana:', 'eip155:1', `${NETWORK}x`])
    assert.throws(() => solanaCodec(network), RangeError);
  assert.throws(() => solanaNetwork('mainnet'), RangeError);
});

describe('addresses', () => {
  test('an address is 32 bytes in base58, no more and no less', () => {
    const { from } = names();
    assert.equal(codec.parseAddress(from), from);
    for (const text of [
      '',
      '1',
      '1'.repeat(33),
      `1${from}`,
      from.slice(0, 40),
      `${from.slice(0, -1)}0`,
      '2'.repeat(9_999),
    ])
      assertCode('address_invalid', () => codec.parseAddress(text));
  });

  test('a key that is no point, or that everybody can sign for, has no account', () => {
    const identity = new Uint8Array(32);
    identity[0] = 1;
    const offCurve = base58.decode(associatedTokenAccount(names().from, names().to).address);
    for (const key of [new Uint8Array(), new Uint8Array(31), new Uint8Array(33), identity, offCurve])
      assertCode('key_invalid', () => codec.account(key));
  });

  test("Solana's library derives the same token accounts, and agrees on what is on the curve", async () => {
    for (let i = 0; i < 40; i++) {
      const { from, mint } = names(`ata ${i}`);
      const [theirs] = await getProgramDerivedAddress({
        programAddress: address(ASSOCIATED_TOKEN_PROGRAM),
        seeds: [from, TOKEN_PROGRAM, mint].map((text) => base58.decode(text)),
      });
      assert.equal(associatedTokenAccount(from, mint).address, theirs);
      const any = sha256(Uint8Array.of(i));
      assert.equal(isOnCurve(any), !isOffCurveAddress(address(base58.encode(any))), base58.encode(any));
    }
  });
});

describe("Solana's library", () => {
  const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const amount = fc.bigInt(1n, 2n ** 64n - 1n);

  test('makes the same bytes of the same transfer, and reads ours', () => {
    fc.assert(
      fc.property(
        bytes32,
        bytes32,
        bytes32,
        amount,
        fc.bigInt(0n, 2n ** 30n),
        (key, receiver, hash, lamports, price) => {
          const from = base58.encode(ed25519.getPublicKey(key));
          const to = base58.encode(receiver);
          const blockhash = base58.encode(hash);
          const instructions = [
            budgetInstruction('unit_limit', 1_000n),
            budgetInstruction('unit_price', price),
            transferInstruction(from, to, lamports),
          ];
          const ours = encodeMessage(compile(from, blockhash, instructions));
          const theirs = compileWithKit(0, from, blockhash, instructions);
          assert.deepEqual(
            sorted(getCompiledTransactionMessageDecoder().decode(ours)),
            sorted(getCompiledTransactionMessageDecoder().decode(theirs.messageBytes)),
          );
          for (const raw of [ours, new Uint8Array(theirs.messageBytes)]) {
            const { outputs, feeMax, from: payer, warnings } = codec.decode(raw);
            assert.deepEqual(outputs, [{ to, amount: lamports, asset: NATIVE_ASSET, change: to === from }]);
            assert.equal(feeMax, 5_000n + (price * 1_000n + 999_999n) / 1_000_000n);
            assert.equal(payer, from);
            assert.deepEqual(warnings, isOffCurveAddress(address(to)) ? ['output_unspendable'] : []);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('signs what we read, under the id that we compute, and takes what we sign', async () => {
    for (const version of ['legacy', 0] as const) {
      const key = sha256(Uint8Array.of(9));
      const signer = await createKeyPairSignerFromPrivateKeyBytes(key);
      const { to } = names();
      const compiled = compileWithKit(version, signer.address, BLOCKHASH, [
        transferInstruction(signer.address, to, 7n),
      ]);
      const signed = await signTransaction([signer.keyPair], compiled);
      const wire = new Uint8Array(getTransactionEncoder().encode(signed));
      assert.equal(codec.transactionId(wire), getSignatureFromTransaction(signed));
      const unsigned = new Uint8Array(compiled.messageBytes);
      const publicKey = ed25519.getPublicKey(key);
      const [digest] = codec.digests(unsigned);
      assert.deepEqual(digest, { input: 0, algorithm: 'ed25519', digest: unsigned, publicKey, origin: null });
      const ours = codec.attach(unsigned, [{ input: 0, publicKey, signature: ed25519.sign(digest!.digest, key) }]);
      assert.deepEqual(ours, wire);
      const read = getTransactionDecoder().decode(ours);
      assertIsFullySignedTransaction(read);
      assert.deepEqual(codec.decode(ours), codec.decode(unsigned));
      assert.deepEqual(codec.resources(ours), codec.resources(unsigned));
      assert.deepEqual(encodeMessage(parseRaw(ours).message), unsigned);
    }
  });

  test('agrees on token transfers, with a key that no instruction uses', () => {
    const { from, to, mint, source, destination } = tokenNames();
    const instructions = [tokenTransfer({ amount: 5n })];
    const ours = encodeMessage(compile(from, BLOCKHASH, instructions, [to]));
    const read = getCompiledTransactionMessageDecoder().decode(ours);
    assert.deepEqual([...read.staticAccounts].sort(), [from, to, mint, source, destination, TOKEN_PROGRAM].sort());
  });
});

describe('what an intent shows', () => {
  test("a token's receiver is a wallet only where derivation proves it", () => {
    const { from, to, mint, destination } = tokenNames();
    const shown = (instructions: readonly Instruction[], mentioned: readonly string[] = [], account?: string) =>
      codec.decode(message(instructions, mentioned), account).outputs.map((output) => output.to);
    assert.deepEqual(shown([tokenTransfer({ amount: 5n })]), [destination]);
    assert.deepEqual(shown([tokenTransfer({ amount: 5n })], [to]), [to]);
    assert.deepEqual(shown([tokenTransfer({ amount: 5n })], [], to), [to]);
    assert.deepEqual(shown([create(), tokenTransfer({ amount: 5n })]), [to]);
    // A wallet that the bytes name and that has nothing to do with the account.
    assert.deepEqual(shown([tokenTransfer({ amount: 5n })], [names('liar').to]), [destination]);
    assert.deepEqual(shown([tokenTransfer({ amount: 5n })], [mint, from].slice(1)), [destination]);
  });

  test('attack: a creation that names a wallet for an account that is not its own explains nothing', () => {
    const { from, mint, destination } = tokenNames();
    const liar = names('liar').to;
    const lie = createTokenAccountInstruction({ payer: from, account: destination, wallet: liar, mint });
    const intent = codec.decode(message([lie, tokenTransfer({ amount: 5n })]));
    assert.deepEqual(
      intent.outputs.map(({ to }) => to),
      [destination],
    );
    assert.deepEqual(intent.warnings, ['unknown_instruction', 'fee_unknown']);
    assert.equal(intent.feeMax, null);
  });

  test('attack: a delegate that moves the tokens of another is not shown as paying its own', () => {
    const { from, mint, destination } = tokenNames();
    const victim = associatedTokenAccount(names('victim').to, mint).address;
    const moved = { source: victim, mint, destination, owner: from, amount: 5n, decimals: 6 };
    assert.equal(codec.decode(message([tokenTransferInstruction(moved)])).from, null);
    assert.equal(codec.decode(message([tokenTransfer({ amount: 5n })])).from, from);
  });

  test('tokens of which the bytes name no mint are on nobody’s list', () => {
    const { from, source, destination } = tokenNames();
    const data = new Uint8Array(9);
    data[0] = 3;
    data[1] = 5;
    const accounts = [writable(source), writable(destination), { address: from, signs: true, writes: false }];
    const intent = codec.decode(message([{ program: TOKEN_PROGRAM, accounts, data }]));
    assert.deepEqual(intent.outputs, [{ to: destination, amount: 5n, asset: source, change: false }]);
    assert.deepEqual(intent.warnings, ['unknown_instruction']);
    assert.equal(intent.from, null);
  });

  test('an approval is an allowance, and one without end is told', () => {
    const { from, mint, source } = tokenNames();
    const spender = names('spender').to;
    const approve = (amount: bigint): Instruction => {
      const { data } = tokenTransfer({ amount });
      const approval = data.slice();
      approval[0] = 13;
      const accounts = [writable(source), readonly(mint), readonly(spender), { ...readonly(from), signs: true }];
      return { program: TOKEN_PROGRAM, accounts, data: approval };
    };
    const some = codec.decode(message([approve(7n)]));
    assert.deepEqual(some.allowances, [{ spender, amount: 7n, asset: mint }]);
    assert.deepEqual([some.outputs, some.warnings], [[], ['approves_spender']]);
    const all = codec.decode(message([approve(2n ** 64n - 1n)]));
    assert.deepEqual(all.warnings, ['approves_spender', 'unlimited_approval']);
  });

  test('the deposit of an account that is created counts as fee', () => {
    const { feeMax, warnings } = codec.decode(message([create(), tokenTransfer({ amount: 5n })]));
    assert.equal(feeMax, 5_000n + TOKEN_ACCOUNT_DEPOSIT);
    assert.deepEqual(warnings, ['creates_account']);
  });

  test('one instruction that cannot be explained makes the fee unknown', () => {
    const { from, to } = names();
    const strange: Instruction[] = [
      { program: names('program').to, accounts: [writable(from)], data: Uint8Array.of(1) },
      // CreateAccount, Assign and AdvanceNonceAccount of the system program; SetAuthority of the token program.
      { program: SYSTEM_PROGRAM, accounts: [writable(from), writable(to)], data: new Uint8Array(52) },
      {
        program: SYSTEM_PROGRAM,
        accounts: [writable(from)],
        data: new Uint8Array([1, 0, 0, 0, ...new Uint8Array(32)]),
      },
      { program: SYSTEM_PROGRAM, accounts: [writable(to)], data: Uint8Array.of(4, 0, 0, 0) },
      { program: TOKEN_PROGRAM, accounts: [writable(to), writable(from)], data: Uint8Array.of(6, 2, 0) },
      // A transfer with a byte or an account too many.
      { ...transferInstruction(from, to, 1n), data: new Uint8Array([...transferInstruction(from, to, 1n).data, 0]) },
      { ...transferInstruction(from, to, 1n), accounts: [writable(from), writable(to), readonly(from)] },
      { program: COMPUTE_BUDGET_PROGRAM, accounts: [], data: Uint8Array.of(9, 0, 0, 0, 0) },
    ];
    for (const [at, instruction] of strange.entries()) {
      const intent = codec.decode(message([transferInstruction(from, to, 1n), instruction]));
      assert.deepEqual(intent.warnings, ['unknown_instruction', 'fee_unknown'], `${at}`);
      assert.deepEqual([intent.feeMax, intent.outputs.length], [null, 1]);
    }
  });

  test('a memo carries data, a high fee is told, and the default budget counts at its highest', () => {
    const { from, to } = names();
    const memo = {
      program: 'MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr',
      accounts: [],
      data: Uint8Array.of(104, 105),
    };
    const transfer = transferInstruction(from, to, 1n);
    assert.deepEqual(codec.decode(message([transfer, memo])).warnings, ['carries_data']);
    const { feeMax, warnings } = codec.decode(message([budgetInstruction('unit_price', 100_000_000n), transfer]));
    assert.equal(feeMax, 5_000n + 203_000n * 100n);
    assert.deepEqual(warnings, ['fee_high']);
    const most = [
      budgetInstruction('unit_limit', 2n ** 32n - 1n),
      budgetInstruction('unit_price', 1_000_000n),
      transfer,
    ];
    assert.equal(codec.decode(message(most)).feeMax, 5_000n + 1_400_000n);
  });

  test('two that sign both have to, and who of them pays is not guessed', () => {
    const { from, to } = names();
    const [sponsorKey, payerKey] = [sha256(Uint8Array.of(1)), sha256(Uint8Array.of(2))];
    const [sponsor, payer] = [sponsorKey, payerKey].map((key) => base58.encode(ed25519.getPublicKey(key)));
    assert.notEqual(from, sponsor);
    const raw = encodeMessage(compile(sponsor!, BLOCKHASH, [transferInstruction(payer!, to, 1n)]));
    assert.equal(codec.decode(raw).from, null);
    assert.equal(codec.decode(raw).feeMax, 10_000n);
    const signatures = [sponsorKey, payerKey].map((key) => ({
      input: 0,
      publicKey: ed25519.getPublicKey(key),
      signature: ed25519.sign(raw, key),
    }));
    assert.equal(codec.digests(raw).length, 2);
    assertCode('signature_missing', () => codec.attach(raw, signatures.slice(1)));
    const final = codec.attach(raw, [...signatures].reverse());
    assert.equal(codec.transactionId(final), base58.encode(signatures[0]!.signature));
  });
});

describe('bytes that must not be signed', () => {
  const { from, to } = names();
  const good = message([transferInstruction(from, to, 1n)]);

  test('another spelling of a length', () => {
    // The count of keys is at 4: 03 may also be spelled 83 00.
    const respelled = new Uint8Array([...good.subarray(0, 4), good[4]! | 0x80, 0, ...good.subarray(5)]);
    assertCode('transaction_invalid', () => codec.decode(respelled));
  });

  test('receivers in a lookup table, and versions to come', () => {
    const table = new Uint8Array([...good.slice(0, -1), 1, ...sha256(good), 1, 0, 0]);
    assert.throws(() => codec.decode(table), /lookup table/);
    const next = good.slice();
    next[0] = 0x81;
    assertCode('transaction_invalid', () => codec.decode(next));
  });

  test('a key twice, a header beyond the keys, an instruction beyond the keys, a payer as program', () => {
    const { version: _, ...parts } = parseRaw(good).message;
    const [payer, receiver, system] = parts.keys;
    const [instruction] = parts.instructions;
    const wrong = [
      { keys: [payer!, payer!, system!] },
      { required: 0 },
      { required: 4 },
      { readonlySigned: 1 },
      { readonlyUnsigned: 3 },
      { instructions: [{ ...instruction!, program: 3 }] },
      { instructions: [{ ...instruction!, program: 0 }] },
      { instructions: [{ ...instruction!, accounts: [0, 3] }] },
    ];
    assert.equal(receiver!.length, 32);
    for (const change of wrong)
      assertCode('transaction_invalid', () => codec.decode(encodeMessage({ ...parts, version: 0, ...change })));
  });

  test('a compute budget that is set twice', () => {
    const twice = [budgetInstruction('unit_price', 1n), budgetInstruction('unit_price', 2n)];
    assertCode('transaction_invalid', () => codec.decode(message([...twice, transferInstruction(from, to, 1n)])));
  });

  test('more bytes than a node takes, with the signatures that are to come', () => {
    const memo = (length: number): Instruction => ({
      program: 'MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr',
      accounts: [],
      data: new Uint8Array(length),
    });
    const room = TRANSACTION_BYTES_MAX - 65 - message([memo(200)]).length + 200;
    codec.decode(message([memo(room)]));
    assertCode('transaction_invalid', () => codec.decode(message([memo(room + 1)])));
  });

  test('a signature of another, or by a key in another spelling of its point', () => {
    const key = sha256(Uint8Array.of(3));
    const mine = base58.encode(ed25519.getPublicKey(key));
    const raw = encodeMessage(compile(mine, BLOCKHASH, [transferInstruction(mine, to, 1n)]));
    const forged = encodeTransaction(raw, [ed25519.sign(raw, sha256(Uint8Array.of(4)))]);
    for (const act of [codec.decode, codec.transactionId, codec.final])
      assertCode('transaction_invalid', () => act(forged));
  });

  test('attack: a signed transaction that is also another message is that message, for whoever shows, signs or sends', () => {
    const both = signedTransactionThatIsAMessage();
    // Solana's library sees a transaction with a good signature.
    const theirs = getTransactionDecoder().decode(both);
    const [[signer, signature]] = Object.entries(theirs.signatures) as unknown as [[string, Uint8Array]];
    assert.ok(ed25519.verify(signature, new Uint8Array(theirs.messageBytes), base58.decode(signer)));
    // Here it is the message throughout: what is shown is what would be signed, and it is never sent as signed.
    const { message: read, signatures } = parseRaw(both);
    assert.equal(signatures, null);
    assert.notEqual(codec.decode(both).from, signer);
    assert.equal(codec.decode(both).from, base58.encode(read.keys[0]!));
    assert.deepEqual(codec.digests(both)[0]!.digest, both);
    assertCode('signature_missing', () => codec.final(both));
    assertCode('transaction_invalid', () => codec.transactionId(both));
  });
});

/**
 * The first bytes of a transaction are the count of its signatures and the first signature; those of a legacy message are
 * its header, the count of its keys, and keys. The nonce is one whose commitment begins with a fitting header; what
 * follows of the message lies in the data of the transaction's memo. Anybody can find such a nonce in a second.
 */
function signedTransactionThatIsAMessage(): Uint8Array {
  const keyCount = 20;
  const { scalar, pointBytes } = ed25519.utils.getExtendedPublicKey(sha256(Uint8Array.of(5)));
  const nonce = 12_156n;
  const commitment = ed25519.Point.BASE.multiply(nonce).toBytes();
  assert.deepEqual([commitment[0], commitment[2]], [0, keyCount]);
  const memoProgram = base58.decode('MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr');
  const beforeMemo = 1 + 64 + 3 + 1 + 2 * 32 + 32 + 1 + 1 + 1 + 2;
  const keysEnd = 4 + 32 * keyCount + 32;
  const memo = new Uint8Array(keysEnd + 4 - beforeMemo).map((_, at) => (at * 7) ^ (at >> 5));
  // One instruction of key 1, without accounts and data.
  memo.set([1, 1, 0, 0], memo.length - 4);
  const inner = new Uint8Array([
    ...[1, 0, 1, 2],
    ...pointBytes,
    ...memoProgram,
    ...sha256(memoProgram),
    ...[1, 1, 0, (memo.length & 0x7f) | 0x80, memo.length >> 7],
    ...memo,
  ]);
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const challenge = number(sha512(new Uint8Array([...commitment, ...pointBytes, ...inner])));
  const response = (nonce + challenge * scalar) % ed25519.Point.Fn.ORDER;
  const littleEndian = Buffer.from(response.toString(16).padStart(64, '0'), 'hex').reverse();
  return new Uint8Array([1, ...commitment, ...littleEndian, ...inner]);
}

interface Names {
  readonly from: string;
  readonly to: string;
  readonly mint: string;
}

/** Wallets and a mint that are on the curve, always the same for a seed. */
function names(seed = 'names'): Names {
  const name = (what: string) =>
    base58.encode(ed25519.getPublicKey(sha256(new TextEncoder().encode(`${seed} ${what}`))));
  return { from: name('from'), to: name('to'), mint: name('mint') };
}

function tokenNames() {
  const { from, to, mint } = names();
  const [source, destination] = [from, to].map((wallet) => associatedTokenAccount(wallet, mint).address);
  return { from, to, mint, source: source!, destination: destination! };
}

function tokenTransfer({ amount }: { amount: bigint }): Instruction {
  const { from, mint, source, destination } = tokenNames();
  return tokenTransferInstruction({ source, mint, destination, owner: from, amount, decimals: 6 });
}

function create(): Instruction {
  const { from, to, mint, destination } = tokenNames();
  return createTokenAccountInstruction({ payer: from, account: destination, wallet: to, mint });
}

function message(instructions: readonly Instruction[], mentioned: readonly string[] = []): Uint8Array {
  return encodeMessage(compile(names().from, BLOCKHASH, instructions, mentioned));
}

function writable(of: string): Instruction['accounts'][number] {
  return { address: of, signs: of === names().from, writes: true };
}

function readonly(of: string): Instruction['accounts'][number] {
  return { address: of, signs: false, writes: false };
}

function compileWithKit(version: 'legacy' | 0, from: string, blockhash: string, instructions: readonly Instruction[]) {
  const theirs = instructions.map(
    ({ program, accounts, data }): KitInstruction => ({
      programAddress: address(program),
      accounts: accounts.map(({ address: of, signs, writes }) => ({
        address: address(of),
        role: (signs ? 2 : 0) + (writes ? 1 : 0),
      })),
      data,
    }),
  );
  const lifetime = { blockhash: blockhash as Blockhash, lastValidBlockHeight: 0n };
  return compileTransaction(
    pipe(
      createTransactionMessage({ version }),
      (tx) => setTransactionMessageFeePayer(from as Address, tx),
      (tx) => setTransactionMessageLifetimeUsingBlockhash(lifetime, tx),
      (tx) => appendTransactionMessageInstructions(theirs, tx),
    ),
  );
}

/** Whoever compiles chooses the order of keys within a role: compare by names. */
function sorted(decoded: ReturnType<ReturnType<typeof getCompiledTransactionMessageDecoder>['decode']>): unknown {
  assert.equal(decoded.version, 0);
  const compiled = decoded as Extract<typeof decoded, { version: 0 }>;
  const { header, staticAccounts, instructions, lifetimeToken } = compiled;
  return {
    header,
    lifetimeToken,
    keys: [...staticAccounts].sort(),
    instructions: instructions.map(({ programAddressIndex, accountIndices = [], data }) => ({
      program: staticAccounts[programAddressIndex],
      accounts: accountIndices.map((at) => staticAccounts[at]),
      data: getBase58Decoder().decode(data ?? new Uint8Array()),
    })),
  };
}
