/**
 * What a journey is: numbered steps that run one after the other, each of which checks what it claims and gives its
 * evidence. The runner tells the story in plain words or, with `--json`, prints one object a step and a last line.
 */
import type { World } from './world.ts';

export interface Step {
  readonly title: string;
  /** Throws when a check fails. The evidence is what somebody else can verify. */
  readonly run: (tell: (sentence: string) => void) => Promise<Record<string, unknown>>;
}

export interface Journey {
  readonly number: number;
  readonly scheme: string;
  readonly steps: (world: World) => readonly Step[];
  /** What the world is set up with, as environment variables, before it opens. */
  readonly prepare?: () => Promise<Readonly<Record<string, string>>>;
}

export interface JourneyOutcome {
  readonly ok: boolean;
  readonly steps: number;
}

/** `print` gets whole lines. */
export async function runJourney(
  journey: Journey,
  world: World,
  json: boolean,
  print: (line: string) => void,
): Promise<JourneyOutcome> {
  const startedMs = performance.now();
  const steps = journey.steps(world);
  let done = 0;
  let ok = true;
  if (!json) print(`Journey ${journey.number}: ${journey.scheme} (${world.options.database}, ${world.options.hsm})`);
  for (const [index, step] of steps.entries()) {
    const sentences: string[] = [];
    const stepMs = performance.now();
    let evidence: Record<string, unknown>;
    try {
      evidence = await step.run((sentence) => sentences.push(sentence));
      done += 1;
    } catch (error) {
      ok = false;
      evidence = { error: error instanceof Error ? error.message : String(error), logs: world.logs.slice(-5) };
      sentences.push(`FAILED: ${String(evidence.error)}`);
      if (!json) sentences.push(...world.logs.slice(-5));
      if (!json && error instanceof Error) sentences.push(...(error.stack ?? '').split('\n').slice(1, 6));
    }
    if (json) print(JSON.stringify({ step: index + 1, title: step.title, ok, evidence }));
    else {
      print(`\n${index + 1}. ${step.title}  (${((performance.now() - stepMs) / 1000).toFixed(1)} s)`);
      for (const sentence of sentences) print(`   ${sentence}`);
    }
    if (!ok) break;
  }
  const ms = Math.round(performance.now() - startedMs);
  print(
    json
      ? JSON.stringify({ journey: journey.number, scheme: journey.scheme, ok, steps: done, ms })
      : `\n${ok ? 'ok' : 'NOT OK'}: ${done} of ${steps.length} steps in ${(ms / 1000).toFixed(1)} s`,
  );
  return { ok, steps: done };
}

/** A check that says what it is about. */
export function check(holds: boolean, claim: string): asserts holds {
  if (!holds) throw new Error(`this does not hold: ${claim}`);
}

/** Checks that `work` fails with that code, and gives the error. */
export async function checkRefused(
  work: Promise<unknown>,
  ...codes: readonly string[]
): Promise<{ code: string; message: string }> {
  try {
    await work;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code !== undefined && codes.includes(code)) return { code, message };
    throw new Error(`refused with ${code ?? message} instead of ${codes.join(' or ')}`);
  }
  throw new Error(`it was not refused; expected ${codes.join(' or ')}`);
}

/** Asks again until there is an answer; the processes answer when they have done it. Gives up after 30 s. */
export async function until<T>(ask: () => Promise<T | null>): Promise<T> {
  for (let attempt = 0; attempt < 120; attempt++) {
    const answer = await ask();
    if (answer !== null) return answer;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error('nothing happened within 30 s');
}
