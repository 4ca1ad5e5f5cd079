/**
 * The pages behind links: vote on a recovery, vote on a change of a list, cancel a recovery. `app.ts` serves them to
 * whoever has the link, which is all the credential there is: the principal `approver`. Reading changes nothing, however
 * often and by whatever method mail scanners read; one POST acts, once. A link that was used, that is over or that never
 * was reads the same.
 */
import { errorEntry, fromBase64Url, isOpenRecovery, KedgeError } from '@kedge/core';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { findApproverList, findListChangeById } from '../approver-list-store.ts';
import { findBackupKey } from '../backup-key-store.ts';
import { tokenHash } from '../links.ts';
import { getListChange, planChangeStep, takeChangeStep } from '../list-changes.ts';
import { accountWords, listWords, planWords } from '../plain-words.ts';
import { toKedgeError } from '../problems.ts';
import { getRecovery, planStep, takeStep } from '../recovery-progress.ts';
import {
  findLink,
  insertVote,
  type LinkKind,
  type LinkRow,
  listPlannedTransactions,
  type RecoveryRow,
  useLink,
} from '../recovery-store.ts';
import type { Services } from '../services.ts';
import { acrossProjects, inProject } from '../store.ts';
import { type LinkPage, linkPageHtml, linkPagePolicy } from './link-page.ts';

/** Every page that a link opens: where, and what its token must be for. A page without a row is not served. */
export const linkPages: { readonly [K in LinkKind]: { readonly path: string; readonly principal: 'approver' } } = {
  vote_recovery: { path: '/approvals/:subject/:recipient/:token', principal: 'approver' },
  vote_change: { path: '/approvals/changes/:list/:subject/:recipient/:token', principal: 'approver' },
  cancel_recovery: { path: '/cancellations/:subject/:recipient/:token', principal: 'approver' },
};

const FORM_BYTES_MAX = 4 * 1024;
/** One click in a mail program may come as multipart/form-data (RFC 8058). */
const takesForms = { config: { upload: true } as object };

interface Handler {
  show(link: LinkRow): Promise<LinkPage | null>;
  /** Null: the link does nothing any more. */
  act(link: LinkRow, choice: string | null): Promise<LinkPage | null>;
}

const gone: LinkPage = {
  status: 404,
  title: 'This link does nothing',
  paragraphs: [
    'It was used, or what it was for is over, or it is not one of ours.',
    'If you did not use it and expected it to work, ask whoever runs the service.',
  ],
};

export async function serveLinkPages(
  app: FastifyInstance,
  services: Services,
  limit: (request: FastifyRequest, reply: FastifyReply) => Promise<void>,
): Promise<void> {
  const handlers: { readonly [K in LinkKind]: Handler } = {
    vote_recovery: voteOnRecovery(services),
    vote_change: voteOnChange(services),
    cancel_recovery: cancellation(services),
  };
  // A scope of its own: forms are taken here and nowhere else.
  await app.register(async (scope) => {
    scope.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: FORM_BYTES_MAX },
      (_, body, done) => done(null, body),
    );
    for (const kind of Object.keys(linkPages) as LinkKind[]) {
      const url = linkPages[kind].path;
      const handler = handlers[kind];
      scope.route({
        method: ['GET', 'HEAD', 'POST', 'OPTIONS'],
        url,
        bodyLimit: FORM_BYTES_MAX,
        ...takesForms,
        onRequest: limit,
        handler: async (request, reply) => {
          if (request.method === 'OPTIONS') return reply.code(204).header('allow', 'GET, HEAD, POST').send();
          return send(reply, await answer(services, kind, handler, request));
        },
      });
      scope.route({
        method: ['PUT', 'PATCH', 'DELETE'],
        url,
        onRequest: async (_, reply) => {
          reply.header('allow', 'GET, HEAD, POST');
          throw new KedgeError('method_not_allowed');
        },
        handler: () => undefined,
      });
    }
  });
}

