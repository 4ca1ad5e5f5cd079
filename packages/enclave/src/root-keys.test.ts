/** Root keys in a file and in a token: the conformance suite on both, and what is peculiar to each. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, copyFile, link, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { openPkcs11, type Pkcs11Options } from './pkcs11.ts';
import { CKA, CKO, CKR, CKU_USER, loadModule, Memory, type Pkcs11Module, template, WORD } from './pkcs11-binding.ts';
import { type OpenRootKeys, rootKeysCases } from './root-keys.conformance.ts';
import { type RootKeys, RootKeysError, type RootKeysErrorCode } from './root-keys.ts';
import { openSoftware, SoftwareRootKeys } from './software.ts';
import { createSoftHsmToken, findSoftHsm, type SoftHsmToken } from './testing/softhsm.ts';

const KEY = { purpose: 'wallet', version: 1 } as const;
const SECRET = new TextEncoder().encode('a secret');
const AAD = new TextEncoder().encode('its address');

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kedge-root-keys-'));
});
after(() => rm(folder, { recursive: true, force: true }));

describe('in software', () => {
  const conformance: OpenRootKeys = () => openSoftware({ file: join(folder, 'conformance'), create: true });
  for (const { title, run } of rootKeysCases) test(title, () => run(conformance));

  let files = 0;
  const newFile = (): string => join(folder, `file-${++files}`);

  test('a missing file is created only when asked for', async () => {
    const file = newFile();
    await assertCode('no_key', openSoftware({ file }));
    assert.equal(existsSync(file), false);
    await (await openSoftware({ file, create: true })).close();
    await (await openSoftware({ file })).close();
  });

  test('the file is for its owner alone, and no other file stays behind', async () => {
    const file = join(await mkdtemp(join(folder, 'alone-')), 'keys');
    const keys = await openSoftware({ file, create: true });
    await keys.createKey(KEY);
    await keys.destroyKey(KEY);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(join(file, '..')), ['keys']);
  });

  test('a file that others can read is refused, with the command that helps', async () => {
    const file = newFile();
    await (await openSoftware({ file, create: true })).close();
    for (const mode of [0o640, 0o604, 0o620, 0o601]) {
      await chmod(file, mode);
      const error = await assertCode('refused', openSoftware({ file }));
      assert.ok(error.message.includes(`chmod 600 ${file}`), error.message);
    }
    await chmod(file, 0o600);
    await (await openSoftware({ file })).close();
  });

  test('a damaged file is refused, whichever byte it is', async () => {
    const file = newFile();
    const keys = await openSoftware({ file, create: true });
    await keys.createKey(KEY);
    const good = await readFile(file);
    for (let at = 0; at < good.length; at += 3) {
      const bad = Buffer.from(good);
      bad[at]! ^= 0x10;
      await writeFile(file, bad);
      await assertCode('damaged', openSoftware({ file }));
    }
    for (const bad of [Buffer.alloc(0), good.subarray(0, -1), Buffer.concat([good, Buffer.alloc(1)])]) {
      await writeFile(file, bad);
      await assertCode('damaged', openSoftware({ file, create: true }));
    }
  });

  test('the bytes of a destroyed key are overwritten on the disk', async () => {
    const file = newFile();
    const keys = await openSoftware({ file, create: true });
    await keys.createKey(KEY);
    // A second name of the same blocks: what someone finds there later.
    await link(file, `${file}.watched`);
    const before = await readFile(`${file}.watched`);
    assert.notDeepEqual(before, Buffer.alloc(before.length));
    await keys.destroyKey(KEY);
    assert.deepEqual(await readFile(`${file}.watched`), Buffer.alloc(before.length));
  });

  test('what a crash left of a change is overwritten at the next start, and the keys are whole', async () => {
    const file = newFile();
    const keys = await openSoftware({ file, create: true });
    await keys.createKey(KEY);
    const wrapped = await keys.wrap(KEY, SECRET, AAD);
    await keys.close();
    // Before the rename, with a half-written successor; and after it, with the superseded file still there.
    const crashes = [
      async () => {
        await writeFile(`${file}.new`, (await readFile(file)).subarray(0, 50), { mode: 0o600 });
        await link(file, `${file}.old`);
      },
      () => copyFile(file, `${file}.old`),
    ];
    for (const crash of crashes) {
      await crash();
      const again = await openSoftware({ file });
      assert.deepEqual(Buffer.from(await again.unwrap(KEY, wrapped, AAD)), Buffer.from(SECRET));
      assert.equal(existsSync(`${file}.new`) || existsSync(`${file}.old`), false);
      await again.close();
    }
  });

  test('a change that the disk refuses changes nothing, and can be repeated', async () => {
    const home = await mkdtemp(join(folder, 'full-'));
    const file = join(home, 'keys');
    const keys = await openSoftware({ file, create: true });
    const root = keys.exportRoot();
    await rm(home, { recursive: true });
    await assertCode('unavailable', keys.createKey(KEY));
    assert.equal(await keys.hasKey(KEY), false);
    await mkdir(home);
    await SoftwareRootKeys.importRoot(file, root);
    await keys.createKey(KEY);
    assert.equal(await keys.hasKey(KEY), true);
  });

  test('an exported root opens elsewhere with the same keys', async () => {
    const keys = await openSoftware({ file: newFile(), create: true });
    await keys.createKey(KEY);
    const wrapped = await keys.wrap(KEY, SECRET, AAD);
    const file = newFile();
    await SoftwareRootKeys.importRoot(file, keys.exportRoot());
    const moved = await openSoftware({ file });
    assert.deepEqual(await moved.identity(), await keys.identity());
    assert.deepEqual(await moved.mac(AAD), await keys.mac(AAD));
    assert.deepEqual(Buffer.from(await moved.unwrap(KEY, wrapped, AAD)), Buffer.from(SECRET));
  });

  test('an import replaces no keys, and takes nothing but an export', async () => {
    const file = newFile();
    const keys = await openSoftware({ file, create: true });
    const before = await readFile(file);
    await assertCode('refused', SoftwareRootKeys.importRoot(file, keys.exportRoot()));
    assert.deepEqual(await readFile(file), before);
    await assertCode('damaged', SoftwareRootKeys.importRoot(newFile(), SECRET));
    await keys.close();
    assert.throws(() => keys.exportRoot(), RootKeysError);
  });

  test('its keys come from the generator it is given', async () => {
    const counting = (length: number): Uint8Array => new Uint8Array(length).fill(length);
    const [one, other] = [
      await openSoftware({ file: newFile(), create: true, random: counting }),
      await openSoftware({ file: newFile(), create: true, random: counting }),
    ];
    assert.deepEqual(await one.identity(), await other.identity());
    assert.deepEqual([...(await one.random(3))], [3, 3, 3]);
  });

  test('nothing secret is printed', async () => {
    const keys = await openSoftware({ file: newFile(), create: true });
    assert.doesNotMatch(
      inspect(keys, { depth: 9, showHidden: true }) + JSON.stringify(keys),
      /keyring|[0-9a-f]{32}|\d+, \d+/i,
    );
  });
});

describe('in a token', { skip: findSoftHsm() === null && 'SoftHSM is not installed' }, () => {
  let token: SoftHsmToken;
  let damaged: SoftHsmToken;
  let module: Pkcs11Module;
  let slot: number;
  const opening = (options: Partial<Pkcs11Options> = {}): Promise<RootKeys> =>
    openPkcs11({ ...token, create: true, ...options });

  before(async () => {
    const home = await mkdtemp(join(folder, 'softhsm-'));
    // SoftHSM reads its folder when it is initialised: both tokens have to be there before.
    damaged = createSoftHsmToken(home, { tokenLabel: 'kedge damaged' });
    token = createSoftHsmToken(home);
    process.env.SOFTHSM2_CONF = token.env.SOFTHSM2_CONF;
    module = loadModule(token.module);
    await assertCode('no_key', openPkcs11(token));
    await (await opening()).close();
    slot = slotOf(module, token.tokenLabel);
  });
  after(() => void module.inline.finalize(0));

  for (const calls of ['inline', 'threads'] as const) {
    describe(`called ${calls === 'inline' ? 'on this thread' : 'on other threads'}`, () => {
      for (const { title, run } of rootKeysCases) test(title, () => run(() => opening({ calls })));
    });
  }

  test('keys cannot be read out', async () => {
    const keys = await opening();
    await keys.createKey(KEY);
    const value = 0x11;
    for (const [kind, label] of [
      [CKO.SECRET_KEY, 'kedge/wallet/v1'],
      [CKO.SECRET_KEY, 'kedge/mac/v1'],
      [CKO.PRIVATE_KEY, 'kedge/identity/v1'],
    ] as const) {
      withObject(module, slot, kind, label, (session, object) => {
        const { memory, count } = template([[value, new Uint8Array(64)]]);
        const ATTRIBUTE_SENSITIVE = 0x11;
        assert.equal(module.inline.getAttributeValue(session, object, memory.address, count), ATTRIBUTE_SENSITIVE);
        assert.deepEqual(memory.bytes.subarray(3 * WORD), new Uint8Array(64));
        const flags = template([
          [CKA.SENSITIVE, false],
          [CKA.EXTRACTABLE, true],
          [CKA.TOKEN, false],
        ]);
        assert.equal(module.inline.getAttributeValue(session, object, flags.memory.address, flags.count), CKR.OK);
        assert.deepEqual([...flags.memory.bytes.subarray(-3)], [1, 0, 1]);
      });
    }
    await keys.close();
  });

  const losses: [title: string, lose: () => void][] = [
    ['its sessions are closed', () => void module.inline.closeAllSessions(slot)],
    ['it is logged out', () => withSession(module, slot, (session) => void module.inline.logout(session))],
    ['its module is shut down', () => void module.inline.finalize(0)],
  ];
  for (const [title, lose] of losses) {
    test(`the token is connected again when ${title}`, async () => {
      const keys = await opening();
      await keys.createKey(KEY);
      const wrapped = await keys.wrap(KEY, SECRET, AAD);
      const mac = await keys.mac(AAD);
      const operations: (() => Promise<unknown>)[] = [
        async () => assert.deepEqual(Buffer.from(await keys.unwrap(KEY, wrapped, AAD)), Buffer.from(SECRET)),
        async () => assert.deepEqual(await keys.mac(AAD), mac),
        () => keys.wrap(KEY, SECRET, AAD),
        () => keys.sign(AAD),
        () => keys.random(8),
        async () => assert.equal(await keys.hasKey(KEY), true),
        () => keys.createKey({ ...KEY, version: 77 }),
        () => keys.destroyKey({ ...KEY, version: 77 }),
      ];
      for (const operation of operations) {
        lose();
        await operation();
      }
      lose();
      await Promise.all([...operations.slice(0, 6), ...operations.slice(0, 6)].map((operation) => operation()));
      await keys.close();
      slot = slotOf(module, token.tokenLabel);
    });
  }

  test('a token without sessions to spare serves one operation after another', async () => {
    for (const calls of ['inline', 'threads'] as const) {
      const keys = await opening({ calls, sessionsMax: 1 });
      const macs = await Promise.all(Array.from({ length: 50 }, () => keys.mac(AAD)));
      assert.equal(new Set(macs.map((mac) => Buffer.from(mac).toString('hex'))).size, 1);
      await keys.close();
    }
  });

  test('closing lets go of those who wait', async () => {
    const keys = await opening({ calls: 'threads', sessionsMax: 1 });
    const working = keys.mac(AAD);
    const waiting = assertCode('unavailable', keys.mac(AAD));
    await keys.close();
    await Promise.all([working, waiting]);
  });

  test('a wrong PIN is told apart, and tried once', async () => {
    let asked = 0;
    const pin = (): Uint8Array => {
      asked++;
      return new TextEncoder().encode('4242');
    };
    await assertCode('pin_wrong', opening({ pin }));
    assert.equal(asked, 1);
  });

  test('a PIN that turns wrong while the enclave runs is tried once, whoever asks', async () => {
    const given: Uint8Array[] = [];
    const pin = (): Uint8Array => {
      given.push(given.length === 0 ? token.pin.slice() : new TextEncoder().encode('4242'));
      return given.at(-1)!;
    };
    const keys = await opening({ pin });
    module.inline.closeAllSessions(slot);
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => keys.mac(AAD)));
    for (const outcome of outcomes) {
      assert.equal(
        outcome.status === 'rejected' && outcome.reason instanceof RootKeysError && outcome.reason.code,
        'pin_wrong',
      );
    }
    assert.equal(given.length, 2);
    assert.ok(
      given.every((bytes) => bytes.every((byte) => byte === 0)),
      'PINs are wiped',
    );
    await keys.close();
  });

  test('the PIN of a caller who keeps it is left alone', async () => {
    const pin = token.pin.slice();
    await (await opening({ pin })).close();
    assert.deepEqual(pin, token.pin);
  });

  test('an absent token and an absent module have names of their own', async () => {
    await assertCode('token_absent', opening({ tokenLabel: 'another' }));
    await assertCode('unavailable', opening({ module: join(folder, 'none.so') }));
    await assertCode('unavailable', opening({ module: '/etc/passwd' }));
  });

  test('half a root is damaged, and never completed with a new MAC key', async () => {
    const options = { ...damaged, create: true };
    await (await openPkcs11(options)).close();
    const at = slotOf(module, damaged.tokenLabel);
    withObject(
      module,
      at,
      CKO.SECRET_KEY,
      'kedge/mac/v1',
      (session, object) => {
        assert.equal(module.inline.destroyObject(session, object), CKR.OK);
      },
      damaged.pin,
    );
    await assertCode('damaged', openPkcs11(options));
  });

  test('a token that lacks an operation is refused at start, by the name of the operation', async () => {
    const poor = createSoftHsmToken(await mkdtemp(join(folder, 'poor-')), {
      without: ['CKM_ECDSA', 'CKM_SHA256_HMAC'],
    });
    module.inline.finalize(0);
    process.env.SOFTHSM2_CONF = poor.env.SOFTHSM2_CONF;
    try {
      const error = await assertCode('operation_missing', openPkcs11({ ...poor, create: true }));
      assert.match(error.message, /can't do CKM_SHA256_HMAC, CKM_ECDSA\./);
    } finally {
      module.inline.finalize(0);
      process.env.SOFTHSM2_CONF = token.env.SOFTHSM2_CONF;
    }
  });
});

describe('a backend that breaks a promise fails the suite', () => {
  const broken: Record<string, (good: RootKeys, opened: number) => Partial<RootKeys>> = {
    'ignores the AAD': (good) => ({
      wrap: (key, plaintext) => good.wrap(key, plaintext, new Uint8Array()),
      unwrap: (key, wrapped) => good.unwrap(key, wrapped, new Uint8Array()),
    }),
    'uses one key for all versions': (good) => ({
      wrap: (key, plaintext, aad) => good.wrap({ ...key, version: 1 }, plaintext, aad),
      unwrap: (key, wrapped, aad) => good.unwrap({ ...key, version: 1 }, wrapped, aad),
      createKey: async (key) => {
        await good.createKey({ ...key, version: 1 });
        await good.createKey(key);
      },
    }),
    'destroys nothing': () => ({ destroyKey: async () => {} }),
    'makes a new key each time it is asked': (good) => ({
      createKey: async (key) => {
        await good.destroyKey(key);
        await good.createKey(key);
      },
    }),
    'reads past what was cut off': (good) => ({
      unwrap: (key, wrapped, aad) => good.unwrap(key, wrapped.length === 61 ? wrapped.subarray(0, 60) : wrapped, aad),
    }),
    'repeats a nonce': (good) => {
      const first = new Map<string, Uint8Array>();
      return {
        wrap: async (key, plaintext, aad) => {
          const name = [
            key.purpose,
            key.version,
            Buffer.from(plaintext).toString('hex'),
            Buffer.from(aad).toString('hex'),
          ].join();
          const wrapped = first.get(name) ?? (await good.wrap(key, plaintext, aad));
          first.set(name, wrapped);
          return wrapped.slice();
        },
      };
    },
    'forgets its MAC key at a restart': (good, opened) => ({
      mac: (data) => good.mac(Buffer.concat([data, new Uint8Array([opened])])),
    }),
    'signs a digest it should have made': (good) => ({
      sign: (message) => good.sign(Buffer.concat([message, message])),
    }),
    'gives a short random': (good) => ({ random: (length) => good.random(Math.min(length, 4_096)) }),
    'hands out its own memory': (good) => {
      let identity: Promise<Uint8Array> | null = null;
      return {
        identity: () => {
          identity ??= good.identity();
          return identity;
        },
      };
    },
    'answers when closed': (good) => ({ close: async () => {}, wrap: (...args) => good.wrap(...args) }),
    'says "refused" where a key is missing': (good) => ({
      unwrap: (...args) =>
        good.unwrap(...args).catch(() => {
          throw new RootKeysError('refused', 'no');
        }),
    }),
  };

  for (const [title, breakIt] of Object.entries(broken)) {
    test(title, async () => {
      let opened = 0;
      const file = join(folder, `broken ${title.replaceAll(/\W/g, ' ')}`);
      const open: OpenRootKeys = async () => {
        const good = await openSoftware({ file, create: true });
        return { ...delegate(good), ...breakIt(good, ++opened) };
      };
      const failed: string[] = [];
      for (const { title, run } of rootKeysCases) {
        await run(open).catch((error: unknown) => {
          assert.ok(error instanceof assert.AssertionError || error instanceof RootKeysError, String(error));
          failed.push(title);
        });
      }
      assert.ok(failed.length > 0 && failed.length < rootKeysCases.length / 2, failed.join('\n'));
    });
  }

  test('and the same backend unbroken passes', async () => {
    const file = join(folder, 'unbroken');
    for (const { run } of rootKeysCases) await run(async () => delegate(await openSoftware({ file, create: true })));
  });
});

/** A backend as a plain object, so that a test may replace one of its methods. */
function delegate(good: RootKeys): RootKeys {
  return {
    kind: good.kind,
    createKey: (key) => good.createKey(key),
    hasKey: (key) => good.hasKey(key),
    destroyKey: (key) => good.destroyKey(key),
    wrap: (key, plaintext, aad) => good.wrap(key, plaintext, aad),
    unwrap: (key, wrapped, aad) => good.unwrap(key, wrapped, aad),
    mac: (data) => good.mac(data),
    sign: (message) => good.sign(message),
    identity: () => good.identity(),
    random: (length) => good.random(length),
    capabilities: () => good.capabilities(),
    close: () => good.close(),
  };
}

