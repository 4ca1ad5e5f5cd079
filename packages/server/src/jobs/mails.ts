/**
 * Sends the letters that wait. Woken by the scheduler; the rows say what is to be sent. Each try is noted before it is
 * made, so a letter whose fate a crash hid goes out again later under the same id, and none goes out twice for another
 * reason. A server that is away costs time: the waits grow, and after the last try the letter is given up, with a line
 * in the log that names no address.
 */
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '@kedge/core';
import { dropMail, listDueMails, type MailRow, noteMailAttempt, noteMailSent } from '../mail-store.ts';
import { letterOf } from '../notify/letters.ts';
import { wakeRecovery } from '../recovery-store.ts';
import type { Job } from '../scheduler.ts';
import type { Services } from '../services.ts';
import { acrossProjects, inProject } from '../store.ts';
import { eachDue } from './each-due.ts';

const FIRST_WAIT_MS = 30 * SECOND_MS;
const WAIT_MS_MAX = HOUR_MS;
/** Half a minute, then twice as long each time up to an hour: about two days in all. */
const ATTEMPTS_MAX = 54;

export function mailJob(services: Services): Job {
  const { db, clock, log } = services;
  return {
    name: 'mails',
    everyMs: 2 * SECOND_MS,
    run(stopping) {
      const now = new Date(clock.wallMs());
      return eachDue({
        stopping,
        list: (limit) => listDueMails(acrossProjects(db), now, limit),
        work: (mail) => sendMail(services, mail),
        failed: (mail, error) =>
          log.warn({ mail: mail.id, attempts: mail.attempts, err: error }, 'a letter could not be sent'),
      });
    },
  };
}

async function sendMail(services: Services, mail: MailRow): Promise<void> {
  const { db, clock, log } = services;
  const on = inProject(db, mail.project);
  const isLast = mail.attempts + 1 >= ATTEMPTS_MAX;
  if (mail.attempts >= ATTEMPTS_MAX) {
    await dropMail(on, mail.id);
    log.error({ mail: mail.id, kind: mail.kind }, 'a letter was given up');
    return;
  }
  const again = new Date(clock.wallMs() + (isLast ? MINUTE_MS : waitMs(mail.attempts)));
  if (!(await noteMailAttempt(on, mail, again))) return;
  const letter = await letterOf(services, mail);
  if (letter === null) return dropMail(on, mail.id);
  if ((await services.mail.send(letter)) === 'refused') {
    await dropMail(on, mail.id);
    log.warn({ mail: mail.id, kind: mail.kind }, 'the mail server refuses a letter for good');
    return;
  }
  const at = new Date(clock.wallMs());
  await db.transaction(async (tx) => {
    const inside = inProject(tx, mail.project);
    await noteMailSent(inside, mail.id, at);
    // The enclave waits for word that somebody was alerted.
    if (mail.kind === 'alert') await wakeRecovery(inside, mail.subject, at);
  });
}

function waitMs(attempts: number): number {
  return Math.min(WAIT_MS_MAX, FIRST_WAIT_MS * 2 ** attempts);
}
