/**
 * What a PSBT does and what is signed: BIP143 and BIP341, the transaction library and a script interpreter as other
 * authors, and every lie that a PSBT can tell.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hexToBytes } from '@noble/hashes/utils.js';
import { SigHash, Transaction } from '@scure/btc-signer';
import { type TreeHolder, treeHolder } from '../testing/holders.ts';
import { refusalOf } from '../testing/interpreter.ts';
import { assertCode } from '../testing/refusals.ts';
import { readVector } from '../testing/vectors.ts';
import { type AssembledCoin, assemblePsbt, type Payment } from './assemble.ts';
import { bitcoinCodec } from './codec.ts';
import { createDescriptor, type Descriptor, type ScriptKind } from './descriptor.ts';
import { bitcoinNetworks } from './networks.ts';
import { formatPsbt, type Psbt, parsePsbt } from './psbt.ts';
import { combinePsbts } from './psbt-combine.ts';
import { createSighashes, p2wpkhScriptCode } from './sighash.ts';
import { formatTransaction, parseTransaction, transactionId } from './transaction.ts';

const { regtest } = bitcoinNetworks;
const codec = bitcoinCodec(regtest);
const holders = [1, 2, 3].map((byte) => treeHolder(new Uint8Array(16).fill(byte), '48h/1h/0h/2h'));
const stranger = treeHolder(new Uint8Array(16).fill(9), '84h/1h/0h');

function accountOf(script: ScriptKind): { account: Descriptor; signers: readonly TreeHolder[] } {
  const keys = script === 'p2wsh' ? holders : holders.slice(0, 1);
  const threshold = script === 'p2wsh' ? 2 : 1;
  const account = createDescriptor({ script, threshold, keys: keys.map(({ key }) => key) }, regtest);
  return { account, signers: keys.slice(0, threshold) };
}

const strangers = createDescriptor({ script: 'p2wpkh', threshold: 1, keys: [stranger.key] }, regtest);
const payee = strangers.derive({ change: 0, index: 3 });

/** Two coins of the account from transactions of their own, a payment of 70,000 sats and change of 29,000. */
function example(script: ScriptKind): { account: Descriptor; signers: readonly TreeHolder[]; unsigned: Uint8Array } {
  const { account, signers } = accountOf(script);
  const coins = [coin(account, 0, 60_000n), coin(account, 7, 40_000n)];
  const own = account.derive({ change: 1, index: 2 });
  const payments: Payment[] = [
    { amount: 70_000n, script: payee.script, own: null },
    { amount: 29_000n, script: own.script, own },
  ];
  return { account, signers, unsigned: assemblePsbt(account, coins, payments) };
}

function coin(account: Descriptor, index: number, amount: bigint): AssembledCoin {
  const output = account.derive({ change: 0, index });
  const previous = formatTransaction({
    version: 2,
    lockTime: 0,
    inputs: [{ txid: 'ab'.repeat(32), vout: index, sequence: 0, scriptSig: new Uint8Array([1, 1]), witness: [] }],
    outputs: [
      { amount: 1_000n, script: payee.script },
      { amount, script: output.script },
    ],
  });
  const txid = transactionId(parseTransaction(previous));
  return { txid, vout: 1, amount, output, previous: account.script === 'p2tr' ? null : previous };
}

describe('what is signed', () => {
  test('BIP143: the native P2WPKH input of the standard', () => {
    const vector = readVector<
      Record<'unsigned' | 'public_key' | 'amount_sats' | 'sighash', string> & { input: number }
    >('bip143.json');
    const sighashes = createSighashes(parseTransaction(hexToBytes(vector.unsigned)), []);
    const code = p2wpkhScriptCode(hexToBytes(vector.public_key));
    assert.deepEqual(sighashes.witnessV0(vector.input, code, BigInt(vector.amount_sats)), hexToBytes(vector.sighash));
  });

  test('BIP341: the input that is signed by default', () => {
    const vector = readVector<{
      unsigned: string;
      spent: readonly { scriptPubKey: string; amountSats: number }[];
      inputs: readonly { input: number; sighash_type: number; sighash: string }[];
    }>('bip341-spending.json');
    const spent = vector.spent.map(({ scriptPubKey, amountSats }) => ({
      script: hexToBytes(scriptPubKey),
      amount: BigInt(amountSats),
    }));
    const sighashes = createSighashes(parseTransaction(hexToBytes(vector.unsigned)), spent);
    const byDefault = vector.inputs.filter((input) => input.sighash_type === 0);
    assert.equal(byDefault.length, 1);
    for (const { input, sighash } of byDefault) assert.deepEqual(sighashes.taprootKey(input), hexToBytes(sighash));
  });
});

