/**
 * EIP-712: structured data as a digest to sign, hashed here from the JSON that a wallet is asked with. `messages.ts` and
 * fuzzers call it. It takes one spelling of each value and no value that the types don't name, so that what a person is
 * shown is what is hashed: no missing field, no extra one, no text where a number belongs. Work is bounded by named
 * numbers whatever the input is.
 */
import { keccak_256 } from '@noble/hashes/sha3.js';
import { concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { ChainError, printable } from '../chain.ts';
import { parseAddress } from './codec.ts';

/** Read and checked, before anybody signs. */
export interface TypedData {
  /** keccak256 of `19 01 ‖ domain separator ‖ hash of the message`. */
  readonly digest: Uint8Array;
  /** As JSON had it, of the five that the standard knows. */
  readonly domain: Readonly<Record<string, unknown>>;
  /** Null where the domain names none: any chain would take the signature. */
  readonly chainId: bigint | null;
  readonly primaryType: string;
  readonly message: Readonly<Record<string, unknown>>;
  /** The fields of a type that the message may use: name → type. */
  fieldsOf(type: string): ReadonlyMap<string, string> | null;
}

const TYPES_MAX = 64;
/** In all types together. */
const FIELDS_MAX = 256;
const NAME_CHARS_MAX = 128;
/** Structs and lists within each other. */
const DEPTH_MAX = 16;
/** Every field and every entry of a list, at any depth. */
const VALUES_MAX = 4_096;
/** Of a text or bytes. With {@link VALUES_MAX} it bounds the work. */
const VALUE_BYTES_MAX = 64 * 1024;

/** The standard's fields of a domain, in its order. */
const domainFields: readonly Field[] = [
  { name: 'name', type: 'string' },
  { name: 'version', type: 'string' },
  { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' },
  { name: 'salt', type: 'bytes32' },
];
const DOMAIN = 'EIP712Domain';

interface Field {
  readonly name: string;
  readonly type: string;
}
type Types = ReadonlyMap<string, readonly Field[]>;

/** Throws `transaction_invalid`, saying which part of the JSON is wrong. */
export function readTypedData(json: unknown): TypedData {
  const { types: given, domain, primaryType, message } = recordOf(json, 'typed data', 4);
  const types = typesOf(given);
  const domainRecord = recordOf(domain, 'domain', domainFields.length);
  const expected = domainFields.filter(({ name }) => Object.hasOwn(domainRecord, name));
  if (JSON.stringify(types.get(DOMAIN) ?? expected) !== JSON.stringify(expected))
    throw invalid(`the type ${DOMAIN} names other fields than its domain has, or in another order`);
  if (typeof primaryType !== 'string' || primaryType === DOMAIN || !types.has(primaryType))
    throw invalid(`${printable(primaryType)} is no type of the message`);
  const messageRecord = recordOf(message, 'message', FIELDS_MAX);
  const withDomain = new Map(types).set(DOMAIN, expected);
  const hash = hasher(withDomain);
  const digest = keccak_256(
    concatBytes(new Uint8Array([0x19, 0x01]), hash(DOMAIN, domainRecord), hash(primaryType, messageRecord)),
  );
  const { chainId } = domainRecord;
  return {
    digest,
    domain: domainRecord,
    chainId: chainId === undefined ? null : integerOf('uint256', chainId, 'chainId'),
    primaryType,
    message: messageRecord,
    fieldsOf(type) {
      const fields = types.get(type);
      return fields === undefined ? null : new Map(fields.map((field) => [field.name, field.type]));
    },
  };
}

function typesOf(given: unknown): Types {
  const types = new Map<string, Field[]>();
  let count = 0;
  for (const [name, fields] of Object.entries(recordOf(given, 'types', TYPES_MAX))) {
    if (!isName(name) || isAtomic(name) || isDynamic(name)) throw invalid(`${printable(name)} can't name a type`);
    if (!Array.isArray(fields)) throw invalid(`the type ${name} is no list of fields`);
    count += fields.length;
    if (count > FIELDS_MAX) throw invalid(`it has more than ${FIELDS_MAX} fields`);
    const seen = new Set<string>();
    types.set(
      name,
      fields.map((field: unknown) => {
        const { name: fieldName, type } = recordOf(field, `a field of ${name}`, 2);
        if (typeof fieldName !== 'string' || !isName(fieldName) || seen.has(fieldName))
          throw invalid(`${printable(fieldName)} can't name a field of ${name}, or not twice`);
        if (typeof type !== 'string' || type.length > NAME_CHARS_MAX)
          throw invalid(`the field ${fieldName} of ${name} has no type`);
        seen.add(fieldName);
        return { name: fieldName, type };
      }),
    );
  }
  for (const fields of types.values()) {
    for (const { type } of fields) {
      const base = baseOf(type);
      if (base === null || !(types.has(base) || isAtomic(base) || isDynamic(base)))
        throw invalid(`there is no type ${printable(type)}`);
    }
  }
  return types;
}

/** Gives `hashStruct` of the standard, with one budget of values for all calls. */
function hasher(types: Types): (type: string, value: unknown) => Uint8Array {
  const typeHashes = new Map<string, Uint8Array>();
  let values = 0;

  const typeHash = (name: string): Uint8Array => {
    const known = typeHashes.get(name);
    if (known !== undefined) return known;
    const made = keccak_256(utf8ToBytes(encodeType(types, name)));
    typeHashes.set(name, made);
    return made;
  };
  const hashStruct = (name: string, value: unknown, depth: number): Uint8Array => {
    const fields = types.get(name) ?? [];
    const record = recordOf(value, name, fields.length);
    const words = fields.map(({ name: field, type }) => {
      if (!Object.hasOwn(record, field)) throw invalid(`${name} lacks ${field}`);
      return word(type, record[field], field, depth + 1);
    });
    return keccak_256(concatBytes(typeHash(name), ...words));
  };
  /** The 32 bytes that stand for a value. */
  const word = (type: string, value: unknown, name: string, depth: number): Uint8Array => {
    if (depth > DEPTH_MAX) throw invalid(`it is nested more than ${DEPTH_MAX} deep`);
    if (++values > VALUES_MAX) throw invalid(`it has more than ${VALUES_MAX} values`);
    const list = /^(.*)\[([0-9]*)\]$/.exec(type);
    if (list !== null) {
      const [, item = '', length = ''] = list;
      if (!Array.isArray(value) || value.length > VALUES_MAX || (length !== '' && value.length !== Number(length)))
        throw invalid(`${name} is no ${type}`);
      return keccak_256(concatBytes(...value.map((entry: unknown) => word(item, entry, name, depth + 1))));
    }
    if (types.has(type)) return hashStruct(type, value, depth);
    if (type === 'string') return keccak_256(textOf(value, name));
    if (type === 'bytes') return keccak_256(bytesOf(value, name));
    return atomicWord(type, value, name);
  };
  return (type, value) => hashStruct(type, value, 0);
}

/** `encodeType` of the standard: the type itself, then those that it refers to, sorted. */
function encodeType(types: Types, name: string): string {
  const found = new Set([name]);
  for (const one of found) {
    for (const { type } of types.get(one) ?? []) {
      const base = baseOf(type);
      if (base !== null && types.has(base)) found.add(base);
    }
  }
  found.delete(name);
  return [name, ...[...found].sort()]
    .map((one) => `${one}(${(types.get(one) ?? []).map((field) => `${field.type} ${field.name}`).join(',')})`)
    .join('');
}

function atomicWord(type: string, value: unknown, name: string): Uint8Array {
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw invalid(`${name} is neither true nor false`);
    return wordOf(value ? 1n : 0n);
  }
  if (type === 'address') return wordOf(BigInt(addressOf(value, name)));
  if (type.startsWith('bytes')) {
    const bytes = bytesOf(value, name);
    if (bytes.length !== Number(type.slice(5))) throw invalid(`${name} is no ${type}`);
    const padded = new Uint8Array(32);
    padded.set(bytes);
    return padded;
  }
  return wordOf(BigInt.asUintN(256, integerOf(type, value, name)));
}

/** A JSON number up to 2^53, or a text: decimal, or `0x` and hex. Throws when it doesn't fit the type. */
export function integerOf(type: string, value: unknown, name: string): bigint {
  const spelled =
    (typeof value === 'number' && Number.isSafeInteger(value)) ||
    (typeof value === 'string' && /^(-?(0|[1-9][0-9]{0,77})|0x[0-9a-fA-F]{1,64})$/.test(value) && value !== '-0');
  if (!spelled) throw invalid(`${name} is no whole number`);
  const number = BigInt(value as string | number);
  const bits = Number(type.replace(/^u?int/, ''));
  const fits = type.startsWith('u') ? BigInt.asUintN(bits, number) : BigInt.asIntN(bits, number);
  if (fits !== number) throw invalid(`${name} doesn't fit ${type}`);
  return number;
}

/** Throws when it is none. */
export function addressOf(value: unknown, name: string): string {
  try {
    return parseAddress(typeof value === 'string' ? value : '');
  } catch {
    throw invalid(`${name} is no address`);
  }
}

export function invalid(what: string): ChainError {
  return new ChainError('transaction_invalid', `The message can't be signed: ${what}. Ask whoever made it.`);
}

/** A JSON object with at most so many members, and its own ones only. */
function recordOf(value: unknown, name: string, membersMax: number): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Object.keys(value).length > membersMax)
    throw invalid(`${name} is no object, or has members that nobody asked for`);
  return value as Readonly<Record<string, unknown>>;
}

