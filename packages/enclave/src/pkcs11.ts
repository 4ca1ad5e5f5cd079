/**
 * Root keys in a hardware token, through its PKCS#11 module: keys are made in the token and can't leave it, and every
 * wrap, MAC and signature happens there. The enclave's entry opens it. Sessions are pooled, one per operation under way,
 * each with memory of its own; a lost one is reconnected once, and a wrong PIN is never tried twice, since tokens lock.
 * It never exports a key, and has no fallback in software: what the token lacks is an error at start.
 */
import { createHash } from 'node:crypto';
import {
  type Attributes,
  CKA,
  CKF,
  CKK,
  CKM,
  CKO,
  CKR,
  CKS_RW_USER_FUNCTIONS,
  CKU_USER,
  type Functions,
  loadModule,
  Memory,
  type Pkcs11Module,
  template,
  WORD,
} from './pkcs11-binding.ts';
import {
  lowS,
  type RootKeys,
  type RootKeysCapability,
  RootKeysError,
  type WrappingKey,
  wrappingKeyName,
} from './root-keys.ts';

export interface Pkcs11Options {
  /** Path of the vendor's module, `libsofthsm2.so` for one. */
  readonly module: string;
  /** The token is found by its label: slot numbers change. */
  readonly tokenLabel: string;
  /** Asked for at each login. What a function gives is wiped after use; an array stays the caller's, unchanged. */
  readonly pin: Uint8Array | (() => Uint8Array);
  /** Makes MAC key and identity if the token holds none. Never set it where keys are expected: a wrong token must be noticed. */
  readonly create?: boolean;
  /** Where calls run. By default the token is measured: one that answers within 250 µs is called on this thread. */
  readonly calls?: 'inline' | 'threads';
  /** Operations under way at once; further ones queue. A token that allows fewer sessions sets its own bound. */
  readonly sessionsMax?: number;
}

/**
 * Throws `RootKeysError`: 'unavailable' if the module can't be loaded or fails, 'token_absent', 'pin_wrong',
 * 'operation_missing' if the token can't do what {@link RootKeys} needs, 'no_key' if it holds no root and `create` isn't
 * set, 'damaged' if it holds part of one.
 */
export async function openPkcs11(options: Pkcs11Options): Promise<RootKeys> {
  let module: Pkcs11Module;
  try {
    module = loadModule(options.module);
  } catch (cause) {
    throw new RootKeysError(
      'unavailable',
      `The PKCS#11 module ${options.module} can't be loaded. Check the path, and that its package is installed.`,
      { cause },
    );
  }
  const rootKeys = new Pkcs11RootKeys(module, options);
  try {
    await rootKeys.open();
    return rootKeys;
  } catch (error) {
    await rootKeys.close();
    throw error;
  }
}

class Pkcs11RootKeys implements RootKeys {
  readonly kind = 'pkcs11';
  readonly #module: Pkcs11Module;
  readonly #options: Pkcs11Options;
  readonly #sessions: SessionPool;
  /** Handles by label; they hold until the connection is made anew. */
  readonly #handles = new Map<string, number>();
  #calls: Functions<number | Promise<number>>;
  #publicKey = new Uint8Array();
  #lastChange: Promise<void> = Promise.resolve();

  constructor(module: Pkcs11Module, options: Pkcs11Options) {
    this.#module = module;
    this.#options = options;
    this.#calls = options.calls === 'threads' ? module.threaded : module.inline;
    this.#sessions = new SessionPool(module.inline, options, () => this.#handles.clear());
  }

