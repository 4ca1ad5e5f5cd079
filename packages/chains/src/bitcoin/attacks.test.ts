/**
 * Attacks on whoever is asked to sign a Bitcoin transaction, by their names: what is shown must be what the signature
 * does, whoever made the PSBT, served the coins, or signs beside us.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hexToBytes } from '@noble/hashes/utils.js';
import { ChainError } from '../chain.ts';
import { type TreeHolder, treeHolder } from '../testing/holders.ts';
import { assertCode } from '../testing/refusals.ts';
import { scriptOfAddress } from './address.ts';
import { type AssembledCoin, assemblePsbt, type Payment } from './assemble.ts';
import { bitcoinCodec } from './codec.ts';
import { createDescriptor, type Descriptor, type DescriptorKey, type ScriptKind } from './descriptor.ts';
import { checkBip137 } from './messages.ts';
import { bitcoinNetworks } from './networks.ts';
import { formatPsbt, type Psbt, parsePsbt } from './psbt.ts';
import { combinePsbts } from './psbt-combine.ts';
import { formatTransaction, parseTransaction, transactionId } from './transaction.ts';

const { mainnet, regtest } = bitcoinNetworks;
const codec = bitcoinCodec(regtest);
const holders = [1, 2, 3].map((byte) => treeHolder(new Uint8Array(16).fill(byte), '48h/1h/0h/2h'));
const [first, second] = holders as [TreeHolder, TreeHolder, TreeHolder];
const vault = createDescriptor({ script: 'p2wsh', threshold: 2, keys: holders.map(({ key }) => key) }, regtest);
const stranger = treeHolder(new Uint8Array(16).fill(9), '84h/1h/0h');
const strangers = single('p2wpkh', stranger);
const payee = strangers.derive({ change: 0, index: 3 });

function single(script: ScriptKind, { key }: TreeHolder): Descriptor {
  return createDescriptor({ script, threshold: 1, keys: [key] }, regtest);
}

function coinOf(account: Descriptor, index: number, amount: bigint): AssembledCoin {
  const output = account.derive({ change: 0, index });
  const previous = formatTransaction({
    version: 2,
    lockTime: 0,
    inputs: [{ txid: 'ab'.repeat(32), vout: index, sequence: 0, scriptSig: new Uint8Array([1, 1]), witness: [] }],
    outputs: [{ amount, script: output.script }],
  });
  return { txid: transactionId(parseTransaction(previous)), vout: 0, amount, output, previous };
}

function payment(script: Uint8Array, amount = 90_000n): Payment {
  return { amount, script, own: null };
}

/** One coin of 100,000 sats, 90,000 to the payee. */
function spendOf(account: Descriptor, payments: readonly Payment[] = [payment(payee.script)]): Uint8Array {
  return assemblePsbt(account, [coinOf(account, 0, 100_000n)], payments);
}

function changed(bytes: Uint8Array, change: (psbt: Psbt) => Psbt): Uint8Array {
  return formatPsbt(change(parsePsbt(bytes)));
}

function signedBy(holder: TreeHolder, psbt: Uint8Array): Uint8Array {
  return codec.attach(psbt, holder.sign(codec.digests(psbt)));
}

describe('an address that is shown for a script that anybody may spend:', () => {
  // Consensus knows witness programs and P2SH by their exact bytes: with a longer push they are ordinary scripts.
  const hash = '11'.repeat(20);
  const x = '79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798';
  for (const [like, script] of [
    ['P2WPKH', `004c14${hash}`],
    ['P2WPKH, pushed with two bytes of length', `004d1400${hash}`],
    ['P2WSH', `004c20${x}`],
    ['P2TR', `514c20${x}`],
    ['P2SH', `a94c14${hash}87`],
    ['P2PKH', `76a94c14${hash}88ac`],
  ] as const) {
    test(like, () => {
      const intent = codec.decode(spendOf(vault, [payment(hexToBytes(script))]), vault.text);
      assert.equal(intent.outputs[0]!.to, `script:${script}`);
      assert.ok(intent.warnings.includes('output_nonstandard'));
    });
  }

  test('a private key that is pasted as an address is in no error', () => {
    const secret = 'KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn';
    for (const text of [secret, `${secret}x`, secret.toLowerCase()])
      assert.throws(
        () => codec.parseAddress(text),
        (error) => error instanceof ChainError && !`${error.message} ${error.cause}`.includes(text.slice(0, 8)),
      );
  });

  test('an address whose coins anybody may take (P2A) is none to pay to', () => {
    assertCode('address_invalid', () => scriptOfAddress('bc1pfeessrawgf', mainnet));
  });
});

