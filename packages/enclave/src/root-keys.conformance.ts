/**
 * What every backend of root keys promises. Each backend's test runs all cases; `open` opens the same keys each time, so
 * that a case can close them and look again. Cases take key versions of their own and may run on one token in any order.
 * That the suite notices a backend that breaks a promise is tested too, with backends broken on purpose.
 */
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { type RootKeys, RootKeysError, type RootKeysErrorCode, type WrappingKey } from './root-keys.ts';

export type OpenRootKeys = () => Promise<RootKeys>;

export interface RootKeysCase {
  readonly title: string;
  run(open: OpenRootKeys): Promise<void>;
}

const SECRET = new TextEncoder().encode('a secret of thirty-two bytes ...');
const AAD = new TextEncoder().encode('table, row, purpose, version');

export const rootKeysCases: readonly RootKeysCase[] = [
  {
    title: 'what is wrapped opens again, whatever its length and its address',
    run: (open) =>
      withKeys(open, async (keys, key) => {
        await keys.createKey(key);
        for (const length of [0, 1, 16, 31, 32, 4_096, 4_097, 100_000]) {
          for (const aad of [new Uint8Array(), AAD, new Uint8Array(10_000).fill(7)]) {
            const secret = await keys.random(length);
            const wrapped = await keys.wrap(key, secret, aad);
            assert.equal(wrapped.length, 12 + length + 16);
            assertSame(await keys.unwrap(key, wrapped, aad), secret);
          }
        }
      }),
  },
  {
    title: 'no nonce comes twice',
    run: (open) =>
      withKeys(open, async (keys, key) => {
        await keys.createKey(key);
        const wrapped = await Promise.all(Array.from({ length: 600 }, () => keys.wrap(key, SECRET, AAD)));
        assert.equal(new Set(wrapped.map((bytes) => hex(bytes.subarray(0, 12)))).size, wrapped.length);
      }),
  },
  {
    title: 'a ciphertext moved to another address does not open',
    run: (open) =>
      withWrapped(open, async (keys, key, wrapped) => {
        const flipped = AAD.slice();
        flipped[0]! ^= 1;
        for (const aad of [flipped, AAD.subarray(1), new Uint8Array([...AAD, 0]), new Uint8Array()]) {
          await assertCode('refused', keys.unwrap(key, wrapped, aad));
        }
      }),
  },
  {
    title: 'a flipped byte anywhere is refused',
    run: (open) =>
      withWrapped(open, async (keys, key, wrapped) => {
        for (let at = 0; at < wrapped.length; at++) {
          const changed = wrapped.slice();
          changed[at]! ^= 1 << (at % 8);
          await assertCode('refused', keys.unwrap(key, changed, AAD));
        }
        assertSame(await keys.unwrap(key, wrapped, AAD), SECRET);
      }),
  },
  {
    title: 'truncated and extended bytes are refused',
    run: (open) =>
      withWrapped(open, async (keys, key, wrapped) => {
        for (let length = 0; length < wrapped.length; length++) {
          await assertCode('refused', keys.unwrap(key, wrapped.subarray(0, length), AAD));
        }
        await assertCode('refused', keys.unwrap(key, new Uint8Array([...wrapped, 0]), AAD));
      }),
  },
  {
    title: 'another version and another purpose of a key do not open it',
    run: (open) =>
      withWrapped(open, async (keys, key, wrapped) => {
        for (const other of [{ ...key, version: key.version + 1 }, { ...key, purpose: 'client_secret' } as const]) {
          await keys.createKey(other);
          await assertCode('refused', keys.unwrap(other, wrapped, AAD));
        }
      }),
  },
  {
    title: 'a key that was never created is missing, by name',
    run: (open) =>
      withKeys(open, async (keys, key) => {
        assert.equal(await keys.hasKey(key), false);
        await assertCode('no_key', keys.wrap(key, SECRET, AAD));
        await assertCode('no_key', keys.unwrap(key, new Uint8Array(60), AAD));
      }),
  },
  {
    title: 'a destroyed key is gone for good, and so is what it wrapped',
    run: (open) =>
      withWrapped(open, async (keys, key, wrapped) => {
        assert.equal(await keys.hasKey(key), true);
        await keys.destroyKey(key);
        await keys.destroyKey(key);
        assert.equal(await keys.hasKey(key), false);
        await assertCode('no_key', keys.wrap(key, SECRET, AAD));
        await assertCode('no_key', keys.unwrap(key, wrapped, AAD));
        await reopened(keys, open, async (again) => {
          assert.equal(await again.hasKey(key), false);
          await again.createKey(key);
          await assertCode('refused', again.unwrap(key, wrapped, AAD));
        });
      }),
  },
  {
    title: 'creating a key that exists changes nothing, also when two do it at once',
    run: (open) =>
      withKeys(open, async (keys, key) => {
        await Promise.all([keys.createKey(key), keys.createKey(key)]);
        const wrapped = await keys.wrap(key, SECRET, AAD);
        await keys.createKey(key);
        assertSame(await keys.unwrap(key, wrapped, AAD), SECRET);
      }),
  },
  {
    title: 'wrapping keys outlive a restart',
    run: (open) =>
      withWrapped(open, async (keys, key, wrapped) => {
        await reopened(keys, open, async (again) => {
          assert.equal(await again.hasKey(key), true);
          assertSame(await again.unwrap(key, wrapped, AAD), SECRET);
        });
      }),
  },
  {
    title: 'the key of the sealed state has one version, and no purpose has a version zero',
    run: (open) =>
      withKeys(open, async (keys) => {
        const state = { purpose: 'state', version: 1 } as const;
        await keys.createKey(state);
        assertSame(await keys.unwrap(state, await keys.wrap(state, SECRET, AAD), AAD), SECRET);
        for (const [purpose, version] of [
          ['state', 2],
          ['wallet', 0],
          ['wallet', -1],
          ['wallet', 1.5],
          ['wallet', 2 ** 32],
        ] as const) {
          await assert.rejects(async () => keys.createKey({ purpose, version }), RangeError);
        }
      }),
  },
  {
    title: 'a MAC is the same after a restart, and another for other data',
    run: (open) =>
      withKeys(open, async (keys) => {
        const inputs = [new Uint8Array(), new Uint8Array(1), SECRET, AAD, new Uint8Array(70_000)];
        const macs = await Promise.all(inputs.map((data) => keys.mac(data)));
        assert.deepEqual(
          macs.map((mac) => mac.length),
          inputs.map(() => 32),
        );
        assert.equal(new Set(macs.map(hex)).size, inputs.length);
        await reopened(keys, open, async (again) => {
          for (const [index, data] of inputs.entries()) assertSame(await again.mac(data), macs[index]!);
        });
      }),
  },
  {
    title: 'signatures verify with node:crypto under the identity, and have the low s',
    run: (open) =>
      withKeys(open, async (keys) => {
        const publicKey = p256PublicKey(await keys.identity());
        for (const message of [
          new Uint8Array(),
          SECRET,
          ...(await Promise.all(Array.from({ length: 30 }, (_, length) => keys.random(length)))),
        ]) {
          const signature = await keys.sign(message);
          assert.equal(signature.length, 64);
          assert.equal(verify('sha256', message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature), true);
          assert.ok(
            hex(signature.subarray(32)) <= '7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8',
            'high s',
          );
          assert.equal(verify('sha256', AAD, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature), false);
        }
      }),
  },
  {
    title: 'the identity outlives a restart',
    run: (open) =>
      withKeys(open, async (keys) => {
        const identity = await keys.identity();
        assert.deepEqual([identity.length, identity[0]], [65, 4]);
        const signature = await keys.sign(SECRET);
        await reopened(keys, open, async (again) => {
          assertSame(await again.identity(), identity);
          const publicKey = p256PublicKey(await again.identity());
          assert.equal(verify('sha256', SECRET, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature), true);
        });
      }),
  },
  {
    title: 'random bytes come in the length asked for, and never again',
    run: (open) =>
      withKeys(open, async (keys) => {
        for (const length of [0, 1, 12, 32, 33, 4_095, 4_096, 4_097, 65_537]) {
          const bytes = await keys.random(length);
          assert.equal(bytes.length, length);
          // 64 zero bytes in a row would be a gap that nobody filled.
          assert.doesNotMatch(hex(bytes), /(00){64}/);
        }
        const many = await Promise.all(Array.from({ length: 200 }, () => keys.random(16)));
        assert.equal(new Set(many.map(hex)).size, many.length);
      }),
  },
  {
    title: 'operations at once do not mix up their bytes',
    run: (open) =>
      withKeys(open, async (keys, key) => {
        const other = { ...key, version: key.version + 1 };
        await Promise.all([keys.createKey(key), keys.createKey(other)]);
        const mac = hex(await keys.mac(AAD));
        await Promise.all(
          Array.from({ length: 100 }, async (_, index) => {
            const secret = new Uint8Array(index * 7).fill(index);
            const under = index % 2 === 0 ? key : other;
            const aad = new Uint8Array([index]);
            assertSame(await keys.unwrap(under, await keys.wrap(under, secret, aad), aad), secret);
            assert.equal(hex(await keys.mac(AAD)), mac);
            await assertCode('refused', keys.unwrap(key, new Uint8Array(40 + index), aad));
          }),
        );
      }),
  },
  {
    title: 'arguments are left as they are, and results belong to the caller',
    run: (open) =>
      withKeys(open, async (keys, key) => {
        await keys.createKey(key);
        const [secret, aad] = [SECRET.slice(), AAD.slice()];
        const wrapped = await keys.wrap(key, secret, aad);
        const kept = wrapped.slice();
        const [opened, mac, identity] = [
          await keys.unwrap(key, wrapped, aad),
          await keys.mac(secret),
          await keys.identity(),
        ];
        await keys.sign(secret);
        assertSame(secret, SECRET);
        assertSame(aad, AAD);
        assertSame(wrapped, kept);
        for (const result of [wrapped, opened, mac, identity, await keys.sign(secret), await keys.random(1)]) {
          // `slice` of a Buffer is no copy: a trap for callers.
          assert.equal(Object.getPrototypeOf(result), Uint8Array.prototype);
        }
        for (const result of [opened, mac, identity]) result.fill(0);
        assertSame(await keys.unwrap(key, wrapped, aad), SECRET);
        assert.notEqual(hex(await keys.mac(secret)), hex(mac));
        assert.equal((await keys.identity())[0], 4);
      }),
  },
  {
    title: 'every operation is named once, with the place where it runs',
    run: (open) =>
      withKeys(open, async (keys) => {
        const capabilities = await keys.capabilities();
        assert.deepEqual(capabilities.map(({ operation }) => operation).sort(), ['mac', 'random', 'sign', 'wrap']);
        assert.deepEqual(
          capabilities.filter(({ where }) => where === 'missing'),
          [],
        );
      }),
  },
  {
    title: 'closed keys do nothing any more, and closing twice is no error',
    run: (open) =>
      withWrapped(open, async (keys, key, wrapped) => {
        await keys.close();
        await keys.close();
        await assertCode('unavailable', keys.wrap(key, SECRET, AAD));
        await assertCode('unavailable', keys.unwrap(key, wrapped, AAD));
        await assertCode('unavailable', keys.mac(AAD));
        await assertCode('unavailable', keys.sign(AAD));
        await assertCode('unavailable', keys.identity());
        await assertCode('unavailable', keys.random(1));
        await assertCode('unavailable', keys.hasKey(key));
        await assertCode('unavailable', keys.createKey(key));
        await assertCode('unavailable', keys.destroyKey(key));
      }),
  },
];

