/**
 * What every chain promises, each case run on its real engine by the chain's own test. A harness brings the engine and
 * holders; cases don't depend on each other and may share the engine. Nothing here knows which chain it is.
 */
import assert from 'node:assert/strict';
import {
  type Chain,
  ChainError,
  type Intent,
  isReorg,
  type KeySignature,
  type SigningDigest,
  type TransactionState,
  type Transfer,
} from './chain.ts';
import { createSpends, memoryReservations, type Reservations, type Sign } from './spends.ts';
import { assertCode, assertCodeLater } from './testing/refusals.ts';

/** A holder of one key, standing in for a device or an enclave. */
export interface TestHolder {
  /** As {@link Chain.account} takes it. */
  readonly publicKey: Uint8Array;
  /** All the signatures that this holder can give. */
  sign(digests: readonly SigningDigest[]): readonly KeySignature[];
}

export interface ChainHarness {
  readonly chain: Chain;
  /** Enough for a transfer and its fee at any level. */
  readonly amount: bigint;
  /** False where addresses hold no checksum (Solana): a lost character may give somebody else's. */
  readonly checksum?: boolean;
  newHolder(): TestHolder;
  /** The funds are confirmed when it resolves. */
  fund(address: string, amount: bigint): Promise<void>;
  mine(blocks: number): Promise<void>;
  /** Replaces the newest blocks by empty ones; what they held is in no block afterwards. Null: the engine is final at once. */
  readonly reorg: ((depth: number) => Promise<void>) | null;
  /** Runs `work` while no block takes a transaction. Null: the engine has no pool. */
  readonly withoutBlocks: ((work: () => Promise<void>) => Promise<void>) | null;
}

export interface ChainCase {
  readonly title: string;
  run(harness: ChainHarness): Promise<void>;
}

