/**
 * What every chain promises, each case run on its real engine by the chain's own test. A harness brings the engine and
 * holders; cases don't depend on each other and may share the engine. Nothing here knows which chain it is.
 */
import assert from 'node:assert/strict';
import { type Chain, ChainError, type ChainErrorCode, type DigestSignature, type Intent } from './chain.ts';

/** A holder of one key, standing in for a device or an enclave. */
export interface TestHolder {
  readonly publicKey: Uint8Array;
  sign(digest: Uint8Array): DigestSignature;
}

export interface ChainHarness {
  readonly chain: Chain;
  /** Enough for a transfer and its fee at any level. */
  readonly amount: bigint;
  newHolder(): TestHolder;
  fund(address: string, amount: bigint): Promise<void>;
  mine(blocks: number): Promise<void>;
}

export interface ChainCase {
  readonly title: string;
  run(harness: ChainHarness): Promise<void>;
}

export const chainCases: readonly ChainCase[] = [
  {
    title: 'an address is the canonical spelling of itself, and differs from holder to holder',
    async run({ chain, newHolder }) {
      const [one, other] = [chain.address(newHolder().publicKey), chain.address(newHolder().publicKey)];
      assert.equal(chain.parseAddress(one), one);
      assert.notEqual(one, other);
      for (const text of ['', one.slice(0, -1), `${one}0`, ` ${one}`, 'not an address']) {
        assertCode('address_invalid', () => chain.parseAddress(text));
      }
    },
  },
  {
    title: 'a transfer arrives, costs no more than its intent says, and gains confirmations',
    async run(harness) {
      const { chain, amount, mine } = harness;
      const { from, to, signed, intent } = await signedTransfer(harness);
      assert.deepEqual(await chain.track(chain.transactionId(signed)), { status: 'unknown' });
      const before = await chain.balance(from);
      const transactionId = await chain.broadcast(signed);
      assert.equal(transactionId, chain.transactionId(signed));
      await mine(1);
      const first = await confirmations(chain, transactionId);
      assert.ok(first >= 1, `${first} confirmations`);
      assert.equal(await chain.balance(to), amount);
      const spent = before - (await chain.balance(from));
      assert.ok(spent > amount && spent <= amount + intent.feeMax, `${spent} spent`);
      await mine(5);
      assert.equal(await confirmations(chain, transactionId), first + 5);
    },
  },
  {
    title: 'the intent is what was asked for, and signing adds the sender and changes nothing else',
    async run(harness) {
      const { chain, amount } = harness;
      const { from, to, unsigned, signed } = await signedTransfer(harness);
      const intent = chain.decode(unsigned);
      assert.equal(intent.network, chain.network);
      assert.equal(intent.from, null);
      assert.deepEqual(intent.warnings, []);
      assert.deepEqual(
        intent.outputs.map((output) => [output.to, output.amount]),
        [[to, amount]],
      );
      assert.deepEqual(chain.decode(signed), { ...intent, from });
    },
  },
  {
    title: 'a higher fee level never offers less',
    async run({ chain, amount, newHolder, fund }) {
      const from = chain.address(newHolder().publicKey);
      const to = chain.address(newHolder().publicKey);
      await fund(from, amount * 2n);
      const fees: bigint[] = [];
      for (const feeLevel of ['slow', 'recommended', 'fast'] as const) {
        fees.push(chain.decode(await chain.build({ from, to, amount, feeLevel })).feeMax);
      }
      assert.ok(fees[0]! > 0n && fees[0]! <= fees[1]! && fees[1]! <= fees[2]!, `${fees}`);
    },
  },
  {
    title: 'broadcasting the same bytes again is no error, in the pool and in a block',
    async run(harness) {
      const { chain, mine } = harness;
      const { signed } = await signedTransfer(harness);
      const [one, two] = await Promise.all([chain.broadcast(signed), chain.broadcast(signed)]);
      assert.equal(one, two);
      await mine(3);
      assert.equal(await chain.broadcast(signed), one);
    },
  },
  {
    title: 'a wallet without funds builds nothing',
    async run({ chain, amount, newHolder, fund }) {
      const from = chain.address(newHolder().publicKey);
      const to = chain.address(newHolder().publicKey);
      await assertCodeLater('insufficient_funds', chain.build({ from, to, amount }));
      // The amount is there, the fee is not.
      await fund(from, amount);
      await assertCodeLater('insufficient_funds', chain.build({ from, to, amount }));
    },
  },
  {
    title: "only the wallet's own signature over this very transaction is attached",
    async run(harness) {
      const { chain, newHolder } = harness;
      const one = await signedTransfer(harness);
      const other = await signedTransfer(harness);
      const { publicKey } = one.holder;
      const stranger = newHolder();
      const digest = chain.digests(one.unsigned)[0]!.digest;
      const good = one.holder.sign(digest);
      const flipped = { ...good, recovery: (1 - good.recovery) as 0 | 1 };
      const moved = one.holder.sign(chain.digests(other.unsigned)[0]!.digest);
      const zero = { signature: new Uint8Array(64), recovery: 0 } as const;
      const short = { ...good, signature: good.signature.slice(1) };
      for (const signatures of [[], [good, good], [stranger.sign(digest)], [flipped], [moved], [zero], [short]]) {
        assertCode('transaction_invalid', () => chain.attach(one.unsigned, signatures, publicKey));
      }
      assertCode('transaction_invalid', () => chain.attach(one.unsigned, [good], stranger.publicKey));
      assertCode('transaction_invalid', () => chain.attach(one.signed, [good], publicKey));
      assert.deepEqual(chain.attach(one.unsigned, [good], publicKey), one.signed);
    },
  },
  {
    title: 'signed and unsigned bytes are not taken for one another',
    async run(harness) {
      const { chain } = harness;
      const { unsigned, signed } = await signedTransfer(harness);
      assertCode('transaction_invalid', () => chain.transactionId(unsigned));
      assertCode('transaction_invalid', () => chain.digests(signed));
      await assertCodeLater('transaction_invalid', chain.broadcast(unsigned));
    },
  },
  {
    title: 'no flipped byte of a signed transaction passes as its sender’s intent',
    async run(harness) {
      const { chain } = harness;
      const { signed, from } = await signedTransfer(harness);
      for (let at = 0; at < signed.length; at++) {
        const changed = signed.slice();
        changed[at]! ^= 1 << (at % 8);
        const intent = decodeOrNull(chain, changed);
        assert.ok(intent === null || intent.from !== from, `byte ${at}`);
      }
    },
  },
  {
    title: 'truncated, extended and empty bytes are refused by name',
    async run(harness) {
      const { chain } = harness;
      const { unsigned, signed } = await signedTransfer(harness);
      for (const raw of [unsigned, signed]) {
        for (let length = 0; length < raw.length; length++) {
          assert.equal(decodeOrNull(chain, raw.subarray(0, length)), null, `${length} bytes`);
        }
        assertCode('transaction_invalid', () => chain.decode(new Uint8Array([...raw, 0])));
      }
    },
  },
];

