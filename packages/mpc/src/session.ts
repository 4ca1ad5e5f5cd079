/**
 * One attempt at a protocol, message in and message out, over any transport. It exchanges hellos, derives the session id and
 * the keys, drops whatever is not authentic, compares transcripts before anything is judged, and hands complete rounds to
 * the protocol. Its state lives in this object alone, is never serialised, and is gone after a crash: start a new session.
 */
import { concat, EMPTY, equalBytes, u8, wipe } from './bytes.ts';
import {
  type Body,
  broadcastDigest,
  type Channel,
  ENVELOPE_MAX,
  type Header,
  type Opened,
  openChannel,
  openEnvelope,
  readHeader,
  sealEnvelope,
} from './envelope.ts';
import type { Agreement, EnvelopeCrypto, IdentityKey } from './envelope-crypto.ts';
import { badInput, MpcError } from './errors.ts';
import { list, taggedHash, taggedPreimage } from './hash.ts';
import { encodeHello, type Hello, helloDigest, openHello, sessionId, signHello } from './hello.ts';
import type { SessionJournal } from './journal.ts';
import { deviceFingerprint, type Participant } from './participant.ts';
import type { Machine, Protocol, Received, Step } from './protocol.ts';
import { type Entropy, SessionRandom } from './random.ts';
import { tags } from './tags.ts';

const HELLO = 1;
const ENVELOPE = 2;
/** A round of its own, in which a participant says that it has given up. */
const ABORT_ROUND = 255;
/** Envelopes that came before the last hello, of each claimed sender. */
const EARLY_MAX = 8;

export interface Out {
  /** Session address of the recipient. */
  readonly to: number;
  readonly bytes: Uint8Array;
}

export type Outcome<R> =
  | { readonly status: 'running' }
  | { readonly status: 'done'; readonly result: R }
  | { readonly status: 'aborted'; readonly error: MpcError };

export interface Handled<R> {
  /** To be sent, also when the session is over. */
  readonly out: readonly Out[];
  readonly outcome: Outcome<R>;
}

export interface SessionOptions<R> {
  readonly protocol: Protocol<R>;
  /** Our own session address. */
  readonly me: number;
  readonly identity: IdentityKey;
  readonly crypto: EnvelopeCrypto;
  readonly entropy: Entropy;
  readonly journal: SessionJournal;
}

interface Peer {
  readonly participant: Participant;
  hello: Hello | null;
  channel: Channel | null;
  /** The counter in its hello was judged. */
  judged: boolean;
  readonly rounds: Map<number, Opened>;
  /** What it signed as the broadcast of each round: evidence, should it have told somebody else another story. */
  readonly signed: Map<number, Uint8Array>;
  early: Uint8Array[];
}