async function answer(
  services: Services,
  kind: LinkKind,
  handler: Handler,
  request: FastifyRequest,
): Promise<LinkPage> {
  try {
    const link = await linkOf(services, kind, request.params as Record<string, string>);
    if (link === null) return gone;
    if (request.method !== 'POST') return (await handler.show(link)) ?? gone;
    return (await handler.act(link, choiceOf(request.body))) ?? gone;
  } catch (error) {
    const failure = toKedgeError(error);
    const { status } = errorEntry(failure.code);
    // What the enclave refuses is a link that does nothing any more.
    if (status < 500) return gone;
    request.log.error({ err: failure, code: failure.code }, 'a page behind a link failed');
    return {
      status,
      title: 'That did not work just now',
      paragraphs: ['Nothing was lost: open the link again in a minute.'],
    };
  }
}

async function linkOf(
  { db }: Services,
  kind: LinkKind,
  { subject, recipient, token }: Record<string, string>,
): Promise<LinkRow | null> {
  const hash = tokenHash(token ?? '');
  const link = hash && (await findLink(acrossProjects(db), hash));
  if (!link || link.kind !== kind || link.subject !== subject || link.recipient !== recipient) return null;
  return link.used_at === null ? link : null;
}

/** What was pressed. Anything else, as one click in a mail program, is a choice of nothing. */
function choiceOf(body: unknown): string | null {
  return typeof body === 'string' ? new URLSearchParams(body).get('choice') : null;
}

function send(reply: FastifyReply, page: LinkPage): FastifyReply {
  return reply
    .code(page.status)
    .headers({
      'cache-control': 'no-store',
      'content-security-policy': linkPagePolicy,
      'referrer-policy': 'no-referrer',
      'x-robots-tag': 'noindex',
    })
    .type('text/html; charset=utf-8')
    .send(linkPageHtml(page));
}

// ── votes ────────────────────────────────────────────────────────────────────────────────────────────────────────

const voteButtons = [
  { name: 'choice', value: 'approve', label: 'Approve' },
  { name: 'choice', value: 'reject', label: 'Reject' },
];

const isChoice = (choice: string | null): choice is 'approve' | 'reject' => choice === 'approve' || choice === 'reject';

const counted = (choice: 'approve' | 'reject'): LinkPage => ({
  status: 200,
  title: 'Your vote is counted',
  paragraphs: [
    choice === 'approve' ? 'You approved.' : 'You rejected.',
    'A vote is not changed. You can close this page.',
  ],
});

/** A page with the two buttons. Pressed without a choice, it is shown again. */
function ballot(show: Handler['show'], vote: (link: LinkRow, choice: 'approve' | 'reject') => Promise<void>): Handler {
  return {
    show,
    async act(link, choice) {
      if (!isChoice(choice)) {
        const page = await show(link);
        return page && { ...page, status: 400 };
      }
      await vote(link, choice);
      return counted(choice);
    },
  };
}

function voteOnRecovery(services: Services): Handler {
  const show = async ({ project, subject }: LinkRow): Promise<LinkPage | null> => {
    const row = await getRecovery(services, project, subject);
    if (row.status !== 'approving') return null;
    const words = await wordsOf(services, row);
    return {
      status: 200,
      title: 'Your vote on a recovery',
      paragraphs: words.paragraphs,
      boxes: words.boxes,
      closing: [
        `Votes are taken until ${row.votes_until.toISOString().slice(0, 16).replace('T', ' ')} UTC.`,
        'If you know of no loss, ask the owner before you vote, by another way than mail.',
      ],
      buttons: voteButtons,
    };
  };
  return ballot(show, async (link, choice) => {
    const { project, subject: recovery, recipient: approver } = link;
    const { id } = await getRecovery(services, project, recovery);
    const token = await tokenOf(services, link);
    const voted = await services.enclave.voteRecovery({ project, recovery, approver, choice, proof: null, token });
    const at = new Date(services.clock.wallMs());
    await takeStep(
      services,
      planStep(services, await getRecovery(services, project, recovery), {
        ...voted,
        happenings: [{ type: 'recovery.voted', project, data: { recovery, approver, choice } }],
        async write(on) {
          await insertVote(on, id, { approver, choice, at });
          await useLink(on, link, at);
        },
      }),
    );
  });
}