let lastVersion = 0;

/** Keys, and a wrapping key that no other case uses, not created yet. Two versions apart: a case may take the next one. */
async function withKeys(open: OpenRootKeys, work: (keys: RootKeys, key: WrappingKey) => Promise<void>): Promise<void> {
  lastVersion += 2;
  const keys = await open();
  try {
    await work(keys, { purpose: 'wallet', version: lastVersion });
  } finally {
    await keys.close();
  }
}

function withWrapped(
  open: OpenRootKeys,
  work: (keys: RootKeys, key: WrappingKey, wrapped: Uint8Array) => Promise<void>,
): Promise<void> {
  return withKeys(open, async (keys, key) => {
    await keys.createKey(key);
    await work(keys, key, await keys.wrap(key, SECRET, AAD));
  });
}

/** What a restart of the enclave does to its keys. */
async function reopened(keys: RootKeys, open: OpenRootKeys, work: (again: RootKeys) => Promise<void>): Promise<void> {
  await keys.close();
  const again = await open();
  try {
    await work(again);
  } finally {
    await again.close();
  }
}

/** By DER (RFC 5480), so that nothing of ours is between the bytes and node:crypto. */
function p256PublicKey(point: Uint8Array): ReturnType<typeof createPublicKey> {
  const header = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
  return createPublicKey({ key: Buffer.concat([header, point]), format: 'der', type: 'spki' });
}

function assertCode(code: RootKeysErrorCode, act: Promise<unknown>): Promise<void> {
  return assert.rejects(act, (error) => {
    assert.ok(error instanceof RootKeysError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(hex(actual), hex(expected));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
