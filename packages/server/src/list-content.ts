/**
 * An approver list as it comes in a request, as it stands in rows, and as the enclave knows it. The routes of lists use
 * it, and the job that brings a change to the enclave after a crash. The ids of approvers follow from the request, so
 * that a request that is sent again asks the enclave for the same list. Names and addresses never reach the enclave.
 */
import { createHash } from 'node:crypto';
import { type ApproverId, assertListRules, type ListRules, listRulesOf, type Parsed } from '@kedge/core';
import type { ListContent } from './approver-list-store.ts';
import { RequestInvalid } from './problems.ts';

/**
 * `resource`: the id of what the request creates. `present`: whom a change may keep.
 * Throws `RequestInvalid`, and `request_invalid` as core's `assertListRules`.
 */
export function contentOf(
  body: Parsed<'createApproverList', 'body'>,
  resource: string,
  present: readonly string[] = [],
): ListContent {
  const { name, policy, window_s, cooling_period_s, links_suffice } = body;
  const approvers = body.approvers.map((approver, at) => {
    const { approver_id: kept, email = null, public_key = null } = approver;
    const invalid = (field: string, message: string) =>
      new RequestInvalid([{ path: `body.approvers.${at}.${field}`, message }]);
    if (kept !== undefined && !present.includes(kept)) throw invalid('approver_id', 'nobody of the present list');
    if (email === null && public_key === null)
      throw invalid('email', 'an approver has an address for their link, or a key to sign with');
    const { veto, must_approve } = approver;
    const id = (kept ?? idOf(resource, at)) as ApproverId;
    return { id, name: approver.name, email, public_key, veto, must_approve };
  });
  const content = { name, approvers, policy, window_s, cooling_period_s, links_suffice };
  assertListRules(rulesOf(content));
  return content;
}

export function rulesOf({ approvers, ...content }: ListContent): ListRules {
  return listRulesOf({ ...content, approvers: approvers.map(({ id, ...known }) => ({ approver_id: id, ...known })) });
}

/** RFC 9562 UUIDv8, from SHA-256. */
function idOf(resource: string, at: number): string {
  const bytes = createHash('sha256').update(`kedge/approver-id/v1\0${resource}\0${at}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
