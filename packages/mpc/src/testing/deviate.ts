/** Peers that break the rules in one step, for the attacks that only a participant can make. */
import type { Inbox, Machine, Protocol, SessionContext, Step } from '../protocol.ts';
import type { Seat } from './devices.ts';

type Sent = Extract<Step<unknown>, { kind: 'send' }>;

/** The seat, with what it sends in each round changed: round 1 is what it starts with. */
export function deviating<R>(
  seat: Seat<R>,
  change: (round: number, step: Sent, context: SessionContext) => Sent,
): Seat<R> {
  const changed = (round: number, step: Step<R>, context: SessionContext): Step<R> =>
    step.kind === 'send' ? change(round, step, context) : step;
  const protocol: Protocol<R> = {
    ...seat.protocol,
    begin(context) {
      const honest = seat.protocol.begin(context);
      const machine: Machine<R> = {
        start: () => changed(1, honest.start(), context),
        step: (round, inbox) => changed(round + 1, honest.step(round, inbox), context),
        dispose: () => honest.dispose(),
        ...(honest.around
          ? { around: (round: number, inbox: Inbox, evaluate: () => Step<R>) => honest.around!(round, inbox, evaluate) }
          : {}),
      };
      return machine;
    },
  };
  return { ...seat, protocol };
}

/** The step, with its broadcast and the pairwise messages to everybody changed. */
export function tampered(
  step: Sent,
  change: { broadcast?: (bytes: Uint8Array) => Uint8Array; pairwise?: (bytes: Uint8Array, to: number) => Uint8Array },
): Sent {
  const { broadcast = (bytes) => bytes, pairwise = (bytes) => bytes } = change;
  if (typeof step.broadcast === 'function') throw new Error('this broadcast is signed when it is sent');
  return {
    ...step,
    ...(step.broadcast ? { broadcast: broadcast(step.broadcast.slice()) } : {}),
    ...(step.pairwise
      ? { pairwise: new Map([...step.pairwise].map(([to, bytes]) => [to, pairwise(bytes.slice(), to)])) }
      : {}),
  };
}
