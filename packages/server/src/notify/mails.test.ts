/** Letters on their way out: to a real mail server by SMTP, to a folder, once each, whatever dies meanwhile. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import { openTestEnclave } from '@kedge/enclave/testing';
import PostalMime, { type Email } from 'postal-mime';
import { SMTPServer } from 'smtp-server';
import { ada, ben, createTestGateway, migratedDatabase, type TestGateway } from '../testing/gateway.ts';
import { createRecoveryWorld, type RecoveryWorld } from '../testing/recovery-world.ts';
import { outboxTransport } from './outbox.ts';
import { smtpTransport } from './smtp.ts';
import type { Letter, MailTransport } from './transport.ts';

const from = 'Kedge <kedge@example.org>';
const letter: Letter = {
  id: '0198a000-0000-7000-8000-00000000000a',
  to: 'eve@example.org',
  subject: 'A recovery of your wallet was asked for',
  text: 'Look here:\n\nhttps://keys.example/cancellations/a/b/c\n',
  cancelUrl: `https://keys.example/cancellations/0198a000-0000-7000-8000-00000000000a/0198a000-0000-7000-8000-00000000000b/${'t'.repeat(43)}`,
  at: new Date('2026-01-02T03:04:05Z'),
};

describe('mail', () => {
  let server: SMTPServer;
  let url: string;
  const received: (Email & { readonly raw: string; readonly rcpt: string[] })[] = [];
  /** What the server answers to a recipient; null: it takes the letter. */
  let refusal: { readonly code: number; readonly at: 'mail' | 'rcpt' | 'data' } | null = null;
  before(async () => {
    const failure = (code: number) => Object.assign(new Error('not for you'), { responseCode: code });
    server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS'],
      onMailFrom: (_, __, done) => done(refusal?.at === 'mail' ? failure(refusal.code) : null),
      onRcptTo: (_, __, done) => done(refusal?.at === 'rcpt' ? failure(refusal.code) : null),
      onData(stream, session, done) {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => {
          if (refusal !== null) return done(failure(refusal.code));
          const raw = Buffer.concat(chunks);
          void PostalMime.parse(raw).then((email) => {
            const rcpt = session.envelope.rcptTo.map(({ address }) => address);
            received.push({ ...email, raw: raw.toString('utf8'), rcpt });
            done();
          });
        });
      },
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    refusal = null;
    received.length = 0;
  });
  after(() => new Promise<void>((resolve) => server.close(resolve)));

  const headerOf = (email: Email, name: string) => email.headers.find(({ key }) => key === name)?.value;

  it('arrives as it was written, with one click to cancel, and the same id each time', async () => {
    const smtp = smtpTransport({ url, from });
    assert.equal(await smtp.send(letter), 'accepted');
    await smtp.send(letter);
    smtp.close();
    const [first, second] = received;
    assert.deepEqual(first!.rcpt, [letter.to]);
    assert.equal(first!.subject, letter.subject);
    assert.equal(first!.text?.trim(), letter.text.trim());
    assert.equal(first!.html, undefined);
    assert.deepEqual([first!.from?.address, first!.from?.name], ['kedge@example.org', 'Kedge']);
    assert.equal(new Date(first!.date!).getTime(), letter.at.getTime());
    assert.equal(headerOf(first!, 'list-unsubscribe'), `<${letter.cancelUrl}>`);
    assert.equal(headerOf(first!, 'list-unsubscribe-post'), 'List-Unsubscribe=One-Click');
    assert.equal(first!.messageId, `<${letter.id}@example.org>`);
    assert.equal(second!.messageId, first!.messageId);
  });

  it('has no click to cancel where there is nothing to cancel', async () => {
    const smtp = smtpTransport({ url, from });
    await smtp.send({ ...letter, cancelUrl: null });
    smtp.close();
    assert.equal(headerOf(received[0]!, 'list-unsubscribe'), undefined);
    assert.equal(headerOf(received[0]!, 'list-unsubscribe-post'), undefined);
  });

  it('is signed, with what one click goes by under the signature, where the mail server does not sign', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
    const smtp = smtpTransport({ url, from, dkim: { domain: 'example.org', selector: 'kedge', key } });
    await smtp.send(letter);
    smtp.close();
    const signature = headerOf(received[0]!, 'dkim-signature')!;
    assert.match(signature, /d=example\.org;/);
    const signed = /[;\s]h=([^;]+);/.exec(signature)![1]!.toLowerCase().replace(/\s/g, '').split(':');
    for (const name of ['from', 'to', 'list-unsubscribe', 'list-unsubscribe-post'])
      assert.equal(signed.includes(name), true, name);
  });

  it('tells an address that is refused for good from a server that wants to be asked later', async () => {
    const smtp = smtpTransport({ url, from });
    refusal = { code: 550, at: 'rcpt' };
    assert.equal(await smtp.send(letter), 'refused');
    for (refusal of [{ code: 450, at: 'rcpt' } as const, { code: 451, at: 'data' } as const])
      await assert.rejects(smtp.send(letter), (error: Error) => !error.message.includes('eve@'));
    smtp.close();
    await assert.rejects(smtpTransport({ url: 'smtp://127.0.0.1:1', from }).send(letter), /did not take a letter/);
  });

  it('is not given up for good because the server refuses its sender: attack of the silenced alerts', async () => {
    const smtp = smtpTransport({ url, from });
    refusal = { code: 550, at: 'mail' };
    await assert.rejects(smtp.send(letter), /did not take a letter/);
    refusal = null;
    assert.equal(await smtp.send(letter), 'accepted');
    smtp.close();
  });

  it('waits for no server that never comes to its point: attack of the endless greeting', async (t) => {
    const endless = createServer((socket) => {
      socket.on('error', () => undefined).write('220 here\r\n');
      const talk = setInterval(() => socket.write('250-and another thing\r\n'), 20);
      socket.on('close', () => clearInterval(talk));
      t.after(() => socket.destroy());
    });
    await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve));
    t.after(() => endless.close());
    const { port } = endless.address() as AddressInfo;
    const smtp = smtpTransport({ url: `smtp://127.0.0.1:${port}`, from, letterMsMax: 300 });
    const patience = AbortSignal.timeout(5_000);
    const outcome = await Promise.race([
      smtp.send(letter).catch((error: Error) => error.message),
      once(patience, 'abort').then(() => 'still waiting'),
    ]);
    assert.equal(outcome, 'The mail server did not take a letter: LATE');
    smtp.close();
  });

  it('goes beyond this machine encrypted, or not at all', async () => {
    const smtp = smtpTransport({ url: url.replace('127.0.0.1', '0.0.0.0'), from });
    await assert.rejects(smtp.send(letter));
    smtp.close();
    assert.deepEqual(received, []);
  });

  it('without a server is a file that nobody else reads, one for each letter', async () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'kedge-outbox-')), 'outbox');
    const outbox = outboxTransport(folder, from);
    await outbox.send(letter);
    await outbox.send(letter);
    outbox.close();
    assert.deepEqual(readdirSync(folder), [`${letter.id}.eml`]);
    const file = join(folder, `${letter.id}.eml`);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const text = readFileSync(file, 'utf8');
    assert.match(text, /^https:\/\/keys\.example\/cancellations\/a\/b\/c$/m);
    assert.equal((await PostalMime.parse(text)).text?.trim(), letter.text.trim());
  });

  describe('of a recovery', () => {
    let smtp: MailTransport;
    let gateway: TestGateway;
    let world: RecoveryWorld;
    /** Dies after the server has the letter and before the gateway hears of it. */
    let dies = false;
    before(async () => {
      smtp = smtpTransport({ url, from });
      gateway = await createTestGateway({ mail: dyingAfter(smtp) });
      world = await createRecoveryWorld(gateway);
    });
    after(async () => {
      await gateway.close();
      smtp.close();
    });
    const dyingAfter = (transport: MailTransport): MailTransport => ({
      ...transport,
      async send(sent) {
        const taken = await transport.send(sent);
        if (dies) throw new Error('killed');
        return taken;
      },
    });
    const idsTo = (to: string) => received.filter(({ rcpt }) => rcpt.includes(to)).map(({ messageId }) => messageId);

    it('reaches everybody once, however often the job runs', async () => {
      await world.request();
      for (let run = 0; run < 20; run++) {
        await gateway.scheduler.run('mails');
        await gateway.clock.advance(10 * MINUTE_MS);
      }
      assert.deepEqual(received.map(({ rcpt }) => rcpt[0]).sort(), [
        'cara@example.org',
        'dan@example.org',
        'eve@example.org',
        'fay@example.org',
      ]);
    });

    it('holds no secret but its one link, which names the configured host', async () => {
      const other = await createRecoveryWorld(gateway);
      await other.request();
      await gateway.scheduler.run('mails');
      for (const { text, subject, rcpt } of received) {
        const links = text!.match(/https?:\S+/g) ?? [];
        assert.equal(links.length <= 1, true);
        for (const link of links) assert.match(link, /^http:\/\/127\.0\.0\.1:8420\/(approvals|cancellations)\//);
        for (const secret of [other.vault.descriptor.text, 'customer-17', '60000', '0.0006', 'sk_'])
          assert.equal(`${subject}${text}`.includes(secret), false, `${secret} to ${rcpt}`);
      }
    });

    it('makes no link of what an integrator writes: attack of the list with an address for a name', async () => {
      const { project } = await createRecoveryWorld(gateway);
      const as = project.secretKey;
      const body = {
        name: 'Vote at https://evil.example/approve or mail evil@evil.example',
        approvers: ['cara@example.org', 'dan@example.org'].map((email) => ({ name: 'www.evil.example', email })),
        policy: { kind: 'majority' },
        links_suffice: true,
      };
      const { approver_list_id: list_id } = await gateway.get('createApproverList', { as, body });
      await gateway.get('createListChange', { as, params: { list_id }, body });
      await gateway.scheduler.run('mails');
      assert.equal(received.length, 2);
      for (const { text, rcpt } of received) {
        const words = text!.split(/\s+/).filter((word) => /[.:/@]./.test(word));
        const links = words.filter((word) => !word.startsWith('http://127.0.0.1:8420/approvals/'));
        assert.deepEqual(links, [], rcpt[0]);
      }
    });

    it('whose fate a crash hid goes out again under the same id, so that a reader sees one', async () => {
      const other = await createRecoveryWorld(gateway);
      dies = true;
      await other.request();
      await gateway.scheduler.run('mails');
      dies = false;
      await gateway.scheduler.run('mails');
      assert.equal(idsTo('eve@example.org').length, 1, 'not at once: the wait was noted before');
      await gateway.clock.advance(MINUTE_MS);
      await gateway.scheduler.run('mails');
      const ids = idsTo('eve@example.org');
      assert.deepEqual([ids.length, new Set(ids).size], [2, 1]);
    });

    it('waits longer and longer for a server that is away, and is given up after two days', async () => {
      const other = await createRecoveryWorld(gateway);
      refusal = { code: 451, at: 'data' };
      const { recovery_id } = await other.request();
      const tries = async () =>
        (
          await gateway.db.query<{ attempts: number; open: boolean }>(
            `select max(attempts) as attempts, bool_or(next_due_at is not null) as open from mails where subject = $1`,
            [recovery_id],
          )
        )[0]!;
      for (let run = 0; run < 10; run++) {
        await gateway.scheduler.run('mails');
        await gateway.clock.advance(6 * MINUTE_MS);
      }
      const { attempts: inAnHour } = await tries();
      assert.equal(inAnHour >= 4 && inAnHour <= 8, true, `${inAnHour} tries in an hour`);
      for (let run = 0; run < 3; run++) {
        await gateway.db.query(
          `update mails set attempts = greatest(attempts, 53), next_due_at = next_due_at - interval '1 hour' where subject = $1`,
          [recovery_id],
        );
        await gateway.scheduler.run('mails');
      }
      const { attempts, open } = await tries();
      assert.deepEqual([attempts, open], [54, false]);
      const { view } = await gateway.enclave.enclave.tickRecovery({ project: other.project.id, recovery: recovery_id });
      assert.equal(view.status, 'approving');
    });

    it('that nobody could be given keeps the release waiting', async () => {
      const other = await createRecoveryWorld(gateway, { coolingS: 0 });
      refusal = { code: 550, at: 'rcpt' };
      const recovery = await other.request();
      await gateway.scheduler.run('mails');
      await gateway.scheduler.run('recoveries');
      await other.caraVotes(recovery);
      const { tokens } = await gateway.enclave.enclave.recoveryTokens({
        project: other.project.id,
        recovery: recovery.recovery_id,
      });
      await gateway.app.inject({
        method: 'POST',
        url: `/approvals/${recovery.recovery_id}/${other.dan}/${Buffer.from(tokens[0]!.token).toString('base64url')}`,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        payload: 'choice=approve',
      });
      const { status, waits_for } = await other.get(recovery);
      assert.deepEqual([status, waits_for], ['cooling', ['alert']]);
      assert.equal((await gateway.call('releaseRecovery', { ...other.of(recovery), body: {} })).code, 'conflict');
    });
  });

  it('reminds once of each day, though the gateway is killed between any two steps of it', async () => {
    const clock = drivenClock();
    const enclave = await openTestEnclave({
      clock,
      operators: new Map([
        ['ada', ada],
        ['ben', ben],
      ]),
    });
    const db = await migratedDatabase();
    const sent: Letter[] = [];
    const mail: MailTransport = {
      async send(each) {
        sent.push(each);
        return 'accepted';
      },
      close() {},
    };
    /** How many statements the next gateway lives for. */
    let lives = Number.POSITIVE_INFINITY;
    const mortal = <T extends object>(target: T): T =>
      new Proxy(target, {
        get(on, name) {
          const value = Reflect.get(on, name);
          if (name !== 'query' || typeof value !== 'function')
            return typeof value === 'function' ? value.bind(on) : value;
          return (...args: unknown[]) => {
            if (lives-- <= 0) throw new Error('killed');
            return Reflect.apply(value, on, args);
          };
        },
      });
    const open = () =>
      createTestGateway({
        enclave,
        db,
        mail,
        wrapDatabase: (real) => ({
          ...mortal(real),
          query: mortal(real).query,
          read: real.read.bind(real),
          engine: real.engine,
          transaction: (work, options) => real.transaction((tx) => work(mortal(tx)), options),
        }),
      });
    let gateway = await open();
    const world = await createRecoveryWorld(gateway, { coolingS: (2 * DAY_MS) / SECOND_MS });
    const recovery = await world.request();
    for (const job of ['mails', 'recoveries']) await gateway.scheduler.run(job);
    await world.caraVotes(recovery);
    const token = (await enclave.enclave.recoveryTokens({ project: world.project.id, recovery: recovery.recovery_id }))
      .tokens[0]!.token;
    await enclave.enclave.voteRecovery({
      project: world.project.id,
      recovery: recovery.recovery_id,
      approver: world.dan,
      choice: 'approve',
      proof: null,
      token,
    });
    await db.query('update recoveries set next_due_at = now()');
    for (let kill = 0; kill < 51; kill++) {
      lives = kill % 17;
      await gateway.scheduler.run('recoveries').catch(() => {});
      lives = Number.POSITIVE_INFINITY;
      // What a gateway keeps in memory has no part in this: a new one each time would only take longer.
      if (kill % 10 === 0) {
        await gateway.stop();
        gateway = await open();
      }
      await clock.advance(HOUR_MS);
    }
    await db.query('update recoveries set next_due_at = now() where next_due_at is not null');
    for (const job of ['recoveries', 'mails']) await gateway.scheduler.run(job);
    const reminders = sent.filter(
      ({ to, subject }) => to === 'eve@example.org' && /being recovered|about to be/.test(subject),
    );
    assert.equal(reminders.length, 2, 'one day and the last warning');
    const told = (await gateway.events()).map(({ type, data }) => `${type} ${data.reminder ?? ''}`.trim());
    for (const each of ['recovery.reminder day_1', 'recovery.final_warning'])
      assert.equal(told.filter((type) => type === each).length, 1, each);
    await gateway.stop();
    enclave.enclave.stop();
    await db.close();
    await enclave.db.close();
  });
});