function textOf(value: unknown, name: string): Uint8Array {
  if (typeof value !== 'string' || value.length > VALUE_BYTES_MAX || /\p{Surrogate}/u.test(value))
    throw invalid(`${name} is no text, or too long`);
  return utf8ToBytes(value);
}

function bytesOf(value: unknown, name: string): Uint8Array {
  if (typeof value !== 'string' || value.length > 2 + 2 * VALUE_BYTES_MAX || !/^0x([0-9a-fA-F]{2})*$/.test(value))
    throw invalid(`${name} is no bytes, or too many`);
  return hexToBytes(value.slice(2));
}

function wordOf(value: bigint): Uint8Array {
  return hexToBytes(value.toString(16).padStart(64, '0'));
}

function isName(text: string): boolean {
  return text.length <= NAME_CHARS_MAX && /^[A-Za-z_$][A-Za-z0-9_$]*$/.test(text);
}

/** The type inside the lists; null for no type. */
function baseOf(type: string): string | null {
  return /^([^[\]]+)(\[(0|[1-9][0-9]{0,3})?\])*$/.exec(type)?.[1] ?? null;
}

function isDynamic(type: string): boolean {
  return type === 'string' || type === 'bytes';
}

/** The standard knows no `uint` without its bits. */
function isAtomic(type: string): boolean {
  const bits = Number(/^u?int([1-9][0-9]{0,2})$/.exec(type)?.[1] ?? 0);
  const bytes = Number(/^bytes([1-9][0-9]?)$/.exec(type)?.[1] ?? 0);
  return (
    type === 'bool' || type === 'address' || (bits > 0 && bits <= 256 && bits % 8 === 0) || (bytes > 0 && bytes <= 32)
  );
}