for (const script of ['p2wpkh', 'p2tr', 'p2wsh'] as const) {
  describe(`${script}:`, () => {
    const { account, signers, unsigned } = example(script);
    const spent = spentOf(unsigned);

    test('the intent says every output, the fee, and what is change', () => {
      const intent = codec.decode(unsigned, account.text);
      assert.equal(intent.from, account.text);
      assert.equal(intent.feeMax, 1_000n);
      assert.deepEqual(intent.warnings, []);
      assert.deepEqual(
        intent.outputs.map(({ to, amount, change }) => [to, amount, change]),
        [
          [account.derive({ change: 1, index: 2 }).address, 29_000n, true],
          [payee.address, 70_000n, false],
        ],
      );
    });

    test('its holders sign, and the interpreter of another author takes the spend', () => {
      const signed = signers.reduce((psbt, holder) => codec.attach(psbt, holder.sign(codec.digests(psbt))), unsigned);
      const final = codec.final(signed);
      assert.equal(refusalOf(final, spent), null);
      assert.match(
        refusalOf(
          final,
          spent.map((output) => ({ ...output, amount: output.amount + 1n })),
        ) ?? '',
        /input/,
      );
      assert.deepEqual(codec.resources(final), codec.resources(unsigned));
    });

    test('the library reads the PSBT, signs it, and Kedge takes its signatures', () => {
      const theirs = Transaction.fromPSBT(unsigned);
      for (const { account: node } of signers) {
        for (let i = 0; i < theirs.inputsLength; i++) {
          const input = theirs.getInput(i);
          const places = [...(input.bip32Derivation ?? []), ...(input.tapBip32Derivation ?? [])];
          for (const [, place] of places) {
            const path = 'der' in place ? place.der.path : place.path;
            const child = node.deriveChild(path.at(-2)!).deriveChild(path.at(-1)!);
            try {
              theirs.signIdx(child.privateKey!, i);
            } catch {} // not this holder's key
          }
        }
      }
      const final = codec.final(theirs.toPSBT(0));
      assert.equal(refusalOf(final, spent), null);
    });

    test('the library finishes what Kedge signed, to the same bytes', () => {
      const signed = signers.reduce((psbt, holder) => codec.attach(psbt, holder.sign(codec.digests(psbt))), unsigned);
      const theirs = Transaction.fromPSBT(signed);
      theirs.finalize();
      assert.deepEqual(theirs.extract(), codec.final(signed));
      // A PSBT that another wallet has finished is final for Kedge too.
      assert.deepEqual(codec.final(theirs.toPSBT(0)), codec.final(signed));
    });

    test('too few signatures are missing signatures', () => {
      const [first] = signers as [TreeHolder];
      const one = codec.attach(unsigned, first.sign(codec.digests(unsigned)).slice(0, 1));
      assertCode('signature_missing', () => codec.final(one));
    });
  });
}

test('a multisig asks every holder once, and takes any two', () => {
  const { unsigned } = example('p2wsh');
  assert.equal(codec.digests(unsigned).length, 6);
  const spent = spentOf(unsigned);
  for (const [a, b] of [
    [0, 1],
    [1, 2],
    [2, 0],
  ] as const) {
    const one = codec.attach(unsigned, holders[a]!.sign(codec.digests(unsigned)));
    assert.equal(codec.digests(one).length, 4);
    assertCode('transaction_invalid', () => codec.attach(one, holders[a]!.sign(codec.digests(unsigned))));
    const two = codec.attach(one, holders[b]!.sign(codec.digests(one)));
    assert.equal(refusalOf(codec.final(two), spent), null);
  }
});

test('copies that holders signed apart are combined, in any order, and copies of another transaction are not', () => {
  const { unsigned } = example('p2wsh');
  const copies = holders.slice(0, 2).map((holder) => codec.attach(unsigned, holder.sign(codec.digests(unsigned))));
  const final = codec.final(combinePsbts([unsigned, ...copies]));
  assert.deepEqual(codec.final(combinePsbts([...copies].reverse())), final);
  assert.equal(refusalOf(final, spentOf(unsigned)), null);
  assert.deepEqual(combinePsbts([unsigned]), unsigned);
  assertCode('transaction_invalid', () => combinePsbts([unsigned, example('p2tr').unsigned]));
});