export class Session<R> {
  /** Not data: copying a session would copy its nonces, so `structuredClone` and `v8.serialize` must fail on it. */
  readonly resend: () => readonly Out[];
  readonly #options: SessionOptions<R>;
  readonly #peers = new Map<number, Peer>();
  #agreement: Agreement | null = null;
  #ownHello: Hello | null = null;
  #random: SessionRandom;
  #machine: Machine<R> | null = null;
  #sid: Uint8Array | null = null;
  #round = 0;
  #transcript: Uint8Array = EMPTY;
  #ownBroadcast: Uint8Array = EMPTY;
  #sent: Out[] = [];
  #dropped = 0;
  #outcome: Outcome<R> = { status: 'running' };
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: SessionOptions<R>) {
    const { protocol, me, entropy } = options;
    this.#options = options;
    const { participants } = protocol;
    if (!participants.some(({ address }) => address === me))
      throw badInput('We are not a participant of this session.');
    for (const participant of participants) {
      if (participant.address !== me)
        this.#peers.set(participant.address, {
          participant,
          hello: null,
          channel: null,
          judged: false,
          rounds: new Map(),
          signed: new Map(),
          early: [],
        });
    }
    this.#random = new SessionRandom(entropy, entropy.randomBytes(32), protocol.secret);
    this.resend = () => this.#sent;
  }

  /** Null until every hello is there. */
  get sid(): Uint8Array | null {
    return this.#sid;
  }

  /** How many messages were ignored: not authentic, of another session, or seen before. */
  get dropped(): number {
    return this.#dropped;
  }

  toJSON(): never {
    throw new Error('A session is never serialised: its nonces would be used twice.');
  }

  /** Our hello, for everybody. */
  start(): Promise<Handled<R>> {
    return this.#inTurn(async (out) => {
      if (this.#ownHello) throw badInput('This session was started before.');
      const { protocol, me, identity, crypto, journal } = this.#options;
      this.#agreement = await crypto.createAgreement();
      const peers = [];
      for (const [address, { participant }] of this.#peers) {
        const counter = await journal.nextCounter(deviceFingerprint(participant.identityKey));
        peers.push({ address, counter, setups: protocol.setups?.get(address) ?? [] });
      }
      const hello = {
        address: me,
        nonce: this.#random.bytes('hello nonce', 32),
        ephemeralKey: this.#agreement.publicKey,
        restored: await journal.isRestored(),
        peers,
      };
      this.#ownHello = await signHello(protocol, hello, identity);
      const bytes = concat(u8(HELLO), encodeHello(this.#ownHello));
      for (const to of this.#peers.keys()) this.#send(out, to, bytes);
      await this.#begin(out);
    });
  }

  /** Whatever the transport brought, in any order. Never rejects for what a peer or the relay did. */
  handle(messages: readonly Uint8Array[]): Promise<Handled<R>> {
    return this.#inTurn(async (out) => {
      for (const message of messages) {
        if (this.#outcome.status !== 'running') return;
        if (message[0] === HELLO) await this.#receiveHello(message.subarray(1));
        else if (message[0] === ENVELOPE) await this.#receiveEnvelope(message.subarray(1));
        else this.#dropped++;
        await this.#begin(out);
        await this.#advance(out);
      }
    });
  }

  /** Gives up, and tells the peers. A session that may be the signed half of a payment stays counted: see docs/mpc.md. */
  cancel(reason: string): Promise<Handled<R>> {
    return this.#inTurn(() => Promise.reject(new MpcError('session_over', reason)));
  }

  /** Wipes what is left, and lets nothing more out, also while it is at work. Every session ends with it. */
  dispose(): void {
    this.#machine?.dispose();
    this.#machine = null;
    this.#random.dispose();
    this.#agreement = null;
    for (const peer of this.#peers.values()) {
      for (const { body } of peer.rounds.values()) body.pairwise.fill(0);
      peer.rounds.clear();
      peer.early = [];
      peer.channel = null;
    }
    if (this.#outcome.status === 'running')
      this.#outcome = { status: 'aborted', error: new MpcError('session_over', 'The session was disposed of.') };
    if (this.#outcome.status === 'aborted') this.#sent = [];
  }

  #inTurn(work: (out: Out[]) => Promise<void>): Promise<Handled<R>> {
    const turn = this.#turn.then(async () => {
      const out: Out[] = [];
      if (this.#outcome.status !== 'running') return { out, outcome: this.#outcome };
      try {
        await work(out);
        if (this.#isAborted()) return this.#givenUp();
      } catch (error) {
        if (this.#isAborted()) return this.#givenUp();
        if (!(error instanceof MpcError)) {
          this.dispose();
          throw error;
        }
        if (error.failure === 'drop') this.#dropped++;
        else await this.#abort(error, out);
      }
      return { out, outcome: this.#outcome };
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #isAborted(): boolean {
    return this.#outcome.status === 'aborted';
  }

  /** It was disposed of while it worked: what it made or stumbled over since then is of no use to anybody. */
  #givenUp(): Handled<R> {
    this.dispose();
    return { out: [], outcome: this.#outcome };
  }

  async #abort(error: MpcError, out: Out[]): Promise<void> {
    out.length = 0; // what was computed before the failure stays here
    this.#outcome = { status: 'aborted', error };
    try {
      for (const [to, { channel }] of this.#peers) {
        if (!channel || !this.#sid) continue; // another peer's key was no key
        const header = this.#header(ABORT_ROUND, to);
        const body = { echo: this.#transcript, broadcast: EMPTY, pairwise: EMPTY };
        out.push({ to, bytes: await this.#seal(header, body, channel) });
      }
    } finally {
      this.dispose();
    }
  }

  async #receiveHello(bytes: Uint8Array): Promise<void> {
    const { protocol, crypto } = this.#options;
    const hello = await openHello(protocol, protocol.participants, bytes, crypto);
    const peer = typeof hello === 'string' ? undefined : this.#peers.get(hello.address);
    if (typeof hello === 'string' || !peer || peer.hello) {
      this.#dropped++;
      return;
    }
    peer.hello = hello;
  }

  async #receiveEnvelope(bytes: Uint8Array): Promise<void> {
    const header = bytes.length <= ENVELOPE_MAX ? readHeader(bytes) : null;
    const { protocol, me } = this.#options;
    const peer = header && this.#peers.get(header.from);
    if (!peer || header.to !== me || header.suite !== protocol.suite) return this.#drop();
    if (!this.#sid) {
      if (peer.early.length >= EARLY_MAX) return this.#drop();
      peer.early.push(bytes);
      return;
    }
    await this.#open(peer, header, bytes);
  }

  async #open(peer: Peer, header: Header, bytes: Uint8Array): Promise<void> {
    const { crypto, journal } = this.#options;
    if (!equalBytes(header.sid, this.#sid!) || !peer.channel) return this.#drop();
    // Nobody can be more than one round ahead of us: it would need a message that we have not sent.
    const isDue = header.round === this.#round || header.round === this.#round + 1 || header.round === ABORT_ROUND;
    if (!isDue || peer.rounds.has(header.round)) return this.#drop();
    const opened = await openEnvelope(bytes, header, peer.channel, peer.participant.identityKey, crypto);
    if (!opened) return this.#drop();
    if (!peer.judged) {
      const own = peer.hello!.peers.find(({ address }) => address === this.#options.me);
      const verdict = await journal.judge(deviceFingerprint(peer.participant.identityKey), {
        counter: own?.counter ?? 0n,
        hello: helloDigest(peer.hello!),
      });
      const culprits = [header.from];
      if (verdict === 'cloned')
        throw new MpcError(
          'peer_cloned',
          'The peer used a counter twice: it was cloned, or restored without saying so.',
          {
            culprits,
            evidence: [encodeHello(peer.hello!)],
          },
        );
      if (verdict === 'stale') throw new MpcError('session_over', 'The hello of a peer is too old.');
      peer.judged = true;
    }
    if (header.round === ABORT_ROUND)
      throw new MpcError('aborted_by_peer', 'A peer gave up.', { culprits: [header.from] });
    peer.rounds.set(header.round, opened);
    peer.signed.set(header.round, opened.signedBroadcast);
  }

  #drop(): void {
    this.#dropped++;
  }

  /** With the last hello: the session id, the channels, the first round. */
  async #begin(out: Out[]): Promise<void> {
    if (this.#sid || !this.#ownHello || [...this.#peers.values()].some(({ hello }) => !hello)) return;
    const { protocol, me, crypto, entropy, journal } = this.#options;
    const hellos = protocol.participants.map(({ address }) =>
      address === me ? this.#ownHello! : this.#peers.get(address)!.hello!,
    );
    const sid = sessionId(protocol, hellos);
    for (const [address, peer] of this.#peers) {
      const key = peer.hello!.ephemeralKey;
      const names = { sid, me, peer: address };
      peer.channel = await openChannel(crypto, this.#agreement!, key, names).catch(() => {
        throw new MpcError('bad_encoding', 'The ephemeral key of a peer is no key.', {
          failure: 'peer_fault',
          culprits: [address],
        });
      });
    }
    this.#agreement = null;
    await journal.begin(sid);
    this.#random.dispose();
    this.#random = new SessionRandom(entropy, sid, protocol.secret);
    this.#sid = sid;
    this.#transcript = sid;
    this.#machine = protocol.begin({
      sid,
      me,
      peers: [...this.#peers.keys()],
      random: this.#random,
      identity: this.#options.identity,
      crypto: this.#options.crypto,
      transcript: () => this.#transcript,
      setupWith: (peer) => this.#commonSetup(peer),
    });
    this.#round = 1;
    await this.#perform(this.#machine.start(), out);
    const early = [...this.#peers.values()].flatMap((peer) => peer.early.splice(0).map((bytes) => ({ peer, bytes })));
    for (const { peer, bytes } of early) await this.#open(peer, readHeader(bytes)!, bytes);
  }

  /** As many rounds as are complete. */
  async #advance(out: Out[]): Promise<void> {
    while (this.#machine && this.#outcome.status === 'running') {
      const round = this.#round;
      const opened = [...this.#peers].map(([address, { rounds }]) => [address, rounds.get(round)] as const);
      if (opened.some(([, each]) => !each)) return;
      const inbox = new Map<number, Received>();
      const isTorn = opened.some(([, each]) => !equalBytes(each!.body.echo, this.#transcript));
      // Before anything that could accuse: otherwise one who tells two stories makes the other two blame each other.
      if (isTorn)
        throw new MpcError(
          'equivocation',
          'The participants saw different broadcasts: compare the evidence of two of them.',
          {
            evidence: [...this.#peers.values()].flatMap(({ signed }) => signed.get(round - 1) ?? []),
          },
        );
      for (const [address, each] of opened) inbox.set(address, each!.body);
      this.#extendTranscript(round, inbox);
      for (const { rounds, signed } of this.#peers.values()) {
        rounds.delete(round);
        signed.delete(round - 1);
      }
      this.#round = round + 1;
      const pairwise: Uint8Array[] = [];
      for (const received of inbox.values()) pairwise.push(await this.#digest(received.pairwise));
      this.#random.mix(this.#transcript, ...pairwise);
      const machine = this.#machine;
      const evaluate = () => machine.step(round, inbox);
      try {
        await this.#perform(machine.around ? await machine.around(round, inbox, evaluate) : evaluate(), out);
      } finally {
        for (const { pairwise } of inbox.values()) pairwise.fill(0);
      }
    }
  }

  /** As `taggedHash` has it, natively: a pairwise message has up to 40 KB. */
  async #digest(pairwise: Uint8Array): Promise<Uint8Array> {
    const preimage = taggedPreimage(tags.broadcast, pairwise);
    const digest = await this.#options.crypto.digest(preimage);
    wipe(preimage);
    return digest;
  }

  async #perform(step: Step<R>, out: Out[]): Promise<void> {
    await step.before?.();
    if (step.kind === 'done') {
      this.#outcome = { status: 'done', result: step.result };
      this.dispose();
      return;
    }
    this.#ownBroadcast = (typeof step.broadcast === 'function' ? await step.broadcast() : step.broadcast) ?? EMPTY;
    for (const [to, peer] of this.#peers) {
      const body = {
        echo: this.#transcript,
        broadcast: this.#ownBroadcast,
        pairwise: step.pairwise?.get(to) ?? EMPTY,
      };
      this.#send(out, to, await this.#seal(this.#header(this.#round, to), body, peer.channel!));
    }
  }

  async #seal(header: Header, body: Body, channel: Channel): Promise<Uint8Array> {
    const { identity, crypto } = this.#options;
    return concat(u8(ENVELOPE), await sealEnvelope(header, body, channel, identity, crypto));
  }

  #send(out: Out[], to: number, bytes: Uint8Array): void {
    out.push({ to, bytes });
    this.#sent.push({ to, bytes });
  }

  #header(round: number, to: number): Header {
    const { protocol, me } = this.#options;
    return { suite: protocol.suite, sid: this.#sid!, round, from: me, to };
  }

  #extendTranscript(round: number, inbox: ReadonlyMap<number, Received>): void {
    const { protocol, me } = this.#options;
    const digests = protocol.participants.map(({ address }) => {
      const broadcast = address === me ? this.#ownBroadcast : inbox.get(address)!.broadcast;
      return broadcastDigest({ suite: protocol.suite, sid: this.#sid!, round, from: address, to: 0 }, broadcast);
    });
    this.#transcript = taggedHash(tags.transcript, this.#transcript, u8(round), list(digests));
  }

  /** The first id of the lower-addressed participant's list that also stands in the other's. */
  #commonSetup(peer: number): Uint8Array | null {
    const { me } = this.#options;
    const named = (hello: Hello, of: number) => hello.peers.find(({ address }) => address === of)?.setups ?? [];
    const ours = named(this.#ownHello!, peer);
    const theirs = named(this.#peers.get(peer)!.hello!, me);
    const [first, second] = me < peer ? [ours, theirs] : [theirs, ours];
    return first.find((id) => second.some((other) => equalBytes(id, other))) ?? null;
  }
}
