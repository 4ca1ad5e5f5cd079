/** Asking nodes over HTTP: which failures are survived, how often and when it is tried again, and what is never told. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { ChainError } from './chain.ts';
import { createHttp, type EndpointOptions, NodeRefusal, readArray, readInteger, readJson, readRecord } from './http.ts';
import { type Behaviour, deadUrl, failures, withNode } from './testing/node.ts';

/** A question reaches a node in this time, and a good answer comes back, also on a machine that is busy with something else. */
const GOOD_ANSWERS_IN_MS = 2_000;

const good: Behaviour = (response) => void response.end('good');
const text = (answer: string) => answer;

/** Remembers the pauses and makes none. */
function pauses(): { waited: number[]; wait: (ms: number) => Promise<void> } {
  const waited: number[] = [];
  return { waited, wait: async (ms) => void waited.push(ms) };
}

async function assertUnavailable(answer: Promise<unknown>, message: RegExp = /Try again|Check/): Promise<void> {
  await assert.rejects(answer, (error) => {
    assert.ok(error instanceof ChainError, String(error));
    assert.equal(error.code, 'node_unavailable');
    assert.match(error.message, message);
    return true;
  });
}

/** All at once: those that never answer are waited for together. */
describe('a node that', { concurrency: true }, () => {
  for (const [title, behaviour] of Object.entries(failures)) {
    test(`${title} is asked twice, after a pause, and its key stays out of the message`, () =>
      withNode(behaviour, async ({ url, asked }) => {
        const { waited, wait } = pauses();
        const http = createHttp({ urls: [`${url}/key-in-path?key=key-in-query`], timeoutMs: GOOD_ANSWERS_IN_MS, wait });
        await assert.rejects(http.ask({ path: '/thing' }, text), (error) => {
          assert.ok(error instanceof ChainError);
          assert.equal(error.code, 'node_unavailable');
          assert.ok(error.message.includes(new URL(url).host));
          assert.doesNotMatch(`${error.message} ${error.cause}`, /key-in|thing/);
          return true;
        });
        assert.equal(asked.length, 2);
        assert.equal(asked[0]!.path, '/key-in-path/thing?key=key-in-query');
        assert.deepEqual(waited, [250]);
      }));

    test(`${title} is passed over for the next one, at once, which then is asked first`, () =>
      withNode(behaviour, (bad) =>
        withNode(good, async (fine) => {
          const { waited, wait } = pauses();
          const http = createHttp({ urls: [bad.url, fine.url], timeoutMs: GOOD_ANSWERS_IN_MS, wait });
          assert.equal(await http.ask({}, text), 'good');
          assert.equal(await http.ask({}, text), 'good');
          assert.deepEqual([bad.asked.length, fine.asked.length], [1, 2]);
          assert.deepEqual(waited, []);
        }),
      ));
  }

  test('is not there is passed over, too', async () => {
    const dead = await deadUrl();
    await withNode(good, async ({ url }) => {
      assert.equal(await createHttp({ urls: [dead, url] }).ask({}, text), 'good');
    });
    await assertUnavailable(createHttp({ urls: [dead], ...pauses() }).ask({}, text), /can't be reached/);
  });

  test('comes back is used again, and pauses double until then', async () => {
    let left = 4;
    const moody: Behaviour = (response) => void (left-- > 0 ? response.writeHead(503).end() : response.end('good'));
    await withNode(moody, async ({ url, asked }) => {
      const { waited, wait } = pauses();
      assert.equal(await createHttp({ urls: [url], rounds: 5, wait }).ask({}, text), 'good');
      assert.deepEqual(waited, [250, 500, 1_000, 2_000]);
      assert.equal(asked.length, 5);
    });
  });

  test('gives an answer that can not be right is passed over like one that fails', () =>
    withNode(
      (response) => void response.end('nonsense'),
      (liar) =>
        withNode(good, async (fine) => {
          const read = (answer: string, lies: (what: string) => ChainError) => {
            if (answer !== 'good') throw lies('it talks nonsense');
            return answer;
          };
          assert.equal(await createHttp({ urls: [liar.url, fine.url] }).ask({}, read), 'good');
          // Also where the lie shows only after another question.
          assert.equal(await createHttp({ urls: [liar.url, fine.url] }).ask({}, async (...of) => read(...of)), 'good');
          await assertUnavailable(createHttp({ urls: [liar.url], ...pauses() }).ask({}, read), /it talks nonsense/);
        }),
    ));

  test('says no is believed: asked once, with its reason on one short line', () =>
    withNode(
      (response) => void response.writeHead(400).end(`no\n\u001b[31m${'x'.repeat(9_999)}`),
      (no) =>
        withNode(good, async (fine) => {
          const http = createHttp({ urls: [no.url, fine.url] });
          await assert.rejects(http.ask({}, text), (error) => {
            assert.ok(error instanceof NodeRefusal);
            assert.equal(error.status, 400);
            assert.match(error.reason, /^no [\x20-\x7e]{1,200}$/);
            assert.match(error.message, /^[\x20-\x7e]{1,400}$/);
            return true;
          });
          assert.deepEqual([no.asked.length, fine.asked.length], [1, 0]);
        }),
    ));

  test('repeats our URL when it says no gives no key away', () =>
    withNode(
      (response, { path }) => void response.writeHead(404).end(`Cannot GET ${path}`),
      async ({ url }) => {
        const http = createHttp({ urls: [`${url}/v1/key-in-path/?key=key%2Bin-query`] });
        await assert.rejects(http.ask({ path: '/tx' }, text), (error) => {
          assert.ok(error instanceof NodeRefusal);
          assert.match(error.message, /Cannot GET/);
          assert.doesNotMatch(`${error.message} ${error.reason}`, /key-in|key%2B|key\+in/);
          return true;
        });
      },
    ));

  test('floods us is cut off at the limit', () =>
    withNode(
      (response) => void response.end('x'.repeat(1_001)),
      async ({ url }) => {
        const http = createHttp({ urls: [url], ...pauses() });
        await assertUnavailable(http.ask({ answerBytesMax: 1_000 }, text), /more than 1000 bytes/);
        assert.equal((await http.ask({ answerBytesMax: 1_001 }, text)).length, 1_001);
      },
    ));

  test('sends a decompression bomb is cut off at the same limit', () =>
    withNode(
      (response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(2 ** 24))),
      async ({ url }) => {
        await assertUnavailable(createHttp({ urls: [url], ...pauses() }).ask({}, text), /more than 1048576 bytes/);
      },
    ));
});

