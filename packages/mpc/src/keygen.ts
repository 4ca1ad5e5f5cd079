/**
 * Keygen: n devices make a key that nobody knows, t of which will sign. One session makes any number of roots; all n are
 * online. It ends with everybody's signed confirmation; the address is shown only after the self-tests of `selfTests`.
 */
import { concat, sized } from './bytes.ts';
import { badInput } from './errors.ts';
import { encodeDescriptor, type GroupDescriptor, memberOf } from './participant.ts';
import type { Protocol } from './protocol.ts';
import { SharingMachine, type SharingResult, type SharingStore } from './sharing.ts';
import { type Arithmetic, nobleArithmetic, type SuiteName, suiteNames, suiteOf } from './suite.ts';

export interface KeygenOptions {
  readonly descriptor: GroupDescriptor;
  /** The roots to make, each at most once. */
  readonly suites: readonly SuiteName[];
  /** What the members agreed to besides, such as the id of a TSS request. */
  readonly purpose: Uint8Array;
  readonly nowMs: bigint;
  readonly store: SharingStore;
  readonly arithmetic?: Arithmetic;
}

/** Session addresses are the indices of the descriptor. */
export function keygen(options: KeygenOptions): Protocol<SharingResult> {
  const { descriptor, suites, purpose, nowMs, store, arithmetic = nobleArithmetic } = options;
  const request = concat(encodeDescriptor(descriptor), encodeSuites(suites), sized(purpose));
  const participants = descriptor.members.map(({ index, identityKey }) => ({ address: index, identityKey }));
  return {
    name: 'keygen',
    suite: 0,
    sharing: null,
    participants,
    request,
    begin: (context) => {
      memberOf(descriptor, context.me);
      return new SharingMachine(
        {
          role: 'keygen',
          dealers: participants.map(({ address }) => address),
          receivers: descriptor.members.map((member) => ({ ...member, address: member.index })),
          threshold: descriptor.threshold,
          roots: suites.map((name) => ({ suite: suiteOf(name, arithmetic), known: null })),
          groupId: null,
          epoch: 1n,
          createdAtMs: nowMs,
          store,
        },
        context,
      );
    },
  };
}

/** u8 count ‖ u8 id each, ascending. */
export function encodeSuites(suites: readonly SuiteName[]): Uint8Array {
  const ids = suites.map((name) => suiteNames.indexOf(name) + 1);
  if (ids.length === 0 || ids.some((id, at) => id <= (ids[at - 1] ?? 0)))
    throw badInput(`Name the roots once each, in this order: ${suiteNames.join(', ')}.`);
  return Uint8Array.of(ids.length, ...ids);
}