export const chainCases: readonly ChainCase[] = [
  {
    title: 'an address is the canonical spelling of itself, and differs from holder to holder',
    async run({ chain, checksum = true, newHolder }) {
      const [one, other] = [addressOf(chain, newHolder()), addressOf(chain, newHolder())];
      assert.equal(chain.parseAddress(one), one);
      assert.notEqual(one, other);
      for (const text of ['', one.slice(0, checksum ? -1 : -4), `${one}0`, ` ${one}`, 'not an address']) {
        assertCode('address_invalid', () => chain.parseAddress(text));
      }
    },
  },
  {
    title: 'a transfer arrives, costs no more than its intent says, and gains confirmations',
    async run(harness) {
      const { chain, amount, mine } = harness;
      const { from, to, final, intent } = await signedTransfer(harness);
      const id = chain.transactionId(final);
      assert.deepEqual(await chain.track(id, final), { status: 'unknown' });
      const before = (await chain.balance(from)).confirmed;
      assert.equal(await chain.broadcast(final), id);
      await mine(1);
      const first = confirmationsOf(await chain.track(id, final));
      assert.ok(first >= 1, `${first} confirmations`);
      assert.equal((await chain.balance(to.account)).confirmed, amount);
      const spent = before - (await chain.balance(from)).confirmed;
      assert.ok(spent > amount && spent <= amount + (intent.feeMax ?? 0n), `${spent} spent`);
      await mine(5);
      assert.equal(confirmationsOf(await chain.track(id)), first + 5);
    },
  },
  {
    title: 'everything that a wallet holds arrives, less the fee, and nothing stays that could be sent',
    async run(harness) {
      const { chain, amount, newHolder, fund, mine } = harness;
      const holder = newHolder();
      const to = accountOf(chain, newHolder());
      const from = accountOf(chain, holder);
      await fund(from.address, amount);
      const unsigned = await chain.build({ from: from.account, to: to.address, amount: 'all' });
      const intent = chain.decode(unsigned, from.account);
      await chain.broadcast(signWith(chain, unsigned, holder));
      await mine(1);
      const arrived = (await chain.balance(to.account)).confirmed;
      assert.ok(arrived < amount && arrived >= amount - (intent.feeMax ?? 0n), `${arrived} arrived`);
      await assertCodeLater('insufficient_funds', chain.build({ from: from.account, to: to.address, amount: 'all' }));
    },
  },
  {
    title: 'the intent is what was asked for, and signing adds the sender and changes nothing else',
    async run(harness) {
      const { chain, amount } = harness;
      const { from, to, unsigned, final } = await signedTransfer(harness);
      const intent = chain.decode(unsigned, from);
      assert.equal(intent.network, chain.network);
      assert.deepEqual(intent.allowances, []);
      assert.deepEqual(
        intent.outputs.filter((output) => !output.change).map((output) => [output.to, output.amount]),
        [[to.address, amount]],
      );
      assert.match(chain.planId(unsigned), /^[0-9a-f]{64}$/);
      assert.equal(chain.planId(unsigned.slice()), chain.planId(unsigned));
      const signed = chain.decode(final, from);
      assert.deepEqual(
        signed.outputs.map((output) => [output.to, output.amount, output.asset]),
        intent.outputs.map((output) => [output.to, output.amount, output.asset]),
      );
      assert.deepEqual(chain.resources(final), chain.resources(unsigned));
    },
  },
  {
    title: 'a higher fee level never offers less, and the estimate is what is built',
    async run({ chain, amount, newHolder, fund }) {
      const from = accountOf(chain, newHolder());
      const transfer = { from: from.account, to: addressOf(chain, newHolder()), amount };
      await fund(from.address, amount * 2n);
      const estimate = await chain.estimateFee(transfer);
      const fees: bigint[] = [];
      for (const feeLevel of ['slow', 'recommended', 'fast'] as const) {
        fees.push(chain.decode(await chain.build({ ...transfer, feeLevel }), from.account).feeMax ?? -1n);
      }
      assert.deepEqual([estimate.slow, estimate.recommended, estimate.fast], fees);
      assert.ok(fees[0]! > 0n && fees[0]! <= fees[1]! && fees[1]! <= fees[2]!, `${fees}`);
    },
  },
  {
    title: 'a fee above what the caller allows is not built',
    async run({ chain, amount, newHolder, fund }) {
      const from = accountOf(chain, newHolder());
      const transfer = { from: from.account, to: addressOf(chain, newHolder()), amount };
      await fund(from.address, amount * 2n);
      const { recommended } = await chain.estimateFee(transfer);
      await assertCodeLater('fee_too_high', chain.build({ ...transfer, feeMax: recommended - 1n }));
      await chain.build({ ...transfer, feeMax: recommended });
    },
  },
  {
    title: 'broadcasting the same bytes again is no error, in the pool and in a block',
    async run(harness) {
      const { chain, mine } = harness;
      const { final } = await signedTransfer(harness);
      const [one, two] = await Promise.all([chain.broadcast(final), chain.broadcast(final)]);
      assert.equal(one, two);
      await mine(3);
      assert.equal(await chain.broadcast(final), one);
    },
  },
  {
    title: 'a wallet without funds builds nothing',
    async run({ chain, amount, newHolder, fund }) {
      const from = accountOf(chain, newHolder());
      const transfer = { from: from.account, to: addressOf(chain, newHolder()), amount };
      await assertCodeLater('insufficient_funds', chain.build(transfer));
      // The amount is there, the fee is not.
      await fund(from.address, amount);
      await assertCodeLater('insufficient_funds', chain.build(transfer));
    },
  },
  {
    title: "only the wallet's own signature over this very transaction is attached",
    async run(harness) {
      const { chain, newHolder } = harness;
      const one = await signedTransfer(harness);
      const other = await signedTransfer(harness);
      const good = one.holder.sign(chain.digests(one.unsigned));
      const foreign = other.holder.sign(chain.digests(other.unsigned));
      const stranger = newHolder();
      const changed = (change: (signature: KeySignature) => KeySignature) => [change(good[0]!), ...good.slice(1)];
      const forged: (readonly KeySignature[])[] = [
        changed((of) => ({ ...of, signature: foreign[0]!.signature })),
        changed((of) => ({ ...of, publicKey: stranger.publicKey })),
        changed((of) => ({ ...of, signature: new Uint8Array(64) })),
        changed((of) => ({ ...of, signature: of.signature.slice(1) })),
        changed((of) => ({ ...of, input: 7 })),
        [...good, good[0]!],
        foreign,
      ];
      for (const signatures of forged) {
        assertCode('transaction_invalid', () => chain.attach(one.unsigned, signatures));
      }
      assertCode('transaction_invalid', () => chain.attach(one.final, good));
      assert.deepEqual(chain.final(chain.attach(one.unsigned, good)), one.final);
    },
  },
  {
    title: 'signed and unsigned bytes are not taken for one another',
    async run(harness) {
      const { chain } = harness;
      const { unsigned, final } = await signedTransfer(harness);
      assertCode('transaction_invalid', () => chain.transactionId(unsigned));
      assertCode('transaction_invalid', () => chain.digests(final));
      assertCode('signature_missing', () => chain.final(unsigned));
      await assertCodeLater('transaction_invalid', chain.broadcast(unsigned));
    },
  },
  {
    title: 'no flipped byte of unsigned bytes changes what is shown and leaves what is signed',
    async run(harness) {
      const { chain } = harness;
      const { unsigned, from } = await signedTransfer(harness);
      const asked = seen(chain, unsigned, from);
      for (let at = 0; at < unsigned.length; at++) {
        const changed = unsigned.slice();
        changed[at]! ^= 1 << (at % 8);
        const now = seenOrNull(chain, changed, from);
        assert.ok(now === null || now.digests !== asked.digests || now.shown === asked.shown, `byte ${at}`);
      }
    },
  },
  {
    title: 'truncated, extended and empty bytes are refused by name',
    async run(harness) {
      const { chain } = harness;
      const { unsigned, final } = await signedTransfer(harness);
      for (const raw of [unsigned, final]) {
        for (let length = 0; length < raw.length; length++) {
          assert.equal(decodeOrNull(chain, raw.subarray(0, length)), null, `${length} bytes`);
        }
        assertCode('transaction_invalid', () => chain.decode(new Uint8Array([...raw, 0])));
      }
    },
  },
  {
    title: 'ten spends planned at once share nothing, and all confirm',
    async run(harness) {
      const { chain, amount, fund, mine, newHolder } = harness;
      const holder = newHolder();
      const { account: from, address } = accountOf(chain, holder);
      for (let i = 0; i < 10; i++) await fund(address, amount);
      const spends = createSpends({ chain, reservations: memoryReservations(never), nowMs: never, holdMs: null });
      const to = accountOf(chain, newHolder());
      const transfer: Transfer = { from, to: to.address, amount: amount / 10n };
      const ids = Array.from({ length: 10 }, (_, i) => `spend ${i}`);
      const sent = await Promise.all(ids.map((id) => spends.send(id, transfer, signerOf(holder))));
      assert.equal(new Set(sent).size, 10);
      await mine(1);
      assert.equal((await chain.balance(to.account)).confirmed, (amount / 10n) * 10n);
    },
  },
  {
    title: 'a crash between build, signature, broadcast and record makes exactly one spend',
    async run(harness) {
      const { chain, amount, fund, mine, newHolder } = harness;
      for (const point of ['after build', 'before sign is noted', 'after sign is noted', 'after broadcast'] as const) {
        const holder = newHolder();
        const { account: from, address } = accountOf(chain, holder);
        await fund(address, amount);
        await fund(address, amount);
        const to = accountOf(chain, newHolder());
        const transfer: Transfer = { from, to: to.address, amount: amount / 2n };
        const durable = memoryReservations(never);
        // A process that dies at the point, and the one that comes after it, with nothing but the reservations.
        const dying = createSpends({
          chain: point === 'after broadcast' ? dyingAfterBroadcast(chain) : chain,
          reservations: dyingAt(point, durable),
          nowMs: never,
          holdMs: null,
        });
        await assert.rejects(dying.send('one', transfer, signerOf(holder)), Crash, point);
        const next = createSpends({ chain, reservations: durable, nowMs: never, holdMs: null });
        const id = await next.send('one', transfer, signerOf(holder));
        assert.equal(await next.send('one', transfer, signerOf(holder)), id, point);
        await mine(1);
        assert.equal((await chain.balance(to.account)).confirmed, amount / 2n, point);
      }
    },
  },
  {
    title: 'a faster transaction takes the place of a waiting one, and the waiting one is told as replaced',
    async run(harness) {
      const { chain, amount, mine, withoutBlocks } = harness;
      const { from, to, holder, final, intent } = await signedTransfer(harness);
      if (withoutBlocks === null) {
        await chain.broadcast(final);
        await mine(1);
        await assertCodeLater('not_replaceable', chain.replace(final, { from, kind: 'speed_up' }));
        return;
      }
      let faster: Uint8Array = new Uint8Array();
      await withoutBlocks(async () => {
        await chain.broadcast(final);
        assert.deepEqual(await chain.track(chain.transactionId(final), final), { status: 'broadcasting' });
        const unsigned = await chain.replace(final, { from, kind: 'speed_up' });
        const shown = chain.decode(unsigned, from);
        assert.ok((shown.feeMax ?? 0n) > (intent.feeMax ?? 0n));
        assert.deepEqual(
          shown.outputs.filter((output) => !output.change).map((output) => [output.to, output.amount]),
          [[to.address, amount]],
        );
        faster = signWith(chain, unsigned, holder);
        await chain.broadcast(faster);
      });
      await mine(1);
      assert.equal((await chain.track(chain.transactionId(faster), faster)).status, 'confirming');
      // A chain may want to see it deep before it says so.
      await mine(12);
      assert.equal((await chain.track(chain.transactionId(final), final)).status, 'replaced');
      assert.equal((await chain.balance(to.account)).confirmed, amount);
      await assertCodeLater('not_replaceable', chain.replace(faster, { from, kind: 'cancel' }));
    },
  },
  {
    title: 'a cancelled transfer moves nothing but its fee',
    async run(harness) {
      const { chain, amount, mine, withoutBlocks } = harness;
      if (withoutBlocks === null) return;
      const { from, to, holder, final } = await signedTransfer(harness);
      await withoutBlocks(async () => {
        await chain.broadcast(final);
        const unsigned = await chain.replace(final, { from, kind: 'cancel' });
        await chain.broadcast(signWith(chain, unsigned, holder));
      });
      await mine(1);
      assert.equal((await chain.balance(to.account)).confirmed, 0n);
      assert.ok((await chain.balance(from)).confirmed > amount);
    },
  },
  {
    title: 'a transaction whose block is replaced goes back to unconfirmed, and confirms again',
    async run(harness) {
      const { chain, mine, reorg } = harness;
      if (reorg === null) return;
      const { final } = await signedTransfer(harness);
      const id = await chain.broadcast(final);
      await mine(1);
      await mine(5);
      const before = await chain.track(id, final);
      assert.ok(confirmationsOf(before) >= 6);
      await reorg(confirmationsOf(before));
      const after = await chain.track(id, final);
      assert.ok(after.status === 'broadcasting' || after.status === 'unknown', after.status);
      assert.ok(isReorg(before, after));
      assert.equal(await chain.broadcast(final), id);
      await mine(1);
      const again = await chain.track(id, final);
      assert.equal(confirmationsOf(again), 1);
      assert.ok(isReorg(before, again));
      assert.ok(!isReorg(again, await chain.track(id, final)));
    },
  },
];