async function assertCode(code: RootKeysErrorCode, act: Promise<unknown>): Promise<RootKeysError> {
  const error = await act.then(
    () => assert.fail(`expected '${code}'`),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof RootKeysError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}

/** The slot of a token, as another user of the module would find it. */
function slotOf(module: Pkcs11Module, label: string): number {
  const memory = new Memory(512);
  const [countAt, slotsAt, infoAt] = [0, WORD, 256];
  memory.setWord(countAt, 16);
  assert.equal(module.inline.getSlotList(1, memory.address + slotsAt, memory.address + countAt), CKR.OK);
  for (let index = 0; index < memory.word(countAt); index++) {
    const slot = memory.word(slotsAt + index * WORD);
    module.inline.getTokenInfo(slot, memory.address + infoAt);
    if (new TextDecoder().decode(memory.bytes.subarray(infoAt, infoAt + 32)).trimEnd() === label) return slot;
  }
  assert.fail(`no token ${label}`);
}

function withSession(module: Pkcs11Module, slot: number, work: (session: number) => void): void {
  const handle = new Memory(WORD);
  assert.equal(module.inline.openSession(slot, 6, 0, 0, handle.address), CKR.OK);
  work(handle.word(0));
  module.inline.closeSession(handle.word(0));
}

/** Finds an object as another program with the PIN would. */
function withObject(
  module: Pkcs11Module,
  slot: number,
  kind: number,
  label: string,
  work: (session: number, object: number) => void,
  pin?: Uint8Array,
): void {
  withSession(module, slot, (session) => {
    if (pin !== undefined) {
      const passed = new Memory(pin.length);
      passed.bytes.set(pin);
      assert.equal(module.inline.login(session, CKU_USER, passed.address, pin.length), CKR.OK);
    }
    const search = template([
      [CKA.CLASS, kind],
      [CKA.LABEL, label],
    ]);
    const found = new Memory(2 * WORD);
    assert.equal(module.inline.findObjectsInit(session, search.memory.address, search.count), CKR.OK);
    assert.equal(module.inline.findObjects(session, found.address, 1, found.address + WORD), CKR.OK);
    assert.equal(module.inline.findObjectsFinal(session), CKR.OK);
    assert.equal(found.word(WORD), 1, `no ${label}`);
    work(session, found.word(0));
  });
}
