/**
 * The way out for mail, as a port: the job that sends knows a letter and whether it was taken, and nothing of SMTP.
 * `smtp.ts` hands letters to a mail server, `outbox.ts` writes them into a folder. A letter is plain text with one link
 * at most, and nothing else in it is secret. Sent twice, it has the same id, so that whoever gets it can tell.
 */
import type { SendMailOptions } from 'nodemailer';

export interface Letter {
  /** Of the row: the same however often it is sent. */
  readonly id: string;
  readonly to: string;
  readonly subject: string;
  /** Lines of ASCII. */
  readonly text: string;
  /** What one click in a mail program does (RFC 8058), as a POST to this address. */
  readonly cancelUrl: string | null;
  readonly at: Date;
}

export interface MailTransport {
  /** `refused`: this letter to this address, for good. Throws when it can't be said, or not now. */
  send(letter: Letter): Promise<'accepted' | 'refused'>;
  close(): void;
}

/** The same message whichever way it goes. */
export function messageOf({ id, to, subject, text, cancelUrl, at }: Letter, from: string): SendMailOptions {
  const host = from.slice(from.lastIndexOf('@') + 1).replace(/>.*$/, '');
  return {
    from,
    to: { name: '', address: to },
    subject,
    text,
    date: at,
    messageId: `<${id}@${host}>`,
    headers: {
      'Auto-Submitted': 'auto-generated',
      ...(cancelUrl === null
        ? {}
        : { 'List-Unsubscribe': `<${cancelUrl}>`, 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' }),
    },
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}
