/** `doctor`: finds what is wrong with this installation, and says what to type next. */
import type { Command, Context, Result } from '../command.ts';
import { examine, shippedParts } from '../doctor/doctor.ts';
import type { Finding } from '../doctor/findings.ts';

export const doctorCommands: readonly Command[] = [
  { words: 'doctor', usage: 'doctor', summary: 'find what is wrong here, and what to type next', run: doctor },
];

async function doctor({ home }: Context): Promise<Result> {
  const findings = await examine(home, shippedParts());
  const wrong = findings.filter(({ ok }) => !ok).length;
  const summary = wrong === 0 ? 'Nothing is wrong.' : `${wrong} of ${findings.length} checks found something.`;
  return {
    data: { ok: wrong === 0, checks: findings },
    lines: [...linesOf(findings), '', summary],
    exitCode: wrong === 0 ? 0 : 1,
  };
}

function linesOf(findings: readonly Finding[]): string[] {
  const width = Math.max(...findings.map(({ code }) => code.length));
  return findings.flatMap(({ code, ok, detail, next_step: next }) => {
    const line = `  ${ok ? 'ok ' : 'BAD'}  ${code.padEnd(width)}  ${detail}`;
    return next === null ? [line] : [line, `       ${' '.repeat(width)}  → ${next}`];
  });
}