test('a node that answers byte by byte is given up also when memory is cleaned up meanwhile', { timeout: 60_000 }, () =>
  withNode(failures['answers byte by byte and never ends']!, async ({ url }) => {
    setFlagsFromString('--expose-gc');
    const cleanUp = runInNewContext('gc') as () => void;
    let waiting = true;
    const answer = createHttp({ urls: [url], rounds: 1, timeoutMs: 500 }).ask({}, text);
    const refused = assertUnavailable(answer, /gave no answer in 500 ms/).finally(() => {
      waiting = false;
    });
    while (waiting) {
      cleanUp();
      await new Promise(setImmediate);
    }
    await refused;
  }),
);

test('a body goes out as POST with its type, and nothing else about us', () =>
  withNode(good, async ({ url, asked }) => {
    await createHttp({ urls: [`${url}/`] }).ask({ path: '/tx', body: 'beef', contentType: 'text/plain' }, text);
    assert.deepEqual(asked, [{ method: 'POST', path: '/tx', body: 'beef' }]);
  }));

describe('the check of an endpoint', () => {
  const checked = (urls: readonly string[], options: Partial<EndpointOptions> = {}) =>
    createHttp({ urls, ...pauses(), ...options }, (ask) =>
      ask({ path: '/network' }, (answer, lies) => {
        if (answer === 'other') throw new ChainError('wrong_network', 'Another network. Name another node.');
        if (answer !== 'ours') throw lies('it knows no network');
      }),
    );
  const serving =
    (network: () => string): Behaviour =>
    (response, { path }) =>
      void response.end(path === '/network' ? network() : 'good');
  const paths = ({ asked }: { asked: readonly { path: string }[] }) => asked.map(({ path }) => path);

  test('comes before the first question and once, also for questions at the same time', () =>
    withNode(
      serving(() => 'ours'),
      async (node) => {
        const http = checked([node.url]);
        await Promise.all([http.ask({ path: '/a' }, text), http.ask({ path: '/b' }, text)]);
        await http.ask({ path: '/c' }, text);
        assert.deepEqual(paths(node).sort(), ['/a', '/b', '/c', '/network']);
        assert.equal(paths(node)[0], '/network');
      },
    ));

  test('is made again if it failed, and nothing is asked before it passes', () => {
    let network = 'nonsense';
    return withNode(
      serving(() => network),
      async (node) => {
        const http = checked([node.url], { rounds: 1 });
        await assertUnavailable(http.ask({ path: '/a' }, text), /no network/);
        network = 'ours';
        assert.equal(await http.ask({ path: '/a' }, text), 'good');
        assert.deepEqual(paths(node), ['/network', '/network', '/a']);
      },
    );
  });

  test('that the endpoint refuses is no answer to what was asked: the next one is', () =>
    withNode(
      (response) => void response.writeHead(404).end('no such page'),
      (parked) =>
        withNode(
          serving(() => 'ours'),
          async (fine) => {
            assert.equal(await checked([parked.url, fine.url]).ask({ path: '/a' }, text), 'good');
            await assert.rejects(
              checked([parked.url]).ask({ path: '/a' }, text),
              (error) =>
                error instanceof ChainError && error.code === 'node_unavailable' && !(error instanceof NodeRefusal),
            );
            assert.ok(paths(parked).every((path) => path === '/network'));
          },
        ),
    ));

  test('is made for the second endpoint as well when the first one fails', () =>
    withNode(
      serving(() => 'other'),
      async (wrong) => {
        const http = checked([await deadUrl(), wrong.url]);
        await assert.rejects(
          http.ask({ path: '/a' }, text),
          (error) => error instanceof ChainError && error.code === 'wrong_network',
        );
        assert.deepEqual(paths(wrong), ['/network']);
      },
    ));
});