interface Account {
  readonly account: string;
  readonly address: string;
}

interface SignedTransfer {
  readonly holder: TestHolder;
  readonly from: string;
  readonly to: Account;
  readonly unsigned: Uint8Array;
  readonly final: Uint8Array;
  readonly intent: Intent;
}

/** A funded wallet's transfer to a new one, signed and not yet broadcast. */
async function signedTransfer({ chain, amount, newHolder, fund }: ChainHarness): Promise<SignedTransfer> {
  const holder = newHolder();
  const { account: from, address } = accountOf(chain, holder);
  const to = accountOf(chain, newHolder());
  await fund(address, amount * 2n);
  const unsigned = await chain.build({ from, to: to.address, amount });
  const final = signWith(chain, unsigned, holder);
  return { holder, from, to, unsigned, final, intent: chain.decode(unsigned, from) };
}

function signWith(chain: Chain, unsigned: Uint8Array, holder: TestHolder): Uint8Array {
  return chain.final(chain.attach(unsigned, holder.sign(chain.digests(unsigned))));
}

function signerOf(holder: TestHolder): Sign {
  return async (digests) => holder.sign(digests);
}

function accountOf(chain: Chain, { publicKey }: TestHolder): Account {
  const account = chain.account(publicKey);
  return { account, address: chain.address(account) };
}

