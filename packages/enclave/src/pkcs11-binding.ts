/**
 * PKCS#11 v2.40 as it is: a module's functions, the numbers of the standard, and memory to pass to it. `pkcs11.ts` alone
 * calls it (and its tests, to break things on purpose). Every argument of the C interface is a machine word: a number, a
 * handle or an address inside a {@link Memory}; so no call converts or allocates anything.
 * For 64-bit little-endian systems other than Windows, whose modules pack their structures differently.
 * It decides nothing: return values go to the caller as they are.
 */
import { endianness } from 'node:os';
import { arch, platform } from 'node:process';
import koffi, { type TypeObject } from 'koffi';

/** `CK_RV`, or a promise of it where the call runs on a thread of its own. */
export type Call<Result> = (...words: number[]) => Result;
export type Functions<Result> = { readonly [Name in FunctionName]: Call<Result> };

export interface Pkcs11Module {
  /** Calls on this thread: for tokens that answer within microseconds. */
  readonly inline: Functions<number>;
  /** Calls on the threads of libuv: for tokens that a network or a slow chip stands before. */
  readonly threaded: Functions<Promise<number>>;
}

/** Held for ever: koffi unloads a library that nothing refers to, and the functions of the list would point nowhere. */
const loaded: unknown[] = [];

/** Loads the module and takes its functions from the list it hands out. Throws an `Error` of koffi's if there is none. */
export function loadModule(path: string): Pkcs11Module {
  if (endianness() !== 'LE' || !/64$/.test(arch) || platform === 'win32')
    throw new Error('PKCS#11 needs a 64-bit little-endian Unix');
  const library = koffi.load(path);
  loaded.push(library);
  const getFunctionList = library.func('C_GetFunctionList', 'unsigned long', ['uintptr_t']);
  const pointer = new Memory(WORD);
  const status = getFunctionList(pointer.address) as number;
  if (status !== CKR.OK) throw new Error(`C_GetFunctionList gave 0x${status.toString(16)}`);
  const list = new DataView(koffi.view(BigInt(pointer.word(0)), (LAST_FUNCTION + 1) * WORD));

  const inline: Partial<Record<FunctionName, Call<number>>> = {};
  const threaded: Partial<Record<FunctionName, Call<Promise<number>>>> = {};
  for (const [name, [index, words]] of Object.entries(FUNCTIONS) as [FunctionName, readonly [number, number]][]) {
    const type = prototypeOf(words);
    const call = koffi.decode(list.getBigUint64(index * WORD, true), type);
    inline[name] = call;
    threaded[name] = (...args) =>
      new Promise((resolve, reject) => {
        call.async(...args, (error: Error | null, status: number) =>
          error === null ? resolve(status) : reject(error),
        );
      });
  }
  return { inline, threaded } as Pkcs11Module;
}

export const WORD = 8;

/** Bytes at an address that stays put while the object lives. Whoever passes the address on keeps the object. */
export class Memory {
  readonly bytes: Uint8Array;
  readonly address: number;
  readonly #view: DataView;

  constructor(length: number) {
    const buffer = new ArrayBuffer(Math.max(length, WORD));
    this.bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.address = Number(koffi.address(buffer));
  }

  /** Words beyond 2^53 come back inexact: lengths marked unavailable are among them, handles of real modules aren't. */
  word(offset: number): number {
    return this.#view.getUint32(offset + 4, true) * 2 ** 32 + this.#view.getUint32(offset, true);
  }

  setWord(offset: number, value: number): void {
    this.#view.setUint32(offset, value >>> 0, true);
    this.#view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
  }
}

/** Attribute values: a number is a CK_ULONG, a boolean a CK_BBOOL, a string its UTF-8 bytes. */
export type Attributes = readonly (readonly [type: number, value: number | boolean | string | Uint8Array])[];

/** An array of CK_ATTRIBUTE with its values behind it. */
export function template(attributes: Attributes): { readonly memory: Memory; readonly count: number } {
  const values = attributes.map(([, value]) => attributeBytes(value));
  const memory = new Memory(attributes.length * ATTRIBUTE_BYTES + values.reduce((sum, value) => sum + value.length, 0));
  let valueAt = attributes.length * ATTRIBUTE_BYTES;
  for (const [index, value] of values.entries()) {
    const at = index * ATTRIBUTE_BYTES;
    memory.setWord(at, attributes[index]![0]);
    memory.setWord(at + WORD, memory.address + valueAt);
    memory.setWord(at + 2 * WORD, value.length);
    memory.bytes.set(value, valueAt);
    valueAt += value.length;
  }
  return { memory, count: attributes.length };
}

/** CK_ATTRIBUTE: type, address of the value, its length. */
const ATTRIBUTE_BYTES = 3 * WORD;