interface SignedTransfer {
  readonly holder: TestHolder;
  readonly from: string;
  readonly to: string;
  readonly unsigned: Uint8Array;
  readonly signed: Uint8Array;
  readonly intent: Intent;
}

/** A funded wallet's transfer to a new one, signed and not yet broadcast. */
async function signedTransfer({ chain, amount, newHolder, fund }: ChainHarness): Promise<SignedTransfer> {
  const holder = newHolder();
  const from = chain.address(holder.publicKey);
  const to = chain.address(newHolder().publicKey);
  await fund(from, amount * 2n);
  const unsigned = await chain.build({ from, to, amount });
  const signatures = chain.digests(unsigned).map(({ digest }) => holder.sign(digest));
  const signed = chain.attach(unsigned, signatures, holder.publicKey);
  return { holder, from, to, unsigned, signed, intent: chain.decode(unsigned) };
}

async function confirmations(chain: Chain, transactionId: string): Promise<number> {
  const state = await chain.track(transactionId);
  assert.equal(state.status, 'confirming');
  return state.status === 'confirming' ? state.confirmations : 0;
}

/** Null for bytes refused with a `ChainError`; any other error is a bug. */
function decodeOrNull(chain: Chain, raw: Uint8Array): Intent | null {
  try {
    return chain.decode(raw);
  } catch (error) {
    assert.ok(error instanceof ChainError, String(error));
    return null;
  }
}

function assertCode(code: ChainErrorCode, act: () => unknown): void {
  assert.throws(act, (error) => error instanceof ChainError && error.code === code);
}

function assertCodeLater(code: ChainErrorCode, act: Promise<unknown>): Promise<void> {
  return assert.rejects(act, (error) => error instanceof ChainError && error.code === code);
}
