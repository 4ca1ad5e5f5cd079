/**
 * The attack S2: `kill -9` at one durable write, while somebody's call is under way. The other process is killed too,
 * both are started again, and the same call of the same app goes on. Whose acts these are, and what holds afterwards, is
 * a life's affair: `dual-secret-life.ts`, `backup-key-life.ts`. `kill.test.ts` and `kill.slow.ts` choose the points.
 */
import type { World } from '../harness/world.ts';

export interface Kill<Act extends string> {
  readonly during: Act;
  readonly process: 'enclave' | 'gateway';
  /** See `driven.ts`. */
  readonly at: string;
}

/** People and what they do, over and over. */
export interface Life<Act extends string> {
  /** What somebody does, once; how often the app asks is its own affair. */
  readonly acts: Readonly<Record<Act, () => Promise<void>>>;
  /** What must have happened before the act, and is not attacked. */
  prepare(act: Act): Promise<void>;
  /** Throws unless nothing that was answered is lost and nothing is there that was not. Asks the public API alone. */
  check(): Promise<void>;
}

/** For apps: resolves when the service is there again. */
export type ServiceIsUp = () => Promise<unknown>;

export class Killer<Act extends string> {
  readonly #world: World;
  readonly #life: Life<Act>;
  readonly #outage: { until: Promise<unknown> };

  private constructor(world: World, life: Life<Act>, outage: { until: Promise<unknown> }) {
    this.#world = world;
    this.#life = life;
    this.#outage = outage;
  }

  /** Starts the world, and the life in it. */
  static async start<Act extends string>(
    world: World,
    begin: (world: World, up: ServiceIsUp) => Promise<Life<Act>>,
  ): Promise<Killer<Act>> {
    await world.start();
    const outage = { until: Promise.resolve() as Promise<unknown> };
    return new Killer(world, await begin(world, () => outage.until), outage);
  }

  /**
   * Kills, starts again, lets the call end, and looks at everything. Gives how long the start took, or null when the
   * call ended without passing that point.
   */
  async kill({ during, process, at }: Kill<Act>): Promise<number | null> {
    await this.#life.prepare(during);
    const victim = this.#world.service!.children[process];
    const armed = victim.count((line) => line.armed === true);
    victim.send({ die_at: at });
    await victim.nth((line) => line.armed === true, armed + 1);
    const ended = this.#life.acts[during]().then(
      () => null,
      (error: Error) => error,
    );
    const survived = await Promise.race([victim.ended.then(() => false), ended.then(() => true)]);
    if (survived) {
      const failure = await ended;
      if (failure) throw failure;
      // Its jobs write too: the point may yet be passed by one of them, until the victim has heard that it is off.
      victim.send({ die_at: '' });
      const disarmed = victim
        .nth((line) => line.armed === true, armed + 2)
        .then(
          () => true,
          () => false,
        );
      if (await Promise.race([victim.ended.then(() => false), disarmed])) {
        await this.#life.check();
        return null;
      }
    }
    const startedMs = performance.now();
    this.#outage.until = this.#world.kill().then(() => this.#world.start());
    await this.#outage.until;
    const startMs = performance.now() - startedMs;
    const failure = await ended;
    if (failure)
      throw new Error(`after a kill of the ${process} at ${at}, ${during} ends with: ${failure.message}`, {
        cause: failure,
      });
    await this.#life.check();
    return startMs;
  }
}
