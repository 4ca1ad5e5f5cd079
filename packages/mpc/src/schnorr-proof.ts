/**
 * Proof of knowledge of a discrete logarithm, bound to the session, the prover and the place of the statement
 * (Schnorr 1991 with the Fiat-Shamir rules of docs/mpc.md: statement, session and role are all in the challenge).
 */
import { concat, Reader, u8, u16be } from './bytes.ts';
import { type Group, mod, type Point } from './group.ts';
import { hashToScalar } from './hash.ts';
import { tags } from './tags.ts';

export interface ProofContext {
  readonly sid: Uint8Array;
  /** Session address of the prover. */
  readonly prover: number;
  readonly role: 'keygen' | 'reshare' | 'backup';
  readonly coefficient: number;
}

const roles = { keygen: 1, reshare: 2, backup: 3 } as const;

export const proofBytes = (group: Group): number => group.pointBytes + 32;

/** K ‖ z with z = k + e·a, for `statement` = a·G. `nonce` is random, non-zero and never used again. */
export function prove(
  group: Group,
  context: ProofContext,
  secret: bigint,
  statement: Point,
  nonce: bigint,
): Uint8Array {
  const commitment = group.encode(group.base(nonce));
  const e = challenge(group, context, group.encode(statement), commitment);
  return concat(commitment, group.encodeScalar(mod(nonce + e * secret, group.order)));
}

export function verifyProof(group: Group, context: ProofContext, statement: Point, proof: Uint8Array): boolean {
  const reader = new Reader(proof, 'proof of knowledge');
  const commitment = reader.take(group.pointBytes);
  const z = group.decodeScalar(reader.take(32));
  reader.end();
  const e = challenge(group, context, group.encode(statement), commitment);
  const expected = group.add(group.decode(commitment), group.mulPublic(statement, e));
  return group.equals(group.base(z), expected);
}

function challenge(group: Group, context: ProofContext, statement: Uint8Array, commitment: Uint8Array): bigint {
  return hashToScalar(
    tags.proofOfKnowledge,
    group.order,
    context.sid,
    u8(context.prover),
    u8(roles[context.role]),
    u16be(context.coefficient),
    statement,
    commitment,
  );
}