function addressOf(chain: Chain, holder: TestHolder): string {
  return accountOf(chain, holder).address;
}

function confirmationsOf(state: TransactionState): number {
  assert.equal(state.status, 'confirming');
  return state.status === 'confirming' ? state.confirmations : 0;
}

class Crash extends Error {}

/** Reservations of a process that dies at a point: what was durable before it stays, nothing after it happens. */
function dyingAt(point: string, durable: Reservations): Reservations {
  return {
    ...durable,
    async reserve(reservation) {
      await durable.reserve(reservation);
      if (point === 'after build') throw new Crash();
      return durable.find(reservation.network, reservation.id);
    },
    async sign(network, id, signed) {
      if (point === 'before sign is noted') throw new Crash();
      const stands = await durable.sign(network, id, signed);
      if (point === 'after sign is noted') throw new Crash();
      return stands;
    },
  };
}

function dyingAfterBroadcast(chain: Chain): Chain {
  return {
    ...chain,
    async broadcast(final) {
      await chain.broadcast(final);
      throw new Crash();
    },
  };
}

function never(): number {
  return 0;
}

/** What a person sees and what a holder signs, as text. */
function seen(chain: Chain, unsigned: Uint8Array, from: string): { shown: string; digests: string } {
  const asText = (value: unknown) =>
    JSON.stringify(value, (_, inner) =>
      typeof inner === 'bigint'
        ? String(inner)
        : inner instanceof Uint8Array
          ? Buffer.from(inner).toString('hex')
          : inner,
    );
  const { outputs, allowances, feeMax } = chain.decode(unsigned, from);
  const moved = outputs.map(({ to, amount, asset }) => [to, amount, asset]);
  return {
    shown: asText([moved, allowances, feeMax, chain.resources(unsigned)]),
    digests: asText(chain.digests(unsigned).map(({ input, digest }) => [input, digest])),
  };
}

function seenOrNull(chain: Chain, raw: Uint8Array, from: string): { shown: string; digests: string } | null {
  return orNull(() => seen(chain, raw, from));
}

/** Null for bytes refused with a `ChainError`; any other error is a bug. */
function decodeOrNull(chain: Chain, raw: Uint8Array): Intent | null {
  return orNull(() => chain.decode(raw));
}

function orNull<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    assert.ok(error instanceof ChainError, String(error));
    return null;
  }
}