  async open(): Promise<void> {
    const { create = false, calls, tokenLabel } = this.#options;
    await this.#sessions.use(async (session) => {
      this.#assertMechanisms(session.slot);
      const has = async (label: string): Promise<boolean> => (await this.#findOne(session, label)) !== null;
      const [mac, identity] = [await has(MAC_LABEL), await has(IDENTITY_LABEL)];
      if (identity && !mac) {
        throw new RootKeysError(
          'damaged',
          `The token "${tokenLabel}" holds Kedge's identity without its MAC key. Restore the token from its backup.`,
        );
      }
      if (!identity && !create) {
        throw new RootKeysError(
          'no_key',
          `The token "${tokenLabel}" holds no root keys. Check that it is the right token, or create them if this enclave is new.`,
        );
      }
      // The identity last: where it exists, creation was complete.
      if (!mac) await this.#generateMacKey(session);
      if (!identity) await this.#generateIdentity(session);
      this.#publicKey = await this.#readPublicKey(session);
    });
    if (calls === undefined && (await this.#macLatencyMs()) > INLINE_MS_MAX) this.#calls = this.#module.threaded;
  }

  createKey(key: WrappingKey): Promise<void> {
    const label = labelOf(key);
    return this.#change(async (session) => {
      if ((await this.#findOne(session, label)) !== null) return;
      await this.#generate(session, CKM.AES_KEY_GEN, [
        [CKA.KEY_TYPE, CKK.AES],
        [CKA.VALUE_LEN, 32],
        [CKA.ENCRYPT, true],
        [CKA.DECRYPT, true],
        ...secretKey(label),
      ]);
    });
  }

  hasKey(key: WrappingKey): Promise<boolean> {
    const label = labelOf(key);
    return this.#sessions.use(async (session) => (await this.#findOne(session, label)) !== null);
  }

  destroyKey(key: WrappingKey): Promise<void> {
    const label = labelOf(key);
    return this.#change(async (session) => {
      const handle = await this.#findOne(session, label);
      this.#handles.delete(label);
      if (handle !== null) assertOk(await this.#calls.destroyObject(session.handle, handle), 'C_DestroyObject');
    });
  }

  wrap(key: WrappingKey, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
    const label = labelOf(key);
    return this.#sessions.use(async (session) => {
      const handle = this.#handles.get(label) ?? (await this.#getHandle(session, label));
      session.reserve(plaintext.length, aad.length);
      if (!session.takeNonce()) {
        assertOk(
          await this.#calls.generateRandom(session.handle, session.nonces.address, session.nonces.bytes.length),
          'C_GenerateRandom',
        );
        session.refilledNonces();
      }
      session.setGcm(aad);
      session.setInput(plaintext);
      try {
        assertOk(await this.#calls.encryptInit(session.handle, session.mechanism, handle), 'C_EncryptInit');
        const { handle: at, input, output, outputLength } = session;
        assertOk(await this.#calls.encrypt(at, input, plaintext.length, output, outputLength), 'C_Encrypt');
        return session.copyNonceAndOutput();
      } finally {
        session.wipeInput(plaintext.length);
      }
    });
  }

  async unwrap(key: WrappingKey, wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
    const label = labelOf(key);
    return this.#sessions.use(async (session) => {
      const handle = this.#handles.get(label) ?? (await this.#getHandle(session, label));
      if (wrapped.length < NONCE_BYTES + TAG_BYTES) throw refusedToUnwrap(key);
      session.reserve(wrapped.length, aad.length);
      session.setNonce(wrapped);
      session.setGcm(aad);
      session.setInput(wrapped.subarray(NONCE_BYTES));
      assertOk(await this.#calls.decryptInit(session.handle, session.mechanism, handle), 'C_DecryptInit');
      const { handle: at, input, output, outputLength } = session;
      const status = await this.#calls.decrypt(at, input, wrapped.length - NONCE_BYTES, output, outputLength);
      if (REFUSED.has(status)) throw refusedToUnwrap(key);
      assertOk(status, 'C_Decrypt');
      return session.moveOutput();
    });
  }

  mac(data: Uint8Array): Promise<Uint8Array> {
    return this.#sessions.use((session) => this.#sign(session, CKM.SHA256_HMAC, MAC_LABEL, data));
  }

  async sign(message: Uint8Array): Promise<Uint8Array> {
    // Hashed here: every token has CKM_ECDSA, many lack its variants with a hash.
    const digest = createHash('sha256').update(message).digest();
    return lowS(await this.#sessions.use((session) => this.#sign(session, CKM.ECDSA, IDENTITY_LABEL, digest)));
  }

  async identity(): Promise<Uint8Array> {
    this.#sessions.assertUsable();
    return this.#publicKey.slice();
  }

  random(length: number): Promise<Uint8Array> {
    return this.#sessions.use(async (session) => {
      const bytes = new Uint8Array(length);
      session.reserve(Math.min(length, RANDOM_CHUNK_BYTES), 0);
      for (let at = 0; at < length; at += RANDOM_CHUNK_BYTES) {
        const chunk = Math.min(length - at, RANDOM_CHUNK_BYTES);
        assertOk(await this.#calls.generateRandom(session.handle, session.input, chunk), 'C_GenerateRandom');
        bytes.set(session.takeInput(chunk), at);
      }
      return bytes;
    });
  }

  /** The token does all of it, or wouldn't have opened. Whether the token is hardware only its owner knows. */
  async capabilities(): Promise<readonly RootKeysCapability[]> {
    return (['wrap', 'mac', 'sign', 'random'] as const).map((operation) => ({ operation, where: 'in_hardware' }));
  }

  async close(): Promise<void> {
    await this.#lastChange;
    this.#sessions.close();
  }

  #assertMechanisms(slot: number): void {
    // Some modules describe a mechanism that their settings leave out of the list.
    const { getMechanismList, getMechanismInfo } = this.#module.inline;
    const listed = new Set(readWords('C_GetMechanismList', (list, count) => getMechanismList(slot, list, count)));
    const info = new Memory(3 * WORD);
    const missing = NEEDED.filter(([, mechanism, flags]) => {
      if (!listed.has(mechanism) || getMechanismInfo(slot, mechanism, info.address) !== CKR.OK) return true;
      return (info.word(2 * WORD) & flags) !== flags;
    });
    if (missing.length === 0) return;
    const names = missing.map(([name]) => name).join(', ');
    throw new RootKeysError(
      'operation_missing',
      `The token "${this.#options.tokenLabel}" can't do ${names}. Allow it in the token's settings, or take another token.`,
    );
  }

  async #macLatencyMs(): Promise<number> {
    const times: number[] = [];
    for (let i = 0; i < 3; i++) {
      const start = performance.now();
      await this.mac(new Uint8Array(32));
      times.push(performance.now() - start);
    }
    return Math.min(...times);
  }

  /** C_SignInit and C_Sign, for MACs as for signatures. */
  async #sign(session: Session, mechanism: number, label: string, data: Uint8Array): Promise<Uint8Array> {
    const handle = this.#handles.get(label) ?? (await this.#getHandle(session, label));
    session.reserve(data.length, 0);
    session.setMechanism(mechanism);
    session.setInput(data);
    assertOk(await this.#calls.signInit(session.handle, session.mechanism, handle), 'C_SignInit');
    const { handle: at, input, output, outputLength } = session;
    assertOk(await this.#calls.sign(at, input, data.length, output, outputLength), 'C_Sign');
    session.wipeInput(data.length);
    return session.moveOutput();
  }

  /** Changes run one after another, so that no key is made twice. */
  #change(work: (session: Session) => Promise<void>): Promise<void> {
    const change = this.#lastChange.then(() => this.#sessions.use(work));
    this.#lastChange = change.catch(() => {});
    return change;
  }

  async #getHandle(session: Session, label: string): Promise<number> {
    const handle = await this.#findOne(session, label);
    if (handle === null)
      throw new RootKeysError(
        'no_key',
        `The token holds no key ${label}. Create it, or restore the token that held it.`,
      );
    this.#handles.set(label, handle);
    return handle;
  }

  /** The secret or private key of this label; null if there is none. */
  async #findOne(session: Session, label: string): Promise<number | null> {
    const kind = label === IDENTITY_LABEL ? CKO.PRIVATE_KEY : CKO.SECRET_KEY;
    const [first, second] = await this.#find(session, kind, label);
    if (second !== undefined) {
      throw new RootKeysError(
        'damaged',
        `The token holds ${label} twice. Restore it from its backup, and let one enclave at a time write to it.`,
      );
    }
    if (first === undefined) await this.#assertLoggedIn(session);
    return first ?? null;
  }

  /** A session that lost its login finds no private object, without an error: absence counts only when logged in. */
  async #assertLoggedIn(session: Session): Promise<void> {
    const info = session.hold(new Memory(4 * WORD));
    assertOk(await this.#calls.getSessionInfo(session.handle, info.address), 'C_GetSessionInfo');
    const loggedIn = info.word(WORD) === CKS_RW_USER_FUNCTIONS && this.#sessions.isCurrent(session);
    if (!loggedIn) throw new TokenFailure('C_FindObjects', CKR.USER_NOT_LOGGED_IN);
  }

  async #find(session: Session, kind: number, label: string): Promise<number[]> {
    const search = session.hold(
      template([
        [CKA.CLASS, kind],
        [CKA.TOKEN, true],
        [CKA.LABEL, label],
      ]),
    );
    const found = session.hold({ memory: new Memory(3 * WORD), count: 2 });
    const countAt = found.memory.address + 2 * WORD;
    assertOk(
      await this.#calls.findObjectsInit(session.handle, search.memory.address, search.count),
      'C_FindObjectsInit',
    );
    assertOk(
      await this.#calls.findObjects(session.handle, found.memory.address, found.count, countAt),
      'C_FindObjects',
    );
    assertOk(await this.#calls.findObjectsFinal(session.handle), 'C_FindObjectsFinal');
    return [0, WORD].slice(0, found.memory.word(2 * WORD)).map((offset) => found.memory.word(offset));
  }

  #generateMacKey(session: Session): Promise<void> {
    return this.#generate(session, CKM.GENERIC_SECRET_KEY_GEN, [
      [CKA.KEY_TYPE, CKK.GENERIC_SECRET],
      [CKA.VALUE_LEN, 32],
      [CKA.SIGN, true],
      ...secretKey(MAC_LABEL),
    ]);
  }

  async #generate(session: Session, mechanism: number, attributes: Attributes): Promise<void> {
    const key = session.hold(template([[CKA.CLASS, CKO.SECRET_KEY], ...attributes]));
    session.setMechanism(mechanism);
    const { handle, mechanism: at, outputLength } = session;
    // The new handle is written where lengths go; the key is found by its label when it is needed.
    assertOk(await this.#calls.generateKey(handle, at, key.memory.address, key.count, outputLength), 'C_GenerateKey');
  }

  async #generateIdentity(session: Session): Promise<void> {
    const publicKey = session.hold(
      template([
        [CKA.CLASS, CKO.PUBLIC_KEY],
        [CKA.KEY_TYPE, CKK.EC],
        [CKA.TOKEN, true],
        [CKA.LABEL, IDENTITY_LABEL],
        [CKA.VERIFY, true],
        [CKA.EC_PARAMS, P256_OID],
      ]),
    );
    const privateKey = session.hold(
      template([[CKA.CLASS, CKO.PRIVATE_KEY], [CKA.KEY_TYPE, CKK.EC], [CKA.SIGN, true], ...secretKey(IDENTITY_LABEL)]),
    );
    const handles = session.hold({ memory: new Memory(2 * WORD), count: 2 });
    session.setMechanism(CKM.EC_KEY_PAIR_GEN);
    const status = await this.#calls.generateKeyPair(
      session.handle,
      session.mechanism,
      publicKey.memory.address,
      publicKey.count,
      privateKey.memory.address,
      privateKey.count,
      handles.memory.address,
      handles.memory.address + WORD,
    );
    assertOk(status, 'C_GenerateKeyPair');
  }

  async #readPublicKey(session: Session): Promise<Uint8Array<ArrayBuffer>> {
    const [handle] = await this.#find(session, CKO.PUBLIC_KEY, IDENTITY_LABEL);
    if (handle !== undefined) {
      // CKA_EC_POINT is the point inside a DER OCTET STRING, for the tokens that follow the standard, or the bare point.
      const { memory, count } = session.hold(template([[CKA.EC_POINT, new Uint8Array(67)]]));
      assertOk(
        await this.#calls.getAttributeValue(session.handle, handle, memory.address, count),
        'C_GetAttributeValue',
      );
      const value = memory.bytes.slice(3 * WORD, 3 * WORD + memory.word(2 * WORD));
      const point = value.length === 67 && value[0] === 0x04 && value[1] === 65 ? value.slice(2) : value;
      if (point.length === 65 && point[0] === 0x04) return point;
    }
    throw new RootKeysError(
      'damaged',
      "The token's public key of the identity is missing or unreadable. Restore the token from its backup.",
    );
  }
}

