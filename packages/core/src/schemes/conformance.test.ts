/** The schemes there are keep what every scheme promises, and the suite notices one that does not. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { schemeCases } from './conformance.ts';
import { dualSecret } from './dual-secret.ts';
import type { Scheme } from './scheme.ts';

for (const scheme of [dualSecret]) {
  describe(scheme.name, () => {
    for (const { title, run } of schemeCases) test(title, () => run(scheme));
  });
}

const broken: Readonly<Record<string, Partial<Scheme>>> = {
  'has no holders': { holders: [] },
  'lists a holding twice': { holdings: (kind) => [...dualSecret.holdings(kind), 'client_key'] },
  'lets everybody spend': { canSpend: () => true },
  'lets nobody spend': { canSpend: () => false },
  'lets everybody recover': { canRecover: () => true },
  'lets the server key spend alone': {
    canSpend: (kind, held) => held.has('server_key') || dualSecret.canSpend(kind, held),
  },
  'takes the power to spend away from who holds too much': {
    canSpend: (kind, held) => held.size !== 5 && dualSecret.canSpend(kind, held),
  },
  'takes recovery away from who has kept too much': {
    canRecover: (kind, left) => left.size !== 5 && dualSecret.canRecover(kind, left),
  },
  'claims that only the owner can open what the operator can': {
    custody: () => 'Nobody can open this wallet without your words or a device that holds them.',
  },
  'claims that the operator can open what only the owner can': {
    custody: () => 'The operator and the HSM together could open this wallet without you.',
  },
  'forgets that an export is the key': {
    canRecover: (kind, left) =>
      dualSecret.canRecover(kind, new Set([...left].filter((holding) => holding !== 'export'))),
  },
  'thinks that a stolen device is harmless': {
    canSpend: (kind, held) =>
      dualSecret.canSpend(
        kind,
        kind.secondWrap && !held.has('recovery_words')
          ? new Set([...held].filter((holding) => holding !== 'client_key'))
          : held,
      ),
  },
  'opens a second wrap without the first': {
    canSpend: (kind, held) =>
      (kind.secondWrap && held.has('recovery_words') && held.has('server_key')) || dualSecret.canSpend(kind, held),
  },
};

for (const [what, change] of Object.entries(broken)) {
  test(`the suite notices a scheme that ${what}`, () => {
    const scheme: Scheme = { ...dualSecret, ...change };
    const failed = schemeCases.filter(({ run }) => {
      try {
        run(scheme);
        return false;
      } catch (error) {
        if (error instanceof assert.AssertionError) return true;
        throw error;
      }
    });
    assert.notEqual(failed.length, 0);
  });
}