function voteOnChange(services: Services): Handler {
  const rowOf = async ({ project, subject }: LinkRow) => {
    const on = inProject(services.db, project);
    const change = await findListChangeById(on, subject);
    if (change === null) throw new KedgeError('not_found');
    return change;
  };
  const show = async (link: LinkRow): Promise<LinkPage | null> => {
    const change = await rowOf(link);
    if (change.status !== 'open') return null;
    const list = await findApproverList(inProject(services.db, link.project), change.list);
    return {
      status: 200,
      title: 'Your vote on a list of approvers',
      paragraphs: ['Somebody has asked to change who decides over recoveries.'],
      boxes: [
        ['As it is now:', ...(list === null ? [] : listWords(list))],
        ['As it would become:', ...listWords(change.content)],
      ],
      closing: ['If nobody told you of this, reject it.'],
      buttons: voteButtons,
    };
  };
  return ballot(show, async (link, choice) => {
    const { project, subject: change, recipient: approver } = link;
    const { list } = await rowOf(link);
    const token = await tokenOf(services, link);
    const voted = await services.enclave.voteListChange({
      project,
      list,
      change,
      approver,
      choice,
      proof: null,
      token,
    });
    const at = new Date(services.clock.wallMs());
    await takeChangeStep(
      services,
      planChangeStep(services, await getListChange(services, project, list, change), {
        ...voted,
        happenings: [{ type: 'approver_list.change_voted', project, data: { change, approver, choice } }],
        async write(on) {
          await insertVote(on, change, { approver, choice, at });
          await useLink(on, link, at);
        },
      }),
    );
  });
}

/** The token of the link, for the enclave to judge. */
async function tokenOf({ key }: Services, link: LinkRow): Promise<Uint8Array> {
  const text = key.open(link.sealed_token, link.token_hash);
  if (text === null) throw new KedgeError('internal', 'The key of the gateway is not the one that made this link.');
  return fromBase64Url(text);
}

// ── cancellation ─────────────────────────────────────────────────────────────────────────────────────────────────

function cancellation(services: Services): Handler {
  return {
    async show({ project, subject }) {
      const row = await getRecovery(services, project, subject);
      if (!isOpenRecovery(row.status)) return null;
      const words = await wordsOf(services, row);
      return {
        status: 200,
        title: 'Cancel a recovery',
        paragraphs: words.paragraphs,
        boxes: words.boxes,
        closing: [
          'If you did not expect this, cancel it. That is final; whoever needs a recovery can ask for another.',
        ],
        buttons: [{ name: 'choice', value: 'cancel', label: 'Cancel this recovery' }],
      };
    },
    async act({ project, subject: recovery, recipient }) {
      const by = `participant/${recipient}`;
      const cancelled = await services.enclave.cancelRecovery({ project, recovery, by });
      const step = planStep(services, await getRecovery(services, project, recovery), cancelled);
      if (step.happenings.length === 0) return null; // somebody else was quicker
      await takeStep(services, {
        ...step,
        happenings: step.happenings.map((happening) => ({ ...happening, data: { ...happening.data, by } })),
      });
      return {
        status: 200,
        title: 'The recovery is cancelled',
        paragraphs: ['Nothing will be signed. That you cancelled it is written down. You can close this page.'],
      };
    },
  };
}

/** From the bytes that would be signed. */
async function wordsOf(services: Services, row: RecoveryRow) {
  const on = inProject(services.db, row.project);
  const key = await findBackupKey(on, row.key_id);
  return {
    paragraphs: [
      'Somebody has asked to recover a wallet with a backup key.',
      ...(row.sandbox ? ['It is a rehearsal: nothing that it signs is worth anything.'] : []),
      ...accountWords(row, key?.user_identifier ?? ''),
      'This is all that it would do:',
    ],
    boxes: planWords(row, await listPlannedTransactions(on, row.id)),
  };
}