describe('a PSBT that lies:', () => {
  const { account, unsigned } = example('p2wsh');
  const good = parsePsbt(unsigned);
  const other = coin(account, 99, 50_000n);
  const changed = (change: (psbt: Psbt) => Psbt) => formatPsbt(change(good));
  const inFirst = (fields: Partial<Psbt['inputs'][number]>) => (psbt: Psbt) => ({
    ...psbt,
    inputs: [{ ...psbt.inputs[0]!, ...fields }, ...psbt.inputs.slice(1)],
  });
  const utxo = good.inputs[0]!.witnessUtxo!;

  for (const [title, lie] of [
    ['about the amount of a coin', inFirst({ witnessUtxo: { ...utxo, amount: utxo.amount - 1_000n } })],
    ['about the script of a coin', inFirst({ witnessUtxo: { ...utxo, script: payee.script } })],
    ['by showing another transaction as the previous one', inFirst({ previous: other.previous })],
    ['by saying nothing about a coin', inFirst({ previous: null, witnessUtxo: null })],
    ['by showing another multisig script', inFirst({ witnessScript: other.output.witnessScript })],
    ['by showing no multisig script', inFirst({ witnessScript: null })],
    ['by asking for a signature over one output only', inFirst({ sighashType: SigHash.SINGLE })],
    ['by asking for a signature that lets inputs be added', inFirst({ sighashType: SigHash.ALL_ANYONECANPAY })],
    [
      'by paying out more than it spends',
      (psbt: Psbt) => ({
        ...psbt,
        tx: { ...psbt.tx, outputs: psbt.tx.outputs.map((output) => ({ ...output, amount: 90_000n })) },
      }),
    ],
  ] as const) {
    test(title, () => {
      const lying = changed(lie);
      assertCode('transaction_invalid', () => {
        codec.digests(lying);
        codec.decode(lying, account.text);
      });
    });
  }

  test('change that is the thief’s is shown as a payment, with a warning', () => {
    const thief = createDescriptor({ script: 'p2wpkh', threshold: 1, keys: [stranger.key] }, regtest).derive({
      change: 1,
      index: 2,
    });
    const own = account.derive({ change: 1, index: 2 });
    const stealing = assemblePsbt(
      account,
      [coin(account, 0, 60_000n)],
      // Marked as change of the vault, at a place that the vault has, and paid to the thief.
      [{ amount: 59_000n, script: thief.script, own }],
    );
    const intent = codec.decode(stealing, account.text);
    assert.deepEqual(
      intent.outputs.map(({ change }) => change),
      [false],
    );
    assert.deepEqual(intent.warnings, ['change_unproven']);
  });

  test('coins of another wallet among ours make the sender unknown', () => {
    const { unsigned: foreign } = example('p2wpkh');
    assert.equal(codec.decode(foreign, account.text).from, null);
  });

  test('without the previous transactions the amounts are marked as unproven, but not for Taproot', () => {
    const bare = changed((psbt) => ({ ...psbt, inputs: psbt.inputs.map((input) => ({ ...input, previous: null })) }));
    assert.deepEqual(codec.decode(bare, account.text).warnings, ['amount_unproven']);
    assert.deepEqual(codec.decode(example('p2tr').unsigned).warnings, []);
  });

  test('a fee that eats a quarter of the payment is marked', () => {
    const wasting = assemblePsbt(
      account,
      [coin(account, 0, 100_000n)],
      [{ amount: 70_000n, script: payee.script, own: null }],
    );
    assert.deepEqual(codec.decode(wasting, account.text).warnings, ['fee_high']);
  });

  test('thousands of claims of change take no more time than the few that are looked at', () => {
    const own = account.derive({ change: 1, index: 2 });
    const claims = Array.from({ length: 3_000 }, (_, i) => ({
      publicKey: new Uint8Array(33)
        .fill(2, 0, 1)
        .fill(i & 255, 1, 2)
        .fill(i >> 8, 2, 3),
      fingerprint: '00000000',
      path: [1, 5_000 + i],
    }));
    const flooded = changed((psbt) => ({
      ...psbt,
      outputs: psbt.outputs.map((output) => ({ ...output, derivations: claims })),
    }));
    const intent = codec.decode(flooded, account.text);
    assert.equal(
      intent.outputs.some(({ to, change }) => to === own.address && change),
      false,
    );
  });
});

test('a raw transaction is decoded without its fee, and says so', () => {
  const { account, signers, unsigned } = example('p2wpkh');
  const final = codec.final(codec.attach(unsigned, signers[0]!.sign(codec.digests(unsigned))));
  const intent = codec.decode(final, account.text);
  assert.equal(intent.feeMax, null);
  assert.deepEqual(intent.warnings, ['fee_unknown']);
  assert.equal(codec.transactionId(final), Transaction.fromRaw(final).id);
});

function spentOf(unsigned: Uint8Array) {
  return parsePsbt(unsigned).inputs.map(({ witnessUtxo }) => witnessUtxo!);
}
