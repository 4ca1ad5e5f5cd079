/** Who signs: exactly t members of one sharing, whose devices are those that the sharing was made for. */
import { equalBytes } from './bytes.ts';
import { badInput } from './errors.ts';
import type { PublicShare } from './key-share.ts';
import { deviceFingerprint, type Participant } from './participant.ts';
import { assertIndices } from './secret-sharing.ts';

export interface Signer {
  /** In the sharing. */
  readonly index: number;
  readonly identityKey: Uint8Array;
}

/** The participants of a signing session: their addresses are their indices. Throws `bad_input`. */
export function assertSigners(
  sharing: Pick<PublicShare, 'threshold' | 'parties'>,
  signers: readonly Signer[],
  { except = null }: { except?: number | null } = {},
): Participant[] {
  if (signers.length !== sharing.threshold)
    throw badInput(`Exactly ${sharing.threshold} of ${sharing.parties.length} sign, not ${signers.length}.`);
  return assertMembers(sharing, signers, { except });
}

/** Any members, ascending by index. `except`: one that may come with another device, because its share was restored there. */
export function assertMembers(
  sharing: Pick<PublicShare, 'parties'>,
  signers: readonly Signer[],
  { except = null }: { except?: number | null } = {},
): Participant[] {
  assertIndices(signers.map(({ index }) => index));
  return signers.map(({ index, identityKey }) => {
    const party = sharing.parties.find((each) => each.index === index);
    const isItsDevice = party && equalBytes(party.fingerprint, deviceFingerprint(identityKey));
    if (!party || (!isItsDevice && index !== except))
      throw badInput(`The device given as ${index} is not the one that the key share names.`);
    return { address: index, identityKey };
  });
}
