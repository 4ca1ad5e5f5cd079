/**
 * The text of each letter, made when it is sent from the rows that it is about: nothing of it is stored, and one whose
 * subject is over is not written any more. The job that sends mail calls it. A letter names no amount and no address of
 * a wallet, because mail is read by many; the page behind its link shows them.
 */
import { bytesToHex, DAY_MS, isOpenRecovery } from '@kedge/core';
import { findApproverList, findListChangeById } from '../approver-list-store.ts';
import { linkUrl } from '../links.ts';
import type { MailRow } from '../mail-store.ts';
import { findLinkOf, findRecovery, type LinkKind, type RecoveryRow } from '../recovery-store.ts';
import type { Services } from '../services.ts';
import { inProject } from '../store.ts';
import type { Letter } from './transport.ts';

type Text = Pick<Letter, 'subject' | 'cancelUrl'> & { readonly lines: readonly string[] };

/** Null for one that has nothing to say any more. */
export async function letterOf(services: Services, mail: MailRow): Promise<Letter | null> {
  const text = await textOf(services, mail);
  if (text === null) return null;
  const { subject, lines, cancelUrl } = text;
  return { id: mail.id, to: mail.email, subject, text: `${lines.join('\n')}\n`, cancelUrl, at: mail.created_at };
}

async function textOf(services: Services, mail: MailRow): Promise<Text | null> {
  switch (mail.kind) {
    case 'drill_overdue':
      return drillText(mail);
    case 'change_vote_requested':
      return changeText(services, mail);
    default: {
      const row = await findRecovery(inProject(services.db, mail.project), mail.subject);
      if (row === null || !isOpenRecovery(row.status)) return null;
      return mail.kind === 'vote_requested' ? voteText(services, mail, row) : alertText(services, mail, row);
    }
  }
}

async function voteText(services: Services, mail: MailRow, row: RecoveryRow): Promise<Text | null> {
  if (row.status !== 'approving') return null;
  const url = await urlOf(services, mail, 'vote_recovery');
  return {
    subject: row.sandbox ? 'Rehearsal: your vote on a recovery is asked for' : 'Your vote on a recovery is asked for',
    cancelUrl: null,
    lines: [
      'Somebody has asked to recover a wallet for which you are an approver.',
      ...(row.sandbox ? ['It is a rehearsal: nothing that it signs is worth anything.'] : []),
      '',
      ...(url === null
        ? [
            'You vote with your key, in your app:',
            '',
            `  recovery ${row.id}`,
            `  plan     ${bytesToHex(row.plan_hash)}`,
          ]
        : ['Look at what it would do, and approve or reject it, here:', '', url]),
      '',
      `Votes are taken until ${timeText(row.votes_until)}.`,
      'If you know of no loss, ask the owner before you vote, by another way than mail.',
    ],
  };
}

async function alertText(services: Services, mail: MailRow, row: RecoveryRow): Promise<Text | null> {
  const url = await urlOf(services, mail, 'cancel_recovery');
  const opening =
    mail.kind === 'alert'
      ? 'Somebody has asked to recover a wallet of yours with its backup key.'
      : 'The recovery of a wallet of yours with its backup key is still going on.';
  const subjects = {
    alert: 'A recovery of your wallet was asked for',
    final_warning: 'Last warning: your wallet is about to be recovered',
  } as const;
  const subject =
    mail.kind === 'alert' || mail.kind === 'final_warning' ? subjects[mail.kind] : 'Your wallet is being recovered';
  return {
    subject: row.sandbox ? `Rehearsal: ${subject}` : subject,
    cancelUrl: url,
    lines: [
      opening,
      ...(row.sandbox ? ['It is a rehearsal: nothing that it signs is worth anything.'] : []),
      ...(mail.kind === 'final_warning' ? ['It can be released within a day from now.'] : []),
      ...leftText(row),
      '',
      'If you expected this, there is nothing to do.',
      ...(url === null
        ? ['If not, have the service cancel it now.']
        : ['If not, cancel it here. That is final, and one click more on the page:', '', url]),
    ],
  };
}

function leftText({ status, cooling_left_s: left }: RecoveryRow): string[] {
  if (status !== 'cooling' || left === null) return [];
  const days = Math.max(1, Math.round((left * 1_000) / DAY_MS));
  return [`Its approvers have agreed. It can be cancelled for about ${days} more ${days === 1 ? 'day' : 'days'}.`];
}

async function changeText(services: Services, mail: MailRow): Promise<Text | null> {
  const on = inProject(services.db, mail.project);
  const change = await findListChangeById(on, mail.subject);
  if (change === null || change.status !== 'open') return null;
  const list = await findApproverList(on, change.list);
  const url = await urlOf(services, mail, 'vote_change', change.list);
  return {
    subject: 'Your vote on a list of approvers is asked for',
    cancelUrl: null,
    lines: [
      'Somebody has asked to change who decides over recoveries, in a list that you are in:',
      '',
      `  ${plainName(list?.name ?? '')}`,
      '',
      ...(url === null
        ? [
            'You vote with your key, in your app:',
            '',
            `  change ${change.id}`,
            `  rules  ${bytesToHex(change.rules_hash)}`,
          ]
        : ['Look at what it would become, and approve or reject it, here:', '', url]),
    ],
  };
}

function drillText(mail: MailRow): Text {
  return {
    subject: 'A recovery should be rehearsed',
    cancelUrl: null,
    lines: [
      'The recovery of a backup key has not been rehearsed for as long as you wanted to be told of.',
      '',
      `  key ${mail.subject}`,
      '',
      'A rehearsal takes a throw-away key and touches nothing real. See `createRehearsal` in the API.',
    ],
  };
}

async function urlOf(services: Services, mail: MailRow, kind: LinkKind, list?: string): Promise<string | null> {
  const link = await findLinkOf(inProject(services.db, mail.project), {
    subject: mail.subject,
    kind,
    recipient: mail.recipient,
  });
  return link && linkUrl(services, link, list);
}

function timeText(at: Date): string {
  return `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

/** Names are the integrator's; a letter is plain, and a mail program finds nothing in them to make a link of. */
function plainName(text: string): string {
  return text.replace(/[^A-Za-z0-9 ,_()-]/g, '?');
}
