/**
 * Letters as files: one `.eml` each in a folder, for a service without a mail server. `run.ts` takes it by default, so
 * that a first recovery can be tried and its links be found. A letter that is sent again replaces itself.
 */
import { mkdirSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { type MailTransport, messageOf } from './transport.ts';

export function outboxTransport(folder: string, from: string): MailTransport {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const writer = createTransport({ streamTransport: true, buffer: true, newline: 'unix' });
  return {
    async send(letter) {
      const { message } = await writer.sendMail(messageOf(letter, from));
      const path = join(folder, `${letter.id}.eml`);
      const file = await open(`${path}.part`, 'w', 0o600);
      try {
        await file.writeFile(message as Buffer);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.part`, path);
      return 'accepted';
    },
    close: () => writer.close(),
  };
}