function attributeBytes(value: number | boolean | string | Uint8Array): Uint8Array {
  if (typeof value === 'boolean') return new Uint8Array([value ? 1 : 0]);
  if (typeof value === 'string') return new TextEncoder().encode(value);
  if (typeof value !== 'number') return value;
  const word = new Uint8Array(WORD);
  new DataView(word.buffer).setBigUint64(0, BigInt(value), true);
  return word;
}

const prototypes = new Map<number, TypeObject>();

function prototypeOf(words: number): TypeObject {
  const type = prototypes.get(words) ?? koffi.proto('unsigned long', Array<string>(words).fill('uintptr_t'));
  prototypes.set(words, type);
  return type;
}

/** Place in CK_FUNCTION_LIST (PKCS#11 v2.40 §3.6; the version comes first, as word 0) and number of arguments. */
const FUNCTIONS = {
  initialize: [1, 1],
  finalize: [2, 1],
  getSlotList: [5, 3],
  getTokenInfo: [7, 2],
  getMechanismList: [8, 3],
  getMechanismInfo: [9, 3],
  openSession: [13, 5],
  closeSession: [14, 1],
  closeAllSessions: [15, 1],
  getSessionInfo: [16, 2],
  login: [19, 4],
  logout: [20, 1],
  destroyObject: [23, 2],
  getAttributeValue: [25, 4],
  findObjectsInit: [27, 3],
  findObjects: [28, 4],
  findObjectsFinal: [29, 1],
  encryptInit: [30, 3],
  encrypt: [31, 5],
  decryptInit: [34, 3],
  decrypt: [35, 5],
  signInit: [43, 3],
  sign: [44, 5],
  generateKey: [59, 5],
  generateKeyPair: [60, 8],
  generateRandom: [65, 3],
} as const;
export type FunctionName = keyof typeof FUNCTIONS;
const LAST_FUNCTION = Math.max(...Object.values(FUNCTIONS).map(([index]) => index));

/** Return values (v2.40 §3.7 and pkcs11t.h). */
export const CKR = {
  OK: 0x0,
  GENERAL_ERROR: 0x5,
  FUNCTION_FAILED: 0x6,
  DATA_INVALID: 0x20,
  DATA_LEN_RANGE: 0x21,
  DEVICE_REMOVED: 0x32,
  ENCRYPTED_DATA_INVALID: 0x40,
  ENCRYPTED_DATA_LEN_RANGE: 0x41,
  KEY_HANDLE_INVALID: 0x60,
  OBJECT_HANDLE_INVALID: 0x82,
  OPERATION_ACTIVE: 0x90,
  OPERATION_NOT_INITIALIZED: 0x91,
  PIN_INCORRECT: 0xa0,
  PIN_INVALID: 0xa1,
  PIN_LEN_RANGE: 0xa2,
  PIN_EXPIRED: 0xa3,
  PIN_LOCKED: 0xa4,
  SESSION_CLOSED: 0xb0,
  SESSION_COUNT: 0xb1,
  SESSION_HANDLE_INVALID: 0xb3,
  TOKEN_NOT_PRESENT: 0xe0,
  USER_ALREADY_LOGGED_IN: 0x100,
  USER_NOT_LOGGED_IN: 0x101,
  CRYPTOKI_NOT_INITIALIZED: 0x190,
  CRYPTOKI_ALREADY_INITIALIZED: 0x191,
} as const;

export const CKM = {
  GENERIC_SECRET_KEY_GEN: 0x350,
  SHA256_HMAC: 0x251,
  EC_KEY_PAIR_GEN: 0x1040,
  ECDSA: 0x1041,
  AES_KEY_GEN: 0x1080,
  AES_GCM: 0x1087,
} as const;

/** What a mechanism can be used for (CK_MECHANISM_INFO.flags), and what a token has (CK_TOKEN_INFO.flags). */
export const CKF = {
  RNG: 0x1,
  RW_SESSION: 0x2,
  SERIAL_SESSION: 0x4,
  TOKEN_INITIALIZED: 0x400,
  ENCRYPT: 0x100,
  DECRYPT: 0x200,
  SIGN: 0x800,
  GENERATE: 0x8000,
  GENERATE_KEY_PAIR: 0x10000,
  OS_LOCKING_OK: 0x2,
} as const;

export const CKA = {
  CLASS: 0x0,
  TOKEN: 0x1,
  PRIVATE: 0x2,
  LABEL: 0x3,
  KEY_TYPE: 0x100,
  SENSITIVE: 0x103,
  ENCRYPT: 0x104,
  DECRYPT: 0x105,
  SIGN: 0x108,
  VERIFY: 0x10a,
  VALUE_LEN: 0x161,
  EXTRACTABLE: 0x162,
  EC_PARAMS: 0x180,
  EC_POINT: 0x181,
} as const;

export const CKO = { PUBLIC_KEY: 2, PRIVATE_KEY: 3, SECRET_KEY: 4 } as const;
export const CKK = { EC: 0x3, GENERIC_SECRET: 0x10, AES: 0x1f } as const;
export const CKU_USER = 1;
export const CKS_RW_USER_FUNCTIONS = 3;
