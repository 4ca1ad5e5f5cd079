/**
 * Letters to a mail server by SMTP, through nodemailer. `run.ts` makes one from the configuration. Beyond this machine
 * the connection is encrypted or there is none. What it says of an address for good (5xx) is told apart from what passes; no
 * answer of the server is logged with an address in it.
 */
import { isIP } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { createTransport } from 'nodemailer';
import { type MailTransport, messageOf } from './transport.ts';

export interface SmtpOptions {
  /** `smtp://` or `smtps://`, with user and password in it if the server wants them. */
  readonly url: string;
  readonly from: string;
  /** Signs what is sent, where the mail server doesn't: its key in PEM. */
  readonly dkim?: { readonly domain: string; readonly selector: string; readonly key: string } | undefined;
  /** For one letter, from the connection to the server's word; 60,000 by default. */
  readonly letterMsMax?: number;
}

const CONNECT_MS_MAX = 10_000;
const SILENCE_MS_MAX = 20_000;
/** Mail servers count them, and few take more from one client. */
const CONNECTIONS_MAX = 5;
/** However much it talks: the letters of everybody wait behind this one. */
const LETTER_MS_MAX = 60_000;
const LATE = 'LATE';
/** What RFC 8058 wants under the signature, and what a reader goes by. */
const SIGNED_FIELDS = 'from:to:subject:date:message-id:list-unsubscribe:list-unsubscribe-post';

export function smtpTransport({ url, from, dkim, letterMsMax = LETTER_MS_MAX }: SmtpOptions): MailTransport {
  const { protocol, hostname, port, username, password } = new URL(url);
  const secure = protocol === 'smtps:';
  const host = hostname.replace(/^\[|\]$/g, '');
  const open = () =>
    createTransport({
      host,
      port: port === '' ? (secure ? 465 : 587) : Number(port),
      secure,
      requireTLS: !secure && !isLoopback(host),
      ignoreTLS: !secure && isLoopback(host),
      ...(username === '' ? {} : { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } }),
      connectionTimeout: CONNECT_MS_MAX,
      greetingTimeout: CONNECT_MS_MAX,
      socketTimeout: SILENCE_MS_MAX,
      // A connection for each letter would cost more than the letter.
      pool: true,
      maxConnections: CONNECTIONS_MAX,
      ...(dkim
        ? {
            dkim: {
              domainName: dkim.domain,
              keySelector: dkim.selector,
              privateKey: dkim.key,
              headerFieldNames: SIGNED_FIELDS,
            },
          }
        : {}),
    });
  let mailer = open();
  return {
    async send(letter) {
      const used = mailer;
      try {
        await inTime(used.sendMail(messageOf(letter, from)), letterMsMax);
        return 'accepted';
      } catch (error) {
        const { responseCode, code, command } = error as { responseCode?: unknown; code?: unknown; command?: unknown };
        if (code === LATE && used === mailer) {
          // Kept connections that hang would hold every later letter as well.
          mailer = open();
          used.close();
        }
        // Of the recipient only: a server that doesn't like our sender would have every letter given up at the first try.
        if (command === 'RCPT TO' && typeof responseCode === 'number' && responseCode >= 500) return 'refused';
        // Without its message: servers like to repeat the address.
        throw new Error(
          `The mail server did not take a letter: ${String(code ?? 'unknown')} ${String(responseCode ?? '')}`.trim(),
        );
      }
    },
    close: () => mailer.close(),
  };
}

async function inTime(sending: Promise<unknown>, ms: number): Promise<void> {
  const done = new AbortController();
  const late = setTimeout(ms, undefined, { signal: done.signal }).then(() => {
    throw Object.assign(new Error('too late'), { code: LATE });
  });
  try {
    await Promise.race([sending, late]);
  } finally {
    done.abort();
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