const MAC_LABEL = 'kedge/mac/v1';
const IDENTITY_LABEL = 'kedge/identity/v1';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const RANDOM_CHUNK_BYTES = 4096;
/** A call that blocks this thread for longer belongs on another. */
const INLINE_MS_MAX = 0.25;
/** 1.2.840.10045.3.1.7, DER. */
const P256_OID = new Uint8Array([0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);

const NEEDED: readonly (readonly [name: string, mechanism: number, flags: number])[] = [
  ['CKM_AES_KEY_GEN', CKM.AES_KEY_GEN, CKF.GENERATE],
  ['CKM_AES_GCM', CKM.AES_GCM, CKF.ENCRYPT | CKF.DECRYPT],
  ['CKM_GENERIC_SECRET_KEY_GEN', CKM.GENERIC_SECRET_KEY_GEN, CKF.GENERATE],
  ['CKM_SHA256_HMAC', CKM.SHA256_HMAC, CKF.SIGN],
  ['CKM_EC_KEY_PAIR_GEN', CKM.EC_KEY_PAIR_GEN, CKF.GENERATE_KEY_PAIR],
  ['CKM_ECDSA', CKM.ECDSA, CKF.SIGN],
];

/** What C_Decrypt says about bytes that don't fit key and AAD. The standard has no code for it; SoftHSM says GENERAL_ERROR. */
const REFUSED: ReadonlySet<number> = new Set([
  CKR.GENERAL_ERROR,
  CKR.FUNCTION_FAILED,
  CKR.DATA_INVALID,
  CKR.DATA_LEN_RANGE,
  CKR.ENCRYPTED_DATA_INVALID,
  CKR.ENCRYPTED_DATA_LEN_RANGE,
]);

/** The session, the login or its handles are gone, and new ones may do. */
const LOST: ReadonlySet<number> = new Set([
  CKR.DEVICE_REMOVED,
  CKR.KEY_HANDLE_INVALID,
  CKR.OBJECT_HANDLE_INVALID,
  CKR.OPERATION_ACTIVE,
  CKR.OPERATION_NOT_INITIALIZED,
  CKR.SESSION_CLOSED,
  CKR.SESSION_HANDLE_INVALID,
  CKR.TOKEN_NOT_PRESENT,
  CKR.USER_NOT_LOGGED_IN,
  CKR.CRYPTOKI_NOT_INITIALIZED,
]);

const PIN_REFUSED: ReadonlySet<number> = new Set([
  CKR.PIN_INCORRECT,
  CKR.PIN_INVALID,
  CKR.PIN_LEN_RANGE,
  CKR.PIN_EXPIRED,
  CKR.PIN_LOCKED,
]);

function labelOf(key: WrappingKey): string {
  return `kedge/${wrappingKeyName(key)}`;
}

/** In the token for good, and never outside of it. */
function secretKey(label: string): Attributes {
  return [
    [CKA.TOKEN, true],
    [CKA.PRIVATE, true],
    [CKA.SENSITIVE, true],
    [CKA.EXTRACTABLE, false],
    [CKA.LABEL, label],
  ];
}

/** One answer for every reason, so that it says nothing about which byte was wrong. */
function refusedToUnwrap(key: WrappingKey): RootKeysError {
  return new RootKeysError(
    'refused',
    `These bytes don't open under ${wrappingKeyName(key)} at this address. Restore the row from a backup.`,
  );
}

class TokenFailure extends RootKeysError {
  readonly status: number;

  constructor(operation: string, status: number) {
    super(
      'unavailable',
      `The token fails at ${operation} (0x${status.toString(16)}). Check the device and its log, then try again.`,
    );
    this.status = status;
  }
}

function assertOk(status: number, operation: string): void {
  if (status !== CKR.OK) throw new TokenFailure(operation, status);
}

/** The two calls by which PKCS#11 hands out a list: how long it is, then what is in it. */
function readWords(operation: string, call: (list: number, count: number) => number): number[] {
  const count = new Memory(WORD);
  assertOk(call(0, count.address), operation);
  const list = new Memory(count.word(0) * WORD);
  assertOk(call(list.address, count.address), operation);
  return Array.from({ length: count.word(0) }, (_, index) => list.word(index * WORD));
}

/** Sessions with the token, each used by one operation at a time. Connects when first used, and anew when that is lost. */
class SessionPool {
  readonly #calls: Functions<number>;
  readonly #options: Pkcs11Options;
  readonly #onConnect: () => void;
  readonly #free: Session[] = [];
  readonly #waiting: { resolve: (session: Session | Promise<Session>) => void; reject: (reason: unknown) => void }[] =
    [];
  #max: number;
  #open = 0;
  #slot: number | null = null;
  /** Sessions of an older connection are closed instead of used again. */
  #connection = 0;
  /** Counts C_Initialize: a handle from before it may be someone else's now. */
  #start = 0;
  /** The connection that is logged in: one login holds for all sessions of a process. */
  #loggedIn = -1;
  /** Set once there is no point in trying again. */
  #ended: RootKeysError | null = null;

  constructor(calls: Functions<number>, options: Pkcs11Options, onConnect: () => void) {
    this.#calls = calls;
    this.#options = options;
    this.#onConnect = onConnect;
    this.#max = options.sessionsMax ?? 8;
  }

  /** Runs `work` with a session; once more with a new one if that is lost. So `work` must not mind being repeated. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const connection = this.#connection;
      let session: Session | null = null;
      let lost = false;
      try {
        session = this.#free.pop() ?? (await this.#acquire());
        const result = await work(session);
        // Handles are reused by a module that was restarted: what an old session gave may be another operation's.
        if (this.isCurrent(session)) return result;
        throw new TokenFailure('its session', CKR.SESSION_CLOSED);
      } catch (error) {
        lost = error instanceof TokenFailure && LOST.has(error.status);
        if (!lost || attempt === 2) throw error;
        // Whoever notices first connects anew; the others' sessions are of a connection that nobody uses any more.
        if ((session?.connection ?? connection) === this.#connection) this.#disconnect();
      } finally {
        if (session !== null) this.#release(session, lost);
      }
    }
  }

  /** Whether what a session sees may be believed: another operation may have found out meanwhile that it is lost. */
  isCurrent(session: Session): boolean {
    return session.connection === this.#connection;
  }

  /** What is under way finishes; nothing starts any more. */
  close(): void {
    this.#ended ??= new RootKeysError('unavailable', 'The root keys are closed. Open them again.');
    for (const session of this.#free.splice(0)) this.#discard(session);
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#ended);
  }

  #disconnect(): void {
    this.#connection++;
    this.#slot = null;
    for (const session of this.#free.splice(0)) this.#discard(session);
  }

  #discard(session: Session): void {
    // It may be gone already; there is nothing to do about a refusal.
    if (session.start === this.#start) this.#calls.closeSession(session.handle);
    this.#open--;
  }

  assertUsable(): void {
    if (this.#ended !== null) throw this.#ended;
  }

  #acquire(): Promise<Session> | Session {
    this.assertUsable();
    if (this.#open < this.#max) {
      const session = this.#openSession();
      if (session !== null) return session;
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #release(session: Session, lost: boolean): void {
    session.forget();
    if (lost || !this.isCurrent(session) || this.#ended !== null) {
      this.#discard(session);
      this.#openForWaiting();
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#free.push(session);
    else waiting.resolve(session);
  }

  /** In place of a session that is gone. Who gets none of his own is told why; then it is the next one's turn. */
  #openForWaiting(): void {
    for (let waiting = this.#waiting.shift(); waiting !== undefined; waiting = this.#waiting.shift()) {
      try {
        waiting.resolve(this.#acquire());
        return;
      } catch (error) {
        waiting.reject(error);
      }
    }
  }

  /** Null if the token allows no further session and others are open. */
  #openSession(): Session | null {
    this.#slot ??= this.#connect();
    const handle = new Memory(WORD);
    const status = this.#calls.openSession(this.#slot, CKF.SERIAL_SESSION | CKF.RW_SESSION, 0, 0, handle.address);
    if (status === CKR.SESSION_COUNT && this.#open > 0) {
      this.#max = this.#open;
      return null;
    }
    assertOk(status, 'C_OpenSession');
    const session = new Session(handle.word(0), this.#slot, this.#connection, this.#start);
    this.#open++;
    try {
      if (this.#loggedIn !== this.#connection) this.#login(session);
      this.#loggedIn = this.#connection;
      return session;
    } catch (error) {
      this.#discard(session);
      throw error;
    }
  }

  /** Gives the token's slot. */
  #connect(): number {
    // CK_C_INITIALIZE_ARGS: four callbacks we don't have, the flags, a reserved word.
    const args = new Memory(6 * WORD);
    args.setWord(4 * WORD, CKF.OS_LOCKING_OK);
    const status = this.#calls.initialize(args.address);
    if (status !== CKR.CRYPTOKI_ALREADY_INITIALIZED) {
      assertOk(status, 'C_Initialize');
      this.#start++;
    }
    this.#onConnect();

    const { tokenLabel } = this.#options;
    const present = readWords('C_GetSlotList', (list, count) => this.#calls.getSlotList(1, list, count));
    const slots = present.filter((slot) => this.#tokenLabel(slot) === tokenLabel);
    if (slots.length === 1) return slots[0]!;
    throw new RootKeysError(
      'token_absent',
      `The module shows ${slots.length} tokens labelled "${tokenLabel}", and it takes one. Check the label and that the token is plugged in.`,
    );
  }

  /** Null for a slot whose token isn't initialised, or was pulled out this moment. */
  #tokenLabel(slot: number): string | null {
    // CK_TOKEN_INFO: 208 bytes; the label in the first 32, padded with blanks, the flags after four such texts.
    const info = new Memory(256);
    if (this.#calls.getTokenInfo(slot, info.address) !== CKR.OK || (info.word(96) & CKF.TOKEN_INITIALIZED) === 0)
      return null;
    return new TextDecoder().decode(info.bytes.subarray(0, 32)).trimEnd();
  }

  #login(session: Session): void {
    const { pin, tokenLabel } = this.#options;
    const given = typeof pin === 'function' ? pin() : pin;
    const passed = new Memory(given.length);
    passed.bytes.set(given);
    if (typeof pin === 'function') given.fill(0);
    const status = this.#calls.login(session.handle, CKU_USER, passed.address, given.length);
    passed.bytes.fill(0);
    if (status === CKR.USER_ALREADY_LOGGED_IN) return;
    if (PIN_REFUSED.has(status)) {
      const state =
        status === CKR.PIN_LOCKED
          ? 'is locked after wrong PINs. Unlock it with its security officer'
          : 'refuses the PIN. Correct it before the token locks';
      this.#ended = new RootKeysError('pin_wrong', `The token "${tokenLabel}" ${state}, then start again.`);
      throw this.#ended;
    }
    assertOk(status, 'C_Login');
  }
}

/** How many nonces are fetched from the token at once: a call per wrap would cost a third of its speed. */
const NONCES = 128;

/**
 * One session and its memory: mechanism, its parameters, nonce, output, AAD and input lie at fixed places, so that an
 * operation sets a few lengths and copies its bytes. The output follows the nonce, as in what `wrap` gives.
 */
class Session {
  readonly handle: number;
  readonly slot: number;
  readonly connection: number;
  readonly start: number;
  readonly nonces = new Memory(NONCES * NONCE_BYTES);
  #noncesLeft = 0;
  #memory!: Memory;
  #capacity = 0;
  #aadCapacity = 0;
  #held: unknown[] = [];

  constructor(handle: number, slot: number, connection: number, start: number) {
    this.handle = handle;
    this.slot = slot;
    this.connection = connection;
    this.start = start;
    this.#allocate(USUAL_BYTES, USUAL_BYTES);
  }

  get mechanism(): number {
    return this.#memory.address + MECHANISM;
  }

  get outputLength(): number {
    return this.#memory.address + OUTPUT_LENGTH;
  }

  get output(): number {
    return this.#memory.address + OUTPUT;
  }

  get input(): number {
    return this.#memory.address + this.#inputAt;
  }

  /** Room for an input, its output and AAD. What was set before is lost. */
  reserve(inputBytes: number, aadBytes: number): void {
    if (inputBytes > this.#capacity || aadBytes > this.#aadCapacity) {
      this.#allocate(Math.max(inputBytes, this.#capacity), Math.max(aadBytes, this.#aadCapacity));
    }
    this.#memory.setWord(OUTPUT_LENGTH, this.#outputCapacity);
  }

  setMechanism(mechanism: number): void {
    this.#memory.setWord(MECHANISM, mechanism);
    this.#memory.setWord(MECHANISM + WORD, 0);
    this.#memory.setWord(MECHANISM + 2 * WORD, 0);
  }

  /** AES-GCM with the nonce that was set or taken. */
  setGcm(aad: Uint8Array): void {
    const memory = this.#memory;
    memory.setWord(MECHANISM, CKM.AES_GCM);
    memory.setWord(MECHANISM + WORD, memory.address + GCM);
    memory.setWord(MECHANISM + 2 * WORD, GCM_BYTES);
    memory.setWord(GCM + 4 * WORD, aad.length);
    memory.bytes.set(aad, this.#aadAt);
  }

  setNonce(bytes: Uint8Array): void {
    this.#memory.bytes.set(bytes.subarray(0, NONCE_BYTES), NONCE);
  }

  /** Moves a nonce out of the store, so that none is used twice. False if the store is empty: fill `nonces` first. */
  takeNonce(): boolean {
    if (this.#noncesLeft === 0) return false;
    const at = --this.#noncesLeft * NONCE_BYTES;
    this.setNonce(this.nonces.bytes.subarray(at, at + NONCE_BYTES));
    return true;
  }

  /** After fresh bytes were written to `nonces`: takes the first of them. */
  refilledNonces(): void {
    this.#noncesLeft = NONCES;
    this.takeNonce();
  }

  setInput(bytes: Uint8Array): void {
    this.#memory.bytes.set(bytes, this.#inputAt);
  }

  wipeInput(length: number): void {
    this.#memory.bytes.fill(0, this.#inputAt, this.#inputAt + length);
  }

  /** What the token wrote to the input's place, which is wiped once copied. */
  takeInput(length: number): Uint8Array {
    const bytes = this.#memory.bytes.slice(this.#inputAt, this.#inputAt + length);
    this.wipeInput(length);
    return bytes;
  }

  copyNonceAndOutput(): Uint8Array {
    return this.#memory.bytes.slice(NONCE, OUTPUT + this.#memory.word(OUTPUT_LENGTH));
  }

  /** A copy of the output, whose place is wiped. */
  moveOutput(): Uint8Array {
    const end = OUTPUT + this.#memory.word(OUTPUT_LENGTH);
    const bytes = this.#memory.bytes.slice(OUTPUT, end);
    this.#memory.bytes.fill(0, OUTPUT, end);
    return bytes;
  }

  /** Keeps memory alive while the token works on it in another thread, where no variable of ours refers to it. */
  hold<T>(value: T): T {
    this.#held.push(value);
    return value;
  }

  /** Between two operations. */
  forget(): void {
    if (this.#held.length > 0) this.#held = [];
    if (this.#capacity > USUAL_BYTES || this.#aadCapacity > USUAL_BYTES) {
      this.#memory.bytes.fill(0);
      this.#allocate(USUAL_BYTES, USUAL_BYTES);
    }
  }

  get #outputCapacity(): number {
    return this.#capacity + OUTPUT_EXTRA_BYTES;
  }

  get #aadAt(): number {
    return OUTPUT + this.#outputCapacity;
  }

  get #inputAt(): number {
    return this.#aadAt + this.#aadCapacity;
  }

  #allocate(capacity: number, aadCapacity: number): void {
    this.#capacity = capacity;
    this.#aadCapacity = aadCapacity;
    const memory = new Memory(this.#inputAt + capacity);
    memory.setWord(GCM, memory.address + NONCE);
    memory.setWord(GCM + WORD, NONCE_BYTES);
    memory.setWord(GCM + 2 * WORD, NONCE_BYTES * 8);
    memory.setWord(GCM + 3 * WORD, memory.address + this.#aadAt);
    memory.setWord(GCM + 5 * WORD, TAG_BYTES * 8);
    this.#memory = memory;
  }
}

/** CK_MECHANISM: mechanism, address and length of its parameters. */
const MECHANISM = 0;
/** CK_GCM_PARAMS: address, bytes and bits of the nonce, address and length of the AAD, bits of the tag. */
const GCM = MECHANISM + 3 * WORD;
const GCM_BYTES = 6 * WORD;
const OUTPUT_LENGTH = GCM + GCM_BYTES;
const NONCE = OUTPUT_LENGTH + WORD;
const OUTPUT = NONCE + NONCE_BYTES;
/** A tag, a MAC or a signature on top of the input's length. */
const OUTPUT_EXTRA_BYTES = 64;
const USUAL_BYTES = 4096;
