/** Links in mails, and everything that opens them before a person does: attack C5, each scanner by its name. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { createLog } from '../log.ts';
import { createTestGateway, type TestGateway } from '../testing/gateway.ts';
import { createRecoveryWorld, linkTo, press, type Recovery, type RecoveryWorld } from '../testing/recovery-world.ts';
import { linkPages } from './approvals.ts';

describe('a link in a mail', () => {
  let gateway: TestGateway;
  let world: RecoveryWorld;
  let recovery: Recovery;
  let cancel: string;
  let vote: string;
  const logged: string[] = [];
  before(async () => {
    gateway = await createTestGateway({
      log: createLog('debug', { write: (line: string) => void logged.push(line) }),
    });
    world = await createRecoveryWorld(gateway);
    ({ recovery, cancel, vote } = await newRecovery());
  });
  after(() => gateway.close());

  /** Another one may not run beside it, so each is of a key of its own. */
  const newRecovery = async (of = world) => {
    const asked = await of.request();
    await gateway.scheduler.run('mails');
    return {
      recovery: asked,
      cancel: linkTo(gateway.letters, 'eve@example.org', asked.recovery_id),
      vote: linkTo(gateway.letters, 'dan@example.org', asked.recovery_id),
    };
  };
  /** Everything that a state change could show in, but the times of rate limits and jobs. */
  const footprint = async () => {
    const tables = [
      'recoveries',
      'recovery_votes',
      'recovery_links',
      'list_changes',
      'approver_lists',
      'events',
      'mails',
    ];
    const rows = await Promise.all(
      tables.map((table) => gateway.db.query(`select t::text as row from ${table} t order by 1`)),
    );
    const { view } = await gateway.enclave.enclave.tickRecovery({
      project: world.project.id,
      recovery: recovery.recovery_id,
    });
    return createHash('sha256')
      .update(
        JSON.stringify([rows, view.status, view.votes], (_, value) =>
          typeof value === 'bigint' ? String(value) : value,
        ),
      )
      .digest('hex');
  };
  const get = (url: string, headers: Record<string, string> = {}) => gateway.app.inject({ url, headers });
  const inject = (method: 'HEAD' | 'OPTIONS' | 'PUT' | 'PATCH' | 'DELETE', url: string) =>
    gateway.app.inject({ method, url });

  const scanners: Readonly<Record<string, (url: string) => Promise<unknown>>> = {
    'a scanner that fetches it': (url) => get(url, { 'user-agent': 'Mozilla/5.0 (compatible; SafeLinks)' }),
    'a scanner that fetches it twice at the same moment': (url) => Promise.all([get(url), get(url)]),
    'a scanner that asks for the head': (url) => inject('HEAD', url),
    'a scanner that asks for the options': (url) => inject('OPTIONS', url),
    'a browser that prefetches it': (url) => get(url, { 'sec-purpose': 'prefetch;prerender', purpose: 'prefetch' }),
    'a messenger that makes a preview': (url) => get(url, { 'user-agent': 'TelegramBot', range: 'bytes=0-4096' }),
    'an image proxy that takes it for a picture': (url) => get(url, { accept: 'image/avif,image/webp,*/*' }),
    'a sandbox that runs scripts and presses keys': async (url) => {
      const { body } = await get(url);
      assert.doesNotMatch(body, /<script|onload|onclick|http-equiv|<img|<a /);
    },
    'a rewriter that appends its own query': (url) => get(`${url}?utm_source=mail&choice=approve&data=05%7C02`),
    'a rewriter that changes the case': (url) =>
      press(gateway, url.slice(0, -43) + url.slice(-43).toUpperCase(), 'approve'),
    'a rewriter that adds a slash': (url) => press(gateway, `${url}/`, 'approve'),
    'a scanner that guesses methods': (url) =>
      Promise.all((['PUT', 'PATCH', 'DELETE'] as const).map((method) => inject(method, url))),
    'a scanner that posts something else': (url) =>
      gateway.app.inject({ method: 'POST', url, headers: { 'content-type': 'text/plain' }, payload: 'choice=approve' }),
  };
  for (const [name, scan] of Object.entries(scanners)) {
    it(`changes nothing for ${name}`, async () => {
      const before = await footprint();
      await scan(cancel);
      await scan(vote);
      assert.equal(await footprint(), before);
    });
  }

  it('votes for nobody who presses no button', async () => {
    const before = await footprint();
    const bare = await gateway.app.inject({ method: 'POST', url: vote });
    assert.equal(bare.statusCode, 400);
    assert.match(bare.body, /<button/);
    assert.equal((await press(gateway, vote, 'cancel')).statusCode, 400);
    assert.equal(await footprint(), before);
  });

  it('shows what would be signed, from its bytes, to somebody who is signed in nowhere', async () => {
    for (const url of [cancel, vote]) {
      const page = await get(url);
      assert.equal(page.statusCode, 200);
      assert.match(page.body, /0\.0006 BTC/);
      assert.match(page.body, /At most 0\.00001 BTC as a fee/);
    }
  });

  it('takes nothing from outside, tells no other site where it came from, and is kept nowhere', async () => {
    const { headers, body } = await get(vote);
    const policy = String(headers['content-security-policy']);
    assert.match(policy, /^default-src 'none';/);
    assert.doesNotMatch(policy, /unsafe|https?:/);
    const style = createHash('sha256')
      .update(/<style>([\s\S]*)<\/style>/.exec(body)![1]!)
      .digest('base64');
    assert.equal(policy.includes(style), true);
    assert.deepEqual([headers['referrer-policy'], headers['cache-control']], ['no-referrer', 'no-store']);
    assert.doesNotMatch(body, /src=|href=|https?:/);
  });

  it('leaves its token in no log', async () => {
    const token = vote.slice(-43);
    await get(vote);
    await press(gateway, vote.replace('/approvals/', '/approvals/x/'), 'approve');
    assert.equal(logged.length > 0, true);
    assert.equal(logged.join('').includes(token), false);
  });

  it('is its recipient’s, for one purpose, and not to be found in the database', async () => {
    const parts = vote.split('/');
    const others = [
      vote.replace('/approvals/', '/cancellations/'),
      cancel.replace('/cancellations/', '/approvals/'),
      [...parts.slice(0, 3), world.cara.id, parts[4]].join('/'),
      [...parts.slice(0, 2), world.key, ...parts.slice(3)].join('/'),
    ];
    for (const url of others) assert.equal((await press(gateway, url, 'approve')).statusCode, 404, url);
    assert.equal((await world.get(recovery)).status, 'approving');
    const [dump] = await gateway.db.query<{ text: string }>(
      "select string_agg(l::text, E'\\n') as text from recovery_links l",
    );
    for (const url of [vote, cancel]) {
      const token = url.slice(-43);
      assert.equal(Buffer.from(token, 'base64url').length, 32);
      assert.equal(dump!.text.includes(token), false);
      assert.equal(dump!.text.includes(Buffer.from(token, 'base64url').toString('hex')), false);
    }
  });

  it('reads the same when it was used, when it is over and when it never was', async () => {
    const voted = await press(gateway, vote, 'approve');
    assert.match(voted.body, /Your vote is counted/);
    const used = await press(gateway, vote, 'reject');
    const unknown = vote.slice(0, -43) + randomBytes(32).toString('base64url');
    const never = await press(gateway, unknown, 'approve');
    const cancelled = await press(gateway, cancel, 'cancel');
    assert.match(cancelled.body, /The recovery is cancelled/);
    const over = await press(gateway, linkTo(gateway.letters, 'fay@example.org', recovery.recovery_id), 'cancel');
    const shape = ({ statusCode, body, headers }: typeof used) => {
      const told = Object.entries(headers).filter(([name]) => !/^(x-request-id|date|ratelimit-.*)$/.test(name));
      return [statusCode, body, told];
    };
    for (const answer of [never, over, await get(vote), await get(cancel), await get(unknown)])
      assert.deepEqual(shape(answer), shape(used));
    assert.deepEqual(
      (await world.get(recovery)).ballots.map(({ choice }) => choice),
      ['approve'],
      'the second vote changed nothing',
    );
  });

  it('cancels once, however many press at the same moment, and says who it was', async () => {
    const { recovery: another, cancel: eves } = await newRecovery();
    const fays = linkTo(gateway.letters, 'fay@example.org', another.recovery_id);
    const answers = await Promise.all(
      [...Array(10)].flatMap(() => [eves, fays]).map((url) => press(gateway, url, 'cancel')),
    );
    assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 1);
    const told = (await gateway.events()).filter(
      ({ type, data }) => type === 'recovery.cancelled' && data.recovery === another.recovery_id,
    );
    assert.equal(told.length, 1);
    const recipients = [eves, fays].map((url) => `participant/${url.split('/')[3]}`);
    assert.equal(recipients.includes(String(told[0]!.data.by)), true);
  });

  it('cancels by one click in a mail program, as RFC 8058 has it', async () => {
    for (const [type, payload] of [
      ['application/x-www-form-urlencoded', 'List-Unsubscribe=One-Click'],
      [
        'multipart/form-data; boundary=x',
        '--x\r\ncontent-disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n',
      ],
    ] as const) {
      const { recovery: another } = await newRecovery();
      const letter = gateway.letters.findLast(
        ({ to, text }) => to === 'eve@example.org' && text.includes(another.recovery_id),
      );
      const url = new URL(letter!.cancelUrl!).pathname;
      const answer = await gateway.app.inject({ method: 'POST', url, headers: { 'content-type': type }, payload });
      assert.equal(answer.statusCode, 200);
      assert.equal((await world.get(another)).status, 'cancelled');
    }
  });

  it('dies with the release: what was signed can’t be called back', async () => {
    const other = await createRecoveryWorld(gateway, { backup: true });
    const { recovery: another, cancel: late } = await newRecovery(other);
    await other.approve(another);
    assert.equal((await get(late)).statusCode, 200);
    await gateway.get('releaseRecovery', { ...other.of(another), body: {} });
    assert.equal((await press(gateway, late, 'cancel')).statusCode, 404);
    assert.equal((await other.get(another)).status, 'released');
  });

  it('is a page of the table, and a token of a link opens nothing else', async () => {
    for (const { path, principal } of Object.values(linkPages)) {
      assert.equal(principal, 'approver');
      assert.equal(gateway.app.hasRoute({ method: 'POST', url: path }), true);
    }
    const token = cancel.slice(-43);
    const { status } = await gateway.call('getRecovery', { ...world.of(recovery), as: token });
    assert.equal(status, 401);
  });
});