test('a URL with a password, of another protocol, or none at all is refused when it is configured', () => {
  const wrong = [[], ['file:///etc/passwd'], ['ws://127.0.0.1'], ['http://u:p@127.0.0.1'], ['http://u@127.0.0.1']];
  for (const urls of [...wrong, ['nowhere']]) assert.throws(() => createHttp({ urls }), RangeError, String(urls));
});

test('answers are read by type and within bounds', () => {
  const lies = (what: string) => new ChainError('node_unavailable', what);
  const refusals: [read: () => unknown, why: RegExp][] = [
    [() => readJson('{', lies), /no JSON/],
    [() => readRecord([], 'a thing', lies), /something else as a thing/],
    [() => readRecord(null, 'a thing', lies), /something else as a thing/],
    [() => readArray({}, 'a list', lies, 3), /no list of 0 to 3/],
    [() => readArray([1, 2, 3, 4], 'a list', lies, 3), /no list of 0 to 3/],
    [() => readArray([], 'a list', lies, 3, 1), /no list of 1 to 3/],
    ...[1.5, -1, 11, '1', null, Number.NaN, 2 ** 53].map((value): [() => unknown, RegExp] => [
      () => readInteger(value, 'a count', lies, 10),
      /no whole number up to 10/,
    ]),
  ];
  for (const [read, why] of refusals) assert.throws(read, why);
  assert.equal(readInteger(10, 'a count', lies, 10), 10);
});
