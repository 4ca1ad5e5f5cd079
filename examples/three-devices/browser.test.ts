/**
 * The same story in a real browser: the bundle that a web app would load, pure JavaScript and the browser's own WebCrypto.
 * The second group is of three rather than five, because the OT set-ups of ten pairs take a quarter of a minute there.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import type { Story } from './story.ts';

const executablePath = '/usr/bin/chromium';
/** A page of nobody's: answered here, and a secure context, without which there is no WebCrypto. */
const PAGE = 'http://localhost/';

test('it runs in Chromium', { skip: existsSync(executablePath) ? false : 'Chromium is not installed' }, async () => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('./story.ts', import.meta.url))],
    bundle: true,
    minify: true,
    write: false,
    format: 'iife',
    globalName: 'story',
    platform: 'browser',
    conditions: ['@kedge/source'],
    target: 'es2022',
  });
  const browser = await chromium.launch({
    executablePath,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    const asked: string[] = [];
    await page.route('**', (route) => {
      asked.push(route.request().url());
      return route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>three devices</title>' });
    });
    await page.goto(PAGE);
    await page.addScriptTag({ content: outputFiles[0]!.text });
    const { before, after, elsewhere } = await page.evaluate<Story>(
      'story.tell({ second: { threshold: 3, count: 3 }, nowMs: 1700000000000n })',
    );
    assert.deepEqual(after, before);
    assert.deepEqual(elsewhere, { ethereum: before.ethereum, bitcoin: before.bitcoin });
    assert.deepEqual(
      asked.filter((url) => url !== PAGE && !url.endsWith('/favicon.ico')),
      [],
      'it asks nothing of the network',
    );
  } finally {
    await browser.close();
  }
});
