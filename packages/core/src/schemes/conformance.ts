/**
 * What every scheme promises, as tests that any `Scheme` can be put through: each case tries all subsets of what can be
 * lost or stolen. `conformance.test.ts` runs it on the schemes there are, and on schemes broken on purpose. It holds for
 * all five ways of keeping a key; what only one of them promises stands in that scheme's own test.
 */
import assert from 'node:assert/strict';
import { type Holding, operatorHoldings, type Scheme, type WalletKind } from './scheme.ts';

export interface SchemeCase {
  readonly title: string;
  run(scheme: Scheme): void;
}

/** A sentence that says so must have this form, so that nobody reads the opposite out of it. */
const OPERATOR_CAN = /^The operator .*could open this wallet without you\.$/;

export const schemeCases: readonly SchemeCase[] = [
  {
    title: 'it names its holders, and everything that exists for a wallet once',
    run(scheme) {
      assert.notEqual(scheme.holders.length, 0);
      for (const kind of kinds) {
        const holdings = scheme.holdings(kind);
        assert.notEqual(holdings.length, 0);
        assert.equal(new Set(holdings).size, holdings.length);
      }
    },
  },
  {
    title: 'whoever holds nothing can neither spend nor recover',
    run(scheme) {
      for (const kind of kinds) {
        assert.equal(scheme.canSpend(kind, new Set()), false);
        assert.equal(scheme.canRecover(kind, new Set()), false);
      }
    },
  },
  {
    title: 'whoever holds everything can spend, and whoever lost nothing recovers',
    run(scheme) {
      for (const kind of kinds) {
        const all = new Set(scheme.holdings(kind));
        assert.equal(scheme.canSpend(kind, all), true);
        assert.equal(scheme.canRecover(kind, all), true);
      }
    },
  },
  {
    title: 'holding more never takes the power to spend or to recover away',
    run(scheme) {
      forAll(scheme, (kind, held) => {
        for (const further of scheme.holdings(kind)) {
          const more = new Set([...held, further]);
          if (scheme.canSpend(kind, held))
            assert.equal(scheme.canSpend(kind, more), true, `spend: ${name(held)} and ${further}`);
          if (scheme.canRecover(kind, held))
            assert.equal(scheme.canRecover(kind, more), true, `recover: ${name(held)} and ${further}`);
        }
      });
    },
  },
  {
    title: 'no single theft spends, but for an export, which is the key itself',
    run(scheme) {
      for (const kind of kinds) {
        for (const stolen of scheme.holdings(kind)) {
          assert.equal(scheme.canSpend(kind, new Set([stolen])), stolen === 'export', `${stolen} alone`);
        }
      }
    },
  },
  {
    title: 'the label says that the operator alone could open a wallet exactly when that is so',
    run(scheme) {
      for (const kind of kinds) {
        const label = scheme.custody(kind);
        assert.match(label, /^[A-Z].*\.$/);
        assert.equal(OPERATOR_CAN.test(label), scheme.canSpend(kind, operatorHoldings), label);
      }
    },
  },
  {
    title: 'what lets an owner spend without the operator also lets that owner recover',
    run(scheme) {
      forAll(scheme, (kind, left) => {
        if ([...left].some((holding) => operatorHoldings.has(holding))) return;
        if (scheme.canSpend(kind, left)) assert.equal(scheme.canRecover(kind, left), true, name(left));
      });
    },
  },
  {
    title: 'what brings an owner back would let a thief of exactly that spend: no theft is called harmless that is not',
    run(scheme) {
      forAll(scheme, (kind, held) => {
        if (scheme.canRecover(kind, held)) assert.equal(scheme.canSpend(kind, held), true, name(held));
      });
    },
  },
  {
    title: 'a further lock on a wallet gives nobody a new way to spend',
    run(scheme) {
      forAll(scheme, (kind, held) => {
        if (!kind.secondWrap) return;
        if (scheme.canSpend(kind, held)) assert.equal(scheme.canSpend({ secondWrap: false }, held), true, name(held));
      });
    },
  },
];

const kinds: readonly WalletKind[] = [{ secondWrap: false }, { secondWrap: true }];

/** Calls `check` for both kinds of wallet and every subset of what exists for it. */
export function forAll(scheme: Scheme, check: (kind: WalletKind, held: ReadonlySet<Holding>) => void): void {
  for (const kind of kinds) {
    const holdings = scheme.holdings(kind);
    for (let mask = 0; mask < 1 << holdings.length; mask++)
      check(kind, new Set(holdings.filter((_, bit) => mask & (1 << bit))));
  }
}

function name(held: ReadonlySet<Holding>): string {
  return held.size === 0 ? 'nothing' : [...held].join(', ');
}
