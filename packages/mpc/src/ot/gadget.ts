/**
 * The gadget of one OT set-up: 416 public scalars g_j of which the choice bits select some, so that b = Σ β_j·g_j is close
 * to uniform even for someone who learned a few of the bits (docs/mpc.md, "Random vector OLE"). Both sides derive it from
 * the id of the set-up; it is remembered, because it takes longer than the multiplication that uses it.
 */
import { toHex, toInteger, u16be } from '../bytes.ts';
import { mod, secp256k1Group } from '../group.ts';
import { taggedHash } from '../hash.ts';
import { tags } from '../tags.ts';
import { maskOf } from './bits.ts';
import { ROWS } from './extension.ts';

/** A server signs with many set-ups; one gadget is some 40 KB. */
const REMEMBERED_MAX = 64;

interface Gadget {
  readonly scalars: readonly bigint[];
  /** The same, eight words each, low word first. */
  readonly words: Uint32Array;
}

const remembered = new Map<string, Gadget>();

export function gadget(otid: Uint8Array): readonly bigint[] {
  return gadgetOf(otid).scalars;
}

/** Σ β_j·g_j for the first 416 bits of `choices`: summed word by word, so that a bit only ever makes a mask. */
export function selectFromGadget(otid: Uint8Array, choices: Int32Array): bigint {
  const { words } = gadgetOf(otid);
  // 416 words of 32 bits are far below the 53 bits that a number adds exactly.
  const sums = new Float64Array(8);
  for (let j = 0; j < ROWS; j++) {
    const mask = maskOf(choices, j);
    for (let k = 0; k < 8; k++) sums[k] = sums[k]! + ((words[8 * j + k]! & mask) >>> 0);
  }
  let value = 0n;
  for (let k = 7; k >= 0; k--) value = (value << 32n) + BigInt(sums[k]!);
  sums.fill(0);
  return mod(value, secp256k1Group.order);
}

function gadgetOf(otid: Uint8Array): Gadget {
  const key = toHex(otid);
  let found = remembered.get(key);
  if (found) remembered.delete(key);
  else found = derive(otid);
  // Last in the map is last used, and the first one goes.
  remembered.set(key, found);
  if (remembered.size > REMEMBERED_MAX) remembered.delete(remembered.keys().next().value!);
  return found;
}

function derive(otid: Uint8Array): Gadget {
  const scalars: bigint[] = [];
  const words = new Uint32Array(8 * ROWS);
  for (let j = 0; j < ROWS; j++) {
    const scalar = toInteger(taggedHash(tags.gadget, otid, u16be(j))) % secp256k1Group.order;
    scalars.push(scalar);
    for (let k = 0; k < 8; k++) words[8 * j + k] = Number((scalar >> BigInt(32 * k)) & 0xffffffffn);
  }
  return { scalars, words };
}
