/**
 * What a device must remember of its sessions so that a crash, a restart or an old copy of its store can't make it answer
 * twice. The caller implements it over its database; each method resolves only when its effect is durable.
 */
import type { CounterVerdict, SeenHello } from './hello-counter.ts';

export interface SessionJournal {
  /** A counter for our hello to this device, higher than every one given before, also before a crash. */
  nextCounter(peer: Uint8Array): Promise<bigint>;
  /** True once after this device's store was restored, until every pair was renewed. */
  isRestored(): Promise<boolean>;
  /** Judges by `judgeCounter`, and keeps the window, in one transaction. `peer` is a device fingerprint. */
  judge(peer: Uint8Array, seen: SeenHello): Promise<CounterVerdict>;
  /** The session has begun. Rejects when it had begun before: its state is gone, and it must not be begun again. */
  begin(sid: Uint8Array): Promise<void>;
}