describe('an intent that leaves out what matters:', () => {
  test('the amount of a Taproot coin that our own signature does not cover is only claimed', () => {
    const [ours, theirs] = [coinOf(strangers, 0, 100_000n), coinOf(single('p2tr', second), 0, 900_000n)];
    const [a, b] = [spendOf(strangers), spendOf(single('p2tr', second))].map(parsePsbt) as [Psbt, Psbt];
    const mixed = formatPsbt({
      ...a,
      tx: { ...a.tx, inputs: [a.tx.inputs[0]!, { ...b.tx.inputs[0]!, txid: theirs.txid }] },
      inputs: [a.inputs[0]!, { ...b.inputs[0]!, previous: null }],
    });
    assert.equal(codec.resources(mixed)[0], `${ours.txid}:0`);
    const { warnings, feeMax } = codec.decode(mixed, strangers.text);
    assert.equal(feeMax, 110_000n); // and what the other coin really holds nobody here knows
    assert.ok(warnings.includes('amount_unproven'));
    // With its transaction it is proven, and so it is where every signature covers every amount.
    const whole = changed(mixed, (psbt) => ({
      ...psbt,
      tx: { ...psbt.tx, inputs: [psbt.tx.inputs[0]!, { ...psbt.tx.inputs[1]!, txid: theirs.txid, vout: 0 }] },
      inputs: [
        psbt.inputs[0]!,
        {
          ...psbt.inputs[1]!,
          previous: theirs.previous,
          witnessUtxo: { amount: 900_000n, script: theirs.output.script },
        },
      ],
    }));
    assert.ok(!codec.decode(whole, strangers.text).warnings.includes('amount_unproven'));
  });

  test('a transaction that no block may take for a year after its coin (BIP68) is locked', () => {
    const relative = (sequence: number, version = 2) =>
      codec.decode(
        changed(spendOf(vault), (psbt) => ({
          ...psbt,
          tx: { ...psbt.tx, version, inputs: psbt.tx.inputs.map((input) => ({ ...input, sequence })) },
        })),
        vault.text,
      ).warnings;
    assert.deepEqual(relative(52_560), ['time_locked']);
    assert.deepEqual(relative(0x0040ffff), ['time_locked']);
    assert.deepEqual(relative(0xffff, 0xffffffff), ['time_locked']);
    assert.deepEqual(relative(0), []);
    assert.deepEqual(relative(0x8000ffff), []);
    assert.deepEqual(relative(0xffff, 1), []);
  });

  test('change at an index that no scan will ever reach is held to ransom', () => {
    const at = (index: number) => {
      const own = vault.derive({ change: 1, index });
      const sent = spendOf(vault, [payment(payee.script, 40_000n), { amount: 59_000n, script: own.script, own }]);
      return codec.decode(sent, vault.text);
    };
    assert.deepEqual(at(9_999).warnings, []);
    for (const index of [10_000, 1_999_999_999]) {
      assert.deepEqual(at(index).warnings, ['change_far']);
      assert.ok(at(index).outputs.some(({ change }) => change));
    }
  });
});

describe('a signature that is none:', () => {
  const unsigned = spendOf(vault);
  const taproot = single('p2tr', first);
  const nonsense = new Uint8Array([...first.sign(codec.digests(spendOf(taproot)))[0]!.signature]);
  const others = spendOf(vault, [payment(payee.script, 80_000n)]);
  const honest = codec.final(signedBy(second, signedBy(first, unsigned)));
  const inFirst = (psbt: Uint8Array, fields: Partial<Psbt['inputs'][number]>) =>
    changed(psbt, ({ inputs, ...rest }) => ({ ...rest, inputs: inputs.map((input) => ({ ...input, ...fields })) }));
  const signaturesOf = (psbt: Uint8Array) => parsePsbt(psbt).inputs[0]!.partialSignatures;
  /** What the first holder hands back: its own signature, and for the second's key one of another transaction. */
  const spoiled = inFirst(unsigned, {
    partialSignatures: [...signaturesOf(signedBy(first, unsigned)), ...signaturesOf(signedBy(second, others))],
  });

  test('planted for another holder’s key, it keeps that holder from being asked no more than it counts', () => {
    assertCode('signature_missing', () => codec.final(spoiled));
    assert.equal(codec.digests(spoiled).length, 2);
    assert.deepEqual(codec.signatures(spoiled), [1]);
    assert.deepEqual(codec.final(signedBy(second, spoiled)), honest);
  });

  test('planted in one copy, it does not displace the good one of another, whichever comes first', () => {
    const good = signedBy(second, unsigned);
    for (const copies of [
      [unsigned, spoiled, good],
      [good, spoiled],
      [spoiled, good],
    ])
      assert.deepEqual(codec.final(combinePsbts(copies)), honest);
  });

  test('in an input that is said to be finished, it is missing, and good ones beside it count', () => {
    const [one] = signaturesOf(signedBy(first, unsigned));
    const script = parsePsbt(unsigned).inputs[0]!.witnessScript!;
    const twice = [new Uint8Array(), one!.signature, one!.signature, script];
    const foreign = parseTransaction(codec.final(signedBy(second, signedBy(first, others)))).inputs[0]!.witness;
    for (const finalWitness of [twice, foreign, [script], [new Uint8Array(), script]]) {
      assertCode('signature_missing', () => codec.final(inFirst(unsigned, { finalWitness })));
      assert.deepEqual(codec.signatures(inFirst(unsigned, { finalWitness })), [0]);
      assert.deepEqual(codec.final(inFirst(signedBy(second, signedBy(first, unsigned)), { finalWitness })), honest);
      assert.deepEqual(codec.final(signedBy(second, signedBy(first, inFirst(unsigned, { finalWitness })))), honest);
    }
  });

  test('of a Taproot input, it is missing', () => {
    const fresh = spendOf(taproot, [payment(payee.script, 70_000n)]);
    const final = codec.final(signedBy(first, fresh));
    for (const fields of [{ tapKeySignature: nonsense }, { finalWitness: [nonsense] }]) {
      const lying = inFirst(fresh, fields);
      assertCode('signature_missing', () => codec.final(lying));
      assert.deepEqual(codec.final(signedBy(first, lying)), final);
    }
  });
});

describe('a descriptor that', () => {
  const child = first.account.deriveChild(7);
  const below = { depth: child.depth, parentFingerprint: child.parentFingerprint, childNumber: 7 };
  const same = {
    ...first.key,
    origin: null,
    key: { ...below, chainCode: child.chainCode!, publicKey: child.publicKey! },
  };
  const of = (...keys: readonly DescriptorKey[]) => createDescriptor({ script: 'p2wsh', threshold: 2, keys }, regtest);

  test('counts one holder twice, by an extended key and a key below it, is refused', () => {
    const seventh = { ...first.key, path: [7] };
    assertCode('descriptor_invalid', () => of(seventh, same, second.key));
    // Not where funds are received, but where change goes.
    assertCode('descriptor_invalid', () => of(seventh, { ...same, branches: [2, 1] }, second.key));
    of(first.key, same, second.key); // other keys at each place
  });

  test('goes deeper than BIP32 numbers is refused in the words of every other', () => {
    const deep = (depth: number) => ({ ...first.key, key: { ...first.key.key, depth } });
    for (const depth of [254, 255]) assertCode('descriptor_invalid', () => of(deep(depth), second.key));
    of(deep(253), second.key).derive({ change: 1, index: 5 });
    const origin = { fingerprint: '00000000', path: Array.from({ length: 254 }, () => '0').join('/') };
    assertCode('descriptor_invalid', () => of({ ...first.key, origin }, second.key));
  });
});

describe('bytes that are made to exhaust whoever reads them:', () => {
  test('a previous transaction of four hundred thousand outputs is read, and its hash is its id', () => {
    const outputs = Array.from({ length: 400_000 }, () => ({ amount: 0n, script: new Uint8Array() }));
    const lone = { txid: 'ab'.repeat(32), vout: 0, sequence: 0, scriptSig: new Uint8Array([1, 1]), witness: [] };
    const previous = formatTransaction({ version: 2, lockTime: 0, inputs: [lone], outputs });
    const lying = changed(spendOf(vault), (psbt) => ({
      ...psbt,
      inputs: psbt.inputs.map((input) => ({ ...input, previous })),
    }));
    assert.match(transactionId(parseTransaction(previous)), /^[0-9a-f]{64}$/);
    assertCode('transaction_invalid', () => codec.decode(lying, vault.text));
  });

  test('a PSBT of a million fields is refused before they are kept', () => {
    const fields = Array.from({ length: 1_000_000 }, (_, i) => {
      const key = new Uint8Array([0xf0, i & 255, (i >> 8) & 255, i >> 16]);
      return { key, value: new Uint8Array() };
    });
    const flooded = changed(spendOf(vault), (psbt) => ({ ...psbt, others: fields }));
    const before = process.memoryUsage().heapUsed;
    assertCode('transaction_invalid', () => parsePsbt(flooded));
    assert.ok(process.memoryUsage().heapUsed - before < 200_000_000);
  });

  test('a message signature of forty megabytes is none, at once', () => {
    const started = performance.now();
    assert.equal(
      checkBip137('hello', strangers.derive({ change: 0, index: 0 }).address, 'A'.repeat(4e7), regtest),
      false,
    );
    assert.ok(performance.now() - started < 500);
  });

  test('a transaction with millions of witness items is refused', () => {
    const witness = Array.from({ length: 1_000 }, () => new Uint8Array());
    const inputs = Array.from({ length: 401 }, (_, vout) => ({
      txid: 'ab'.repeat(32),
      vout,
      sequence: 0,
      scriptSig: new Uint8Array(),
      witness,
    }));
    const crafted = formatTransaction({ version: 2, lockTime: 0, inputs, outputs: [] });
    assertCode('transaction_invalid', () => codec.decode(crafted));
  });
});
